// Keeps one child running: started, its stderr to a bounded log file, started again with backoff when it dies, ended at the end.
// Children lead their own sessions, so Ctrl-C reaches only `flynn up`, which ends them in order.
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, copyFileSync, mkdirSync, openSync, statSync, truncateSync } from "node:fs";
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { stopChild } from "#lib/exec.ts";
import { readJson, writeFileAtomic } from "#lib/files.ts";
import { backoffMs } from "#lib/retry.ts";
import { sleep } from "#lib/time.ts";
import type { Part } from "./parts.ts";

export interface Supervised {
  readonly name: string;
  readonly pid: number | undefined;
  readonly restarts: number;
  /** Ends when the signal aborts and the child is gone. */
  done: Promise<void>;
}

export interface SuperviseOptions {
  runDir: string;
  logDir: string;
  signal: AbortSignal;
  /** Text that the child prints on stdout. */
  onOutput?: (text: string) => void;
  onDeath: (name: string, how: string, waitMs: number) => void;
  env: NodeJS.ProcessEnv;
  stopGraceMs?: number;
}

const LOG_MOST_BYTES = 16 << 20;
const STEADY_MS = 30_000;

export function supervise(part: Part, options: SuperviseOptions): Supervised {
  const { runDir, logDir, signal, onOutput, onDeath, env, stopGraceMs = 20_000 } = options;
  const slug = part.name.replace(/ /g, "-");
  const logFile = join(logDir, `${slug}.log`);
  let child: ChildProcess | undefined;
  let restarts = 0;

  const loop = async (): Promise<void> => {
    mkdirSync(logDir, { recursive: true });
    mkdirSync(part.stateDir, { recursive: true, mode: 0o700 });
    await killLeftover(join(runDir, `${slug}.pid.json`), part);
    for (let quick = 0; !signal.aborted; ) {
      await writeFileAtomic(part.file.path, part.file.content, { mode: 0o600 });
      boundLog(logFile);
      const startedMs = performance.now();
      const log = openSync(logFile, "a", 0o600);
      const [file, ...args] = part.argv;
      child = spawn(file!, args, {
        stdio: ["ignore", onOutput ? "pipe" : log, log],
        detached: true,
        env,
        shell: false,
      });
      closeSync(log);
      if (onOutput) child.stdout?.setEncoding("utf8").on("data", onOutput);
      const ended = new Promise<string>((resolve) => {
        child!.once("exit", (code, killed) => resolve(killed ? `died of ${killed}` : `exited ${code}`));
        child!.once("error", (error) => resolve(`could not be started: ${error.message}`));
      });
      if (child.pid)
        await writeFileAtomic(
          join(runDir, `${slug}.pid.json`),
          JSON.stringify({ pid: child.pid, startTicks: await startTicks(child.pid) }),
        );
      const stopping = new AbortController();
      const bounding = boundWhile(logFile, stopping.signal);
      const onAbort = () => void stopChild(child!, stopGraceMs);
      signal.addEventListener("abort", onAbort, { once: true });
      if (signal.aborted) onAbort();
      const how = await ended;
      signal.removeEventListener("abort", onAbort);
      stopping.abort();
      await bounding;
      await rm(join(runDir, `${slug}.pid.json`), { force: true });
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
    done: loop(),
  };
}

/**
 * A child of an earlier `flynn up` that was killed itself: ended by SIGKILL. Every part survives that by design, and HAProxy,
 * which a kind stop of the router would take along, goes on serving until the new router adopts it.
 */
async function killLeftover(pidFile: string, part: Part): Promise<void> {
  const kept = await readJson<{ pid: number; startTicks: string | undefined }>(pidFile);
  if (kept === undefined || kept.startTicks === undefined || (await startTicks(kept.pid)) !== kept.startTicks) return;
  const command = await readFile(`/proc/${kept.pid}/cmdline`, "utf8").catch(() => "");
  if (!command.includes(part.file.path)) return;
  try {
    process.kill(kept.pid, "SIGKILL");
  } catch {
    return; // gone in between
  }
  for (let n = 0; n < 100 && (await startTicks(kept.pid)) === kept.startTicks; n++) await sleep(50);
}

/** Field 22 of /proc/PID/stat: tells a process from a later one with the same pid. */
async function startTicks(pid: number): Promise<string | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => undefined);
  const fields = stat?.slice(stat.lastIndexOf(")") + 2).split(" ");
  return fields === undefined || fields[0] === "Z" ? undefined : fields[19];
}

async function boundWhile(file: string, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await sleep(30_000, signal);
    boundLog(file);
  }
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
