// A lab's cleanup scope: what is started registers its undo, and the undos run in reverse on a normal end, a throw and
// SIGINT, SIGTERM or SIGHUP. A detached watchdog does it when this process is killed; a later run when that failed too.
import { spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  createJournal,
  deadRuns,
  journal,
  type Leftover,
  RUN_VARIABLE,
  runFolder,
  runId,
  undo,
  undoRun,
} from "./leftovers.ts";

export interface Scope {
  /** `fl<pid>`: prefix for the names of what is made outside `folder`. */
  readonly id: string;
  /** Scratch folder, removed at the end. */
  readonly folder: string;
  /** Aborts when the scope begins to close. */
  readonly signal: AbortSignal;
  /** Runs `undo` when the scope closes, last registered first. */
  defer(what: string, undo: () => unknown): void;
  /** Journals something this process makes on the machine: undone at close, or by the watchdog. Call it before making it. */
  keep(record: Leftover): void;
  close(): Promise<void>;
}

export interface ScopeOptions {
  /** False when the program turns signals into its own abort (lib/run.ts) and closes the scope itself. */
  signals?: boolean;
}

interface Run {
  id: string;
  scopes: Set<Scope>;
  watchdog: Watchdog;
  count: number;
}

const runs = new Map<number, Promise<Run>>();

export async function openScope(options: ScopeOptions = {}): Promise<Scope> {
  let starting = runs.get(process.pid);
  if (starting === undefined) {
    starting = startRun(options.signals ?? true);
    runs.set(process.pid, starting);
  }
  const run = await starting;
  const folder = join(runFolder(run.id), String(++run.count));
  mkdirSync(folder, { recursive: true });
  const controller = new AbortController();
  const undos: { what: string; undo: () => unknown }[] = [];
  let closing: Promise<void> | undefined;
  const scope: Scope = {
    id: run.id,
    folder,
    signal: controller.signal,
    defer(what, undo) {
      undos.push({ what, undo });
    },
    keep(record) {
      journal(run.id, record);
      undos.push({ what: JSON.stringify(record), undo: () => undo(record) });
    },
    close() {
      closing ??= closeAll();
      return closing;
    },
  };
  const closeAll = async () => {
    controller.abort(new Error("the lab scope closed"));
    const problems: Error[] = [];
    for (let entry = undos.pop(); entry !== undefined; entry = undos.pop()) {
      try {
        await entry.undo();
      } catch (cause) {
        problems.push(new Error(`undo ${entry.what}`, { cause }));
      }
    }
    run.scopes.delete(scope);
    if (problems.length > 0)
      throw new AggregateError(
        problems,
        `lab clean-up: ${problems.map((p) => `${p.message}: ${(p.cause as Error).message}`).join("; ")}`,
      );
    if (run.scopes.size === 0) await endRun(run);
  };
  run.scopes.add(scope);
  scope.keep({ kind: "folder", path: folder });
  return scope;
}

/** Runs `work` in a scope that is closed whatever happens. */
export async function withScope<T>(work: (scope: Scope) => Promise<T>, options?: ScopeOptions): Promise<T> {
  const scope = await openScope(options);
  try {
    return await work(scope);
  } finally {
    await scope.close();
  }
}

async function startRun(handleSignals: boolean): Promise<Run> {
  for (const id of await deadRuns()) {
    const problems = await undoRun(id);
    if (problems.length > 0) console.error(`lab: leftovers of dead run ${id}: ${problems.join("; ")}`);
  }
  const id = runId();
  await createJournal(id);
  const run: Run = { id, scopes: new Set(), watchdog: startWatchdog(id), count: 0 };
  process.env[RUN_VARIABLE] = id; // after the watchdog: it must not carry the mark
  if (handleSignals) closeOnSignals(run);
  return run;
}

async function endRun(run: Run): Promise<void> {
  runs.delete(process.pid);
  delete process.env[RUN_VARIABLE];
  const problems = await undoRun(run.id);
  run.watchdog.release(problems.length > 0);
  if (problems.length > 0) throw new Error(`lab clean-up: ${problems.join("; ")}`);
}

interface Watchdog {
  /** Killed, when nothing is left to undo: this process may begin the next run of the same name at once. */
  release(again: boolean): void;
}

function startWatchdog(id: string): Watchdog {
  const program = fileURLToPath(new URL("watchdog.ts", import.meta.url));
  const env = { ...process.env };
  delete env[RUN_VARIABLE]; // set when this lab runs inside another one, which must not end this watchdog
  const child = spawn(process.execPath, [program, id], {
    env,
    detached: true,
    stdio: ["pipe", "ignore", "ignore"],
    cwd: "/",
  });
  child.unref();
  const { stdin } = child;
  stdin.on("error", () => undefined);
  (stdin as unknown as { unref(): void }).unref(); // the pipe must not keep a finished test alive
  return { release: (again) => (again ? stdin.end() : void child.kill("SIGKILL")) };
}

function closeOnSignals(run: Run): void {
  for (const [name, code] of [
    ["SIGINT", 130],
    ["SIGTERM", 143],
    ["SIGHUP", 129],
  ] as const) {
    process.once(name, async () => {
      const results = await Promise.allSettled([...run.scopes].map((scope) => scope.close()));
      for (const result of results) if (result.status === "rejected") console.error(String(result.reason));
      process.exit(code);
    });
  }
}
