// The programs a build runs: a buildpack's own, whose output is the build's log, and those whose output we read. Each in a
// process group of its own, so that ending one ends what it started.
import { type ChildProcess, spawn } from "node:child_process";

const DRAIN_MS = 1_000;

export interface ChildOptions {
  env: NodeJS.ProcessEnv;
  cwd: string;
  timeoutMs: number;
  signal: AbortSignal;
}

export interface Ended {
  code: number;
  /** Why it was ended by us, or by which signal it died. */
  why?: string;
}

/** Runs argv with both its streams as the build's log. */
export function runLogged(argv: readonly string[], options: ChildOptions & { outputFd: number }): Promise<Ended> {
  const { outputFd } = options;
  return supervised(argv, options, ["ignore", outputFd, outputFd]).ended;
}

/** Runs argv and reads its standard output, at most `mostBytes` of it; the rest of what it says is the build's log. */
export async function runRead(
  argv: readonly string[],
  options: ChildOptions & { errorFd: number | "ignore"; mostBytes?: number },
): Promise<Ended & { output: string }> {
  const { errorFd, mostBytes = 1 << 20 } = options;
  const { child, ended } = supervised(argv, options, ["ignore", "pipe", errorFd]);
  const chunks: Buffer[] = [];
  let size = 0;
  child.stdout!.on("data", (chunk: Buffer) => {
    if (size < mostBytes) chunks.push(chunk.subarray(0, mostBytes - size));
    size += chunk.length;
  });
  return { ...(await ended), output: Buffer.concat(chunks).toString("utf8") };
}

function supervised(
  argv: readonly string[],
  { env, cwd, timeoutMs, signal }: ChildOptions,
  stdio: ("ignore" | "pipe" | number)[],
): { child: ChildProcess; ended: Promise<Ended> } {
  const [file, ...args] = argv;
  const child = spawn(file!, args, { env, cwd, stdio, shell: false, detached: true });
  let why: string | undefined;
  const end = (reason: string) => {
    why = reason;
    killGroup(child.pid);
  };
  const timer = setTimeout(() => end(`took longer than ${Math.round(timeoutMs / 1_000)} s`), timeoutMs);
  const onAbort = () => end("was cancelled");
  if (signal.aborted) onAbort();
  signal.addEventListener("abort", onAbort, { once: true });
  const ended = new Promise<Ended>((resolve) => {
    const settle = (result: Ended) => {
      clearTimeout(timer);
      signal.removeEventListener("abort", onAbort);
      killGroup(child.pid); // what it left running in the background ends with it
      resolve(result);
    };
    child.once("error", (error) => settle({ code: 127, why: `could not be started (${error.message})` }));
    child.once("exit", (code, killed) =>
      settle({ code: code ?? 128, why: why ?? (killed === null ? undefined : `was killed by ${killed}`) }),
    );
  });
  if (stdio[1] !== "pipe") return { child, ended };
  const drained = new Promise<void>((resolve) => child.stdout!.once("close", () => resolve()));
  const whole = ended.then(async (result) => {
    // Something that left the group may still hold the pipe; it has nothing more to say to us.
    const late = setTimeout(() => child.stdout!.destroy(), DRAIN_MS);
    await drained;
    clearTimeout(late);
    return result;
  });
  return { child, ended: whole };
}

function killGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // none of it is left
  }
}
