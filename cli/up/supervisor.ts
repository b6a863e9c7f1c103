// Keeps one child running: started, its stderr to a bounded log file, started again with backoff when it dies, ended at the end.
// Children lead their own sessions, so Ctrl-C reaches only `flynn up`, which ends them in order.
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, copyFileSync, mkdirSync, openSync, statSync, truncateSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { stopChild } from "#lib/exec.ts";
import { readJson, readText, writeFileInPlace } from "#lib/files.ts";
import { commandLine, isAlive, type ProcessId, processId, signalProcess } from "#lib/process-id.ts";
import { backoffMs } from "#lib/retry.ts";
import { causeChain } from "#lib/run.ts";
import { every, sleep, until } from "#lib/time.ts";
import { fullDiskText, isWithoutRoom, startNote } from "./full-disk.ts";
import type { Part } from "./parts.ts";

export interface Supervised {
  readonly name: string;
  readonly pid: number | undefined;
  /** Times it ended, or could not be started, though it should run. */
  readonly restarts: number;
  /** Ends the child kindly; it is started again at once. */
  restart(): Promise<void>;
  /** Ends when the signal aborts and the child is gone; never rejects. */
  readonly done: Promise<void>;
}

export interface SuperviseOptions {
  runDir: string;
  logDir: string;
  signal: AbortSignal;
  /** A line that the child prints on stdout. */
  onLine?: (line: string) => void;
  onDeath: (name: string, how: string, waitMs: number) => void;
  /** Something about the part that does not end it. */
  onTrouble: (name: string, error: unknown) => void;
  env: NodeJS.ProcessEnv;
  stopGraceMs?: number;
}

const LOG_MOST_BYTES = 16 << 20;
const STEADY_MS = 30_000;

export function supervise(part: Part, options: SuperviseOptions): Supervised {
  const { runDir, logDir, signal, onLine, onDeath, onTrouble, env, stopGraceMs = 20_000 } = options;
  const slug = part.name.replace(/ /g, "-");
  const logFile = join(logDir, `${slug}.log`);
  const pidFile = join(runDir, `${slug}.pid.json`);
  let child: ChildProcess | undefined;
  let restarts = 0;

  /** One life of the child; resolves with how it ended. Whatever fails on the way, no child is left behind. */
  const live = async (): Promise<string> => {
    mkdirSync(logDir, { recursive: true });
    mkdirSync(part.stateDir, { recursive: true, mode: 0o700 });
    await killLeftover(pidFile, part);
    await writeConfig(part.file);
    const log = openSync(logFile, "a", 0o600);
    const [file, ...args] = part.argv;
    const started = spawn(file!, args, {
      stdio: ["ignore", onLine ? "pipe" : log, log],
      detached: true,
      env,
      shell: false,
    });
    closeSync(log);
    child = started;
    const ended = new Promise<string>((resolve) => {
      started.once("exit", (code, killed) => resolve(killed ? `died of ${killed}` : `exited ${code}`));
      started.once("error", (error) => resolve(`could not be started: ${error.message}`));
    });
    if (onLine && started.stdout) createInterface({ input: started.stdout }).on("line", onLine);
    const over = new AbortController();
    let noting: { written: Promise<void> } | undefined;
    const stop = () => void stopChild(started, stopGraceMs);
    // A log that cannot be kept small is told of; it is no reason to end what works.
    const bounding = boundWhile(logFile, over.signal).catch((error: unknown) => onTrouble(part.name, error));
    try {
      const id = started.pid === undefined ? undefined : await processId(started.pid);
      const onFull = (cause: unknown) =>
        onTrouble(part.name, new Error(`which process it is cannot be noted yet: ${fullDiskText(runDir)}`, { cause }));
      const note = { file: pidFile, text: JSON.stringify(id), signal: over.signal };
      if (id !== undefined) noting = await startNote({ ...note, onFull });
      signal.addEventListener("abort", stop, { once: true });
      if (signal.aborted) stop();
      return await ended;
    } finally {
      over.abort();
      await Promise.all([bounding, noting?.written]);
      signal.removeEventListener("abort", stop);
      await stopChild(started, stopGraceMs);
      await rm(pidFile, { force: true });
    }
  };

  const loop = async (): Promise<void> => {
    for (let quick = 0; !signal.aborted; ) {
      const startedMs = performance.now();
      const ended = await live().catch((error: unknown) => `could not be run: ${causeChain(error).join(": ")}`);
      // Its log is on that disk, and may not say it.
      const how = (await isWithoutRoom(part.stateDir)) ? `${ended}; ${fullDiskText(part.stateDir)}` : ended;
      if (signal.aborted) return;
      quick = performance.now() - startedMs > STEADY_MS ? 0 : quick + 1;
      restarts++;
      const waitMs = quick <= 1 ? 200 : backoffMs(quick - 1, 500, 15_000);
      onDeath(part.name, how, waitMs);
      await sleep(waitMs, signal);
    }
  };

  return {
    name: part.name,
    get pid() {
      return child?.exitCode === null && child.signalCode === null ? child.pid : undefined;
    },
    get restarts() {
      return restarts;
    },
    restart: async () => child && stopChild(child, stopGraceMs),
    done: loop(),
  };
}

/**
 * A child of an earlier `flynn up` that was killed itself: ended by SIGKILL. Every part survives that by design, and HAProxy,
 * which a kind stop of the router would take along, goes on serving until the new router adopts it.
 */
async function killLeftover(pidFile: string, part: Part): Promise<void> {
  const kept = await readJson<ProcessId>(pidFile);
  if (kept === undefined || !(await isAlive(kept)) || !(await commandLine(kept.pid)).includes(part.file.path)) return;
  await signalProcess(kept, "SIGKILL");
  await until(async () => !(await isAlive(kept)), {
    what: `the end of the ${part.name} of an earlier run (pid ${kept.pid})`,
    timeoutMs: 5_000,
    everyMs: 50,
  });
}

/** One that is there and says the same is left alone: a part starts on a full disk as well. */
async function writeConfig({ path, content }: Part["file"]): Promise<void> {
  if ((await readText(path)) !== content) await writeFileInPlace(path, content, { mode: 0o600 });
}

async function boundWhile(file: string, signal: AbortSignal): Promise<void> {
  for await (const _ of every(30_000, signal)) boundLog(file);
}

/** One old copy, then empty: the child's descriptor appends, so it goes on at the new end. */
function boundLog(file: string): void {
  try {
    if (statSync(file).size < LOG_MOST_BYTES) return;
    copyFileSync(file, `${file}.1`);
    truncateSync(file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
}
