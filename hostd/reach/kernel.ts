// Puts the table of rules.ts into the kernel, and reads it back as text to compare: what differs was changed by somebody else.
import { readFile, writeFile } from "node:fs/promises";
import { exec } from "#lib/exec.ts";
import { TABLE } from "./rules.ts";

const TIMEOUT_MS = 10_000;
/** Without br_netfilter, frames between two containers of one bridge pass no rule. */
const BRIDGE_FILTER = ["iptables", "ip6tables"].map((name) => `/proc/sys/net/bridge/bridge-nf-call-${name}`);

export interface ReachKernel {
  /** In one transaction: the rules before hold until these do. */
  write(text: string, signal: AbortSignal): Promise<void>;
  /** The table as the kernel has it; undefined when there is none. */
  read(signal: AbortSignal): Promise<string | undefined>;
  /** What the table needs of the rest of the kernel: bridged frames shown to it, and bridges without an IPv6 address, behind which the host would be. */
  prepare(signal: AbortSignal): Promise<void>;
}

export function reachKernel(bridges: readonly string[]): ReachKernel {
  const run = (argv: readonly string[], signal: AbortSignal, input?: string) =>
    exec(argv, { timeoutMs: TIMEOUT_MS, signal, input });
  return {
    async write(text, signal) {
      await run(["nft", "-f", "-"], signal, text);
    },
    async read(signal) {
      try {
        return (await run(["nft", "--stateless", "list", "table", "inet", TABLE], signal)).stdout;
      } catch (error) {
        if (/No such file or directory/.test((error as Error).message)) return undefined;
        throw error;
      }
    },
    async prepare(signal) {
      if ((await value(BRIDGE_FILTER[0]!)) === undefined)
        await run(["modprobe", "br_netfilter"], signal).catch(() => undefined);
      for (const path of BRIDGE_FILTER)
        await put(path, "1").catch((cause: unknown) => {
          throw new Error("filter between containers of one bridge: br_netfilter is missing", { cause });
        });
      // No such file: no IPv6 at all, or no such bridge yet.
      for (const bridge of bridges)
        await put(`/proc/sys/net/ipv6/conf/${bridge}/disable_ipv6`, "1").catch((error: NodeJS.ErrnoException) => {
          if (error.code !== "ENOENT") throw error;
        });
    },
  };
}

const value = (path: string): Promise<string | undefined> =>
  readFile(path, "utf8").then(
    (text) => text.trim(),
    () => undefined,
  );

async function put(path: string, wanted: string): Promise<void> {
  if ((await value(path)) !== wanted) await writeFile(path, wanted);
}
