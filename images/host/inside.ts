// Runs a program inside a tree (or one that builds a tree) in mount and PID namespaces of its own: when the build is
// interrupted the kernel ends all that it started and drops its mounts, so nothing is left to clean up.
import { type ExecResult, exec } from "#lib/exec.ts";

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

/**
 * proot starts each program of the tree under the emulator. It runs inside the tree, and this machine's own programs are lent to it at
 * /mnt, read-only: the system calls whose paths it does not know how to translate mean the tree's files all the same.
 */
const EMULATED = `tree="$0" emulator="$1"; shift
mount -o bind,ro / "$tree/mnt" && mount --rbind /proc "$tree/proc" || exit 1
for loader in /usr/lib/*-linux-gnu/ld-linux-*.so.*; do libraries="\${loader%/*}"; done
exec chroot "$tree" "/mnt$loader" --library-path "/mnt$libraries" /mnt/usr/bin/proot -w / -q "/mnt$emulator" "$@"`;

export function inTree(tree: string, argv: readonly string[], options: InsideOptions): Promise<ExecResult> {
  const { emulator } = options;
  if (emulator === undefined) return contained(["chroot", tree, ...argv], options);
  return contained(["sh", "-c", EMULATED, tree, emulator, ...argv], options);
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
