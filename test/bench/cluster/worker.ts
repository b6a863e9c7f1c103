// A process of the benchmark that answers questions over its IPC channel, and the one clock that all of them read.
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { stopChild } from "#lib/exec.ts";
import { deadline } from "#lib/time.ts";

/** Milliseconds on the kernel's monotonic clock: the same in every process. */
export const clockMs = (): number => Number(process.hrtime.bigint() / 1_000n) / 1_000;

interface Question {
  id: number;
  what: string;
  input: unknown;
}

interface Answer {
  id: number;
  reply?: unknown;
  error?: string;
}

export interface Worker {
  readonly child: ChildProcess;
  ask<T = undefined>(what: string, input?: unknown, timeoutMs?: number): Promise<T>;
  stop(): Promise<void>;
}

/** Starts `file`; it must answer `ready` before it is asked anything else. */
export async function startWorker(
  file: URL,
  options: { args: string[]; execArgv?: string[]; signal: AbortSignal },
): Promise<Worker> {
  const { args, execArgv = [], signal } = options;
  const env = { ...process.env, MALLOC_TRIM_THRESHOLD_: "131072" }; // as `flynn up` starts its parts
  const child = fork(file, args, { stdio: ["ignore", "inherit", "inherit", "ipc"], execArgv, env });
  const waiting = new Map<number, { resolve: (reply: never) => void; reject: (error: Error) => void }>();
  const fail = (error: Error) => {
    for (const { reject } of waiting.values()) reject(error);
    waiting.clear();
  };
  child.on("message", ({ id, reply, error }: Answer) => {
    const asked = waiting.get(id);
    waiting.delete(id);
    if (error === undefined) asked?.resolve(reply as never);
    else asked?.reject(new Error(error));
  });
  child.once("exit", (code) => fail(new Error(`${file.pathname} ended with ${code}`)));
  const onAbort = () => child.kill("SIGKILL");
  signal.addEventListener("abort", onAbort, { once: true });
  let last = 0;
  const ask = <T>(what: string, input?: unknown, timeoutMs = 120_000): Promise<T> => {
    const id = ++last;
    const answered = new Promise<T>((resolve, reject) => waiting.set(id, { resolve, reject }));
    child.send({ id, what, input } satisfies Question);
    return deadline(answered, timeoutMs, `${what} of ${file.pathname}`);
  };
  await ask("ready");
  return {
    child,
    ask,
    async stop() {
      signal.removeEventListener("abort", onAbort);
      if (child.exitCode !== null || child.signalCode !== null) return;
      const ended = once(child, "exit");
      child.send({ id: 0, what: "stop", input: undefined } satisfies Question);
      await deadline(ended, 20_000, "the end of a process").catch(() => stopChild(child));
    },
  };
}

/** The other end: what may be asked. `stop` is called once, at the end. */
export function answer(
  handlers: Record<string, (input: never) => unknown>,
  stop: () => Promise<void> = async () => undefined,
): void {
  process.on("message", async ({ id, what, input }: Question) => {
    if (what === "stop") {
      await stop().catch((error: unknown) => console.error(error));
      process.exit();
    }
    try {
      const reply = what === "ready" ? undefined : await handlers[what]!(input as never);
      process.send?.({ id, reply } satisfies Answer);
    } catch (error) {
      process.send?.({ id, error: (error as Error).stack ?? String(error) } satisfies Answer);
    }
  });
  process.once("disconnect", () => process.exit(1));
}
