// Puts the builds' network rule into the kernel and looks that it is there: a build never starts without it.
import { readFile, writeFile } from "node:fs/promises";
import { exec } from "#lib/exec.ts";
import { BUILD_BRIDGE } from "./engine.ts";
import { type BuildNetworkInput, buildChainText, buildJumpCommands } from "./network.ts";

const TIMEOUT_MS = 10_000;
/** Without it, frames between two containers of one bridge pass no rule. */
const BRIDGE_FILTER = "/proc/sys/net/bridge/bridge-nf-call-iptables";

export async function isolateBuilds(input: BuildNetworkInput, signal: AbortSignal): Promise<void> {
  const run = (argv: readonly string[], stdin?: string) => exec(argv, { timeoutMs: TIMEOUT_MS, signal, input: stdin });
  await run(["iptables-restore", "--wait", "5", "--noflush"], buildChainText(input));
  for (const { check, add } of buildJumpCommands()) {
    await run(check).catch(() => run(add));
    await run(check);
  }
  if ((await readFile(BRIDGE_FILTER, "utf8").catch(() => undefined)) === undefined)
    await run(["modprobe", "br_netfilter"]).catch(() => undefined);
  await writeFile(BRIDGE_FILTER, "1").catch((cause: unknown) => {
    throw new Error("filter between builds: br_netfilter is missing", { cause });
  });
  // The bridge would have a link-local address of its own, and behind it the host. No such file: no IPv6 at all.
  await writeFile(`/proc/sys/net/ipv6/conf/${BUILD_BRIDGE}/disable_ipv6`, "1").catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOENT") throw error;
  });
}
