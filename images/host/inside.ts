// Runs a program inside a tree (or one that builds a tree) in mount and PID namespaces of its own: when the build is
// interrupted the kernel ends all that it started and drops its mounts, so nothing is left to clean up.
import { type ExecResult, exec } from "#lib/exec.ts";
import { lending } from "./lend.ts";

export interface InsideOptions {
  /** Runs what this machine cannot: a tree's programs are of another architecture (emulator.ts). */
  emulator?: string | undefined;
  environment: NodeJS.ProcessEnv;
  signal: AbortSignal;
  timeoutMs: number;
  onLine?: (line: string) => void;
}

export function contained(argv: readonly string[], options: InsideOptions): Promise<ExecResult> {
  const { environment, signal, timeoutMs, onLine } = options;
  const wrapped = [
    "unshare",
    "--mount",
    "--propagation",
    "private",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount-proc",
    ...argv,
  ];
  return exec(wrapped, { env: environment, signal, timeoutMs, onOutput: onLine && lines(onLine) });
}

export function inTree(tree: string, argv: readonly string[], options: InsideOptions): Promise<ExecResult> {
  const { emulator } = options;
  if (emulator === undefined) return contained(["chroot", tree, ...argv], options);
  return lending(tree, argv, emulator, (lent) => contained(lent, options));
}

function lines(onLine: (line: string) => void): (chunk: Buffer, stream: "stdout" | "stderr") => void {
  let rest = "";
  return (chunk, stream) => {
    if (stream !== "stderr") return;
    const parts = (rest + chunk.toString("utf8")).split(/[\r\n]+/);
    rest = parts.pop() ?? "";
    for (const line of parts) onLine(line);
  };
}
