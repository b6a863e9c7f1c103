// Child processes as argv arrays: never a shell, always a deadline, output capped.
import { type ChildProcess, spawn } from "node:child_process";

export interface ExecOptions {
  timeoutMs?: number;
  signal?: AbortSignal;
  input?: string | Buffer;
  env?: NodeJS.ProcessEnv;
  cwd?: string;
  /** Output kept per stream, in bytes; the tail is kept. Default 8 MiB. */
  maxOutputBytes?: number;
  /** Each chunk of either stream as it arrives, for progress. */
  onOutput?: (chunk: Buffer, stream: "stdout" | "stderr") => void;
}

export interface ExecResult {
  stdout: string;
  stderr: string;
}

/** A child that could not start, ended with a code other than 0, was killed, or took too long. */
export class ExecError extends Error {
  readonly argv: readonly string[];
  readonly exitCode: number | undefined;
  readonly stdout: string;
  readonly stderr: string;
  constructor(
    argv: readonly string[],
    what: string,
    out: Partial<ExecResult> & { exitCode?: number; cause?: unknown },
  ) {
    const tail = (out.stderr || out.stdout || "").trim().split("\n").slice(-3).join(" | ");
    super(`${argv.slice(0, 3).join(" ")} ${what}${tail ? `: ${tail}` : ""}`, { cause: out.cause });
    this.name = "ExecError";
    this.argv = argv;
    this.exitCode = out.exitCode;
    this.stdout = out.stdout ?? "";
    this.stderr = out.stderr ?? "";
  }
}

/** Runs argv to its end; resolves with its output on exit code 0, else throws ExecError. */
export function exec(argv: readonly string[], options: ExecOptions = {}): Promise<ExecResult> {
  const { timeoutMs = 60_000, signal, input, env, cwd, maxOutputBytes = 8 << 20, onOutput } = options;
  return new Promise((resolve, reject) => {
    const [file, ...args] = argv;
    if (file === undefined) throw new Error("exec needs a program");
    if (signal?.aborted) return reject(new ExecError(argv, "not started", { cause: signal.reason }));
    const child = spawn(file, args, { env, cwd, stdio: ["pipe", "pipe", "pipe"], shell: false });
    const out = { stdout: tailBuffer(maxOutputBytes), stderr: tailBuffer(maxOutputBytes) };
    let why = "";
    const kill = (reason: string) => {
      why = reason;
      child.kill("SIGKILL");
    };
    const timer = setTimeout(() => kill(`took longer than ${timeoutMs} ms`), timeoutMs);
    const onAbort = () => kill("was cancelled");
    signal?.addEventListener("abort", onAbort, { once: true });
    for (const name of ["stdout", "stderr"] as const) {
      child[name].on("data", (chunk: Buffer) => {
        out[name].push(chunk);
        onOutput?.(chunk, name);
      });
    }
    const settle = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
    };
    child.on("error", (cause) => {
      settle();
      reject(new ExecError(argv, "could not be started", { cause }));
    });
    child.on("close", (code, killed) => {
      settle();
      const result = { stdout: out.stdout.text(), stderr: out.stderr.text() };
      if (code === 0 && why === "") return resolve(result);
      reject(
        new ExecError(argv, why || (killed ? `died of ${killed}` : `exited ${code}`), {
          ...result,
          exitCode: code ?? undefined,
        }),
      );
    });
    child.stdin.on("error", () => undefined); // a child may end without reading its input
    child.stdin.end(input);
  });
}

/** Ends a long-lived child: `signalName` now, SIGKILL after `graceMs`; resolves when it is gone. */
export async function stopChild(
  child: ChildProcess,
  graceMs = 5_000,
  signalName: NodeJS.Signals = "SIGTERM",
): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  const gone = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  child.kill(signalName);
  const timer = setTimeout(() => child.kill("SIGKILL"), graceMs);
  await gone;
  clearTimeout(timer);
}

function tailBuffer(maxBytes: number): { push(chunk: Buffer): void; text(): string } {
  const chunks: Buffer[] = [];
  let size = 0;
  return {
    push(chunk) {
      chunks.push(chunk);
      size += chunk.length;
      while (size > maxBytes && chunks.length > 1) size -= chunks.shift()!.length;
    },
    text: () => Buffer.concat(chunks).toString("utf8"),
  };
}
