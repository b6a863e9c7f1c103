// A machine's serial console over its BMC (IPMI serial over LAN, by ipmitool): one process for each machine, whoever looks. What comes is
// kept, the last 256 KiB of it, and shown first to who looks next.
import { spawn } from "node:child_process";
import type { BmcAccess } from "#api/bmc-work.ts";
import { stopChild } from "#lib/exec.ts";
import { ipmiArgv, ipmiTrouble } from "./ipmi.ts";
import { trouble } from "./trouble.ts";

export const KEPT_BYTES = 256 << 10;

/** The newest bytes of a stream, never more than `most`. */
export function ring(most: number): { push(bytes: Buffer): void; bytes(): Buffer } {
  let chunks: Buffer[] = [];
  let size = 0;
  return {
    push(bytes) {
      chunks.push(Buffer.from(bytes));
      size += bytes.length;
      while (size - chunks[0]!.length >= most) size -= chunks.shift()!.length;
      if (chunks.length > 1_024) chunks = [Buffer.concat(chunks)];
    },
    bytes: () => Buffer.concat(chunks).subarray(-most),
  };
}

export interface Console {
  readonly since: string;
  kept(): Buffer;
  /** What comes from now on, until the returned function is called. */
  listen(listener: { bytes: (bytes: Buffer) => void; end: (reason: string) => void }): () => void;
  type(bytes: Buffer): void;
  readonly ended: boolean;
  close(): Promise<void>;
}

export interface ConsoleOptions {
  program?: string;
  now?: () => Date;
}

/** `~` begins ipmitool's own commands at the start of a line, so that one is typed twice for it; it also would put itself in background. */
export function escaped(bytes: Buffer, atLineStart: boolean): { bytes: Buffer; atLineStart: boolean } {
  const out: number[] = [];
  let start = atLineStart;
  for (const byte of bytes) {
    if (byte === 0x7e && start) out.push(0x7e);
    out.push(byte);
    start = byte === 0x0d || byte === 0x0a;
  }
  return { bytes: Buffer.from(out), atLineStart: start };
}

export function openConsole(
  bmc: BmcAccess,
  { program = "ipmitool", now = () => new Date() }: ConsoleOptions = {},
): Console {
  if (bmc.kind !== "ipmi" || bmc.password === undefined)
    throw trouble(
      "bmc-unsupported",
      "a serial console needs a BMC set by --ipmi: Redfish has none, Wake-on-LAN neither",
    );
  const { address = "" } = bmc;
  const kept = ring(KEPT_BYTES);
  const listeners = new Set<{ bytes: (bytes: Buffer) => void; end: (reason: string) => void }>();
  const [file, ...args] = [program, ...ipmiArgv(bmc, ["sol", "activate"]).filter((word) => word !== "-v")];
  const env = { PATH: process.env["PATH"] ?? "/usr/bin:/bin", LC_ALL: "C", IPMI_PASSWORD: bmc.password };
  const child = spawn(file, args, {
    env,
    stdio: ["pipe", "pipe", "pipe"],
    shell: false,
  });
  let errors = "";
  let ended = false;
  let atLineStart = true;
  let closing = false;
  const end = (reason: string) => {
    if (ended) return;
    ended = true;
    for (const each of [...listeners]) each.end(reason);
    listeners.clear();
  };
  child.stdout.on("data", (bytes: Buffer) => {
    kept.push(bytes);
    for (const each of listeners) each.bytes(bytes);
  });
  child.stderr.on("data", (bytes: Buffer) => {
    errors = (errors + bytes.toString("utf8")).slice(-4_096);
  });
  child.stdin.on("error", () => undefined); // its end is told by `close`
  child.on("error", () => end("ipmitool cannot be started here; apt-get install ipmitool"));
  child.on("close", () =>
    end(closing ? "the console was closed" : `the BMC ended it: ${ipmiTrouble(errors, address).message}`),
  );
  return {
    since: now().toISOString(),
    kept: () => kept.bytes(),
    listen(listener) {
      if (ended) listener.end("the BMC ended it");
      else listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    type(bytes) {
      const next = escaped(bytes, atLineStart);
      atLineStart = next.atLineStart;
      if (child.stdin.writable) child.stdin.write(next.bytes);
    },
    get ended() {
      return ended;
    },
    async close() {
      closing = true;
      // Its own way out frees the BMC's one console; killed, the BMC would hold it until a time of its own.
      if (child.stdin.writable) child.stdin.end(`${atLineStart ? "" : "\r"}~.`);
      await stopChild(child, 3_000);
    },
  };
}
