// Runs *.test.ts files, each in a process group of its own, and judges them by what uvu printed: a file that ran no test,
// skipped one, hung, left early or never printed its totals has failed, whatever its exit code says.
import { spawn } from "node:child_process";
import { readdir, readFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { until } from "#lib/time.ts";

export interface TestFile {
  /** Path relative to the root, with forward slashes. */
  path: string;
  /** Lab and e2e files: real parts in namespaces, after the units. */
  isLab: boolean;
  limitMs: number;
  sizeBytes: number;
}

export interface FileResult {
  path: string;
  passed: number;
  failed: number;
  /** Why the file failed as a whole; undefined when only single tests, or none, failed. */
  broken: string | undefined;
  output: string;
  tookMs: number;
}

export interface RunFileOptions {
  root: string;
  signal?: AbortSignal;
  /** Time between SIGTERM and SIGKILL for a file past its limit, in milliseconds: the lab cleans up in it. */
  graceMs?: number;
  /** Folder where the file, and every Node that it starts, finds modules compiled already and leaves what it compiled. */
  compiledIn?: string;
  /** Words before the program: what sets it apart (`unshare ... --`). */
  within?: readonly string[];
  /** Modules loaded before the file. */
  imports?: readonly string[];
}

const UNIT_LIMIT_MS = 120_000;
const LAB_LIMIT_MS = 300_000;
const KEPT_OUTPUT_BYTES = 64 << 20;

/** Every test file under `folder`, units first, then lab and e2e files; both in alphabetical order. */
export async function findTests(root: string, folder = "test"): Promise<TestFile[]> {
  const entries = await readdir(join(root, folder), { recursive: true, withFileTypes: true });
  const paths = entries
    .filter((entry) => entry.isFile() && entry.name.endsWith(".test.ts"))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)))
    .filter((path) => !/(^|\/)(node_modules|\.cache)\//.test(path))
    .sort();
  const files = await Promise.all(
    paths.map(async (path) => {
      const isLab = /^test\/(lab|e2e)\//.test(path);
      const source = await readFile(join(root, path), "utf8");
      const limitMs = declaredLimitMs(source) ?? (isLab ? LAB_LIMIT_MS : UNIT_LIMIT_MS);
      return { path, isLab, limitMs, sizeBytes: source.length };
    }),
  );
  return [...files.filter((file) => !file.isLab), ...files.filter((file) => file.isLab)];
}

/** `// time limit: 600 s` in the first five lines, in milliseconds. */
export function declaredLimitMs(source: string): number | undefined {
  const head = source.split("\n", 5).join("\n");
  const match = /^\/\/ time limit: (\d+) s\b/m.exec(head);
  return match ? Number(match[1]) * 1_000 : undefined;
}

/** Tests that uvu shows as failed, each with its title and error. */
export function countShownFailures(output: string): number {
  return [...output.matchAll(/^ {3}FAIL {2}/gm)].length;
}

/** The last totals uvu printed; undefined when it printed none. */
export function parseTotals(output: string): { total: number; passed: number; skipped: number } | undefined {
  const count = (label: string) => {
    const last = [...output.matchAll(new RegExp(`^ {2}${label}: +(\\d+)$`, "gm"))].at(-1);
    return last ? Number(last[1]) : undefined;
  };
  const [total, passed, skipped] = [count("Total"), count("Passed"), count("Skipped")];
  return total === undefined || passed === undefined ? undefined : { total, passed, skipped: skipped ?? 0 };
}

export interface Ending {
  output: string;
  exitCode: number | null;
  killedBy: string | null;
  /** Set when we ended it: past its limit, or the whole run was stopped. */
  stopped?: string;
}

/** The verdict on one file from how its process ended and what it printed. */
export function judge(ending: Ending): Pick<FileResult, "passed" | "failed" | "broken"> {
  const totals = parseTotals(ending.output);
  const broken = (why: string) => ({ passed: totals?.passed ?? 0, failed: 1 + failures, broken: why });
  const failures = totals ? totals.total - totals.passed : 0;
  if (ending.stopped !== undefined) {
    return broken(
      totals ? `${ending.stopped}; its tests had ended, something it opened was left open` : ending.stopped,
    );
  }
  if (ending.killedBy !== null) return broken(`died of ${ending.killedBy}`);
  if (totals === undefined) {
    const early =
      ending.exitCode === 0 ? "ended without printing totals (is test.run() missing?)" : `exited ${ending.exitCode}`;
    return broken(early);
  }
  if (totals.total === 0) return broken("ran 0 tests (is test.run() missing?)");
  if (totals.skipped > 0) return broken(`skipped ${totals.skipped} tests (test.skip or test.only)`);
  // uvu gives a suite up, without a word and with exit code 0, when a hook throws: the tests after it never run. What it threw is
  // printed by uvu-aloud.ts, which also makes errors of those that uvu cannot print and would give up at.
  const silent = failures - countShownFailures(ending.output);
  if (silent > 0) {
    const where = "a hook threw; it came where the row of dots ends";
    return broken(`gave up early: ${silent} of its ${totals.total} tests have no result (${where})`);
  }
  if (ending.exitCode === 0 && failures > 0) return broken(`exited 0 though ${failures} of its tests failed`);
  if (ending.exitCode !== 0 && failures === 0) return broken(`exited ${ending.exitCode} though its tests passed`);
  return { passed: totals.passed, failed: failures, broken: undefined };
}

export async function runFile(file: TestFile, options: RunFileOptions): Promise<FileResult> {
  const { root, signal, graceMs = 15_000, compiledIn, within = [], imports = [] } = options;
  const startedMs = performance.now();
  const env: NodeJS.ProcessEnv = { ...process.env, NO_COLOR: "1", AWS_EC2_METADATA_DISABLED: "true" };
  delete env["FORCE_COLOR"];
  if (compiledIn !== undefined) env["NODE_COMPILE_CACHE"] = compiledIn;
  // No program is started that set-up does not know. The file is told to end when this runner is killed outright.
  const own = (name: string) => join(import.meta.dirname, name);
  const preloaded = [...imports, own("started-programs.ts"), own("errors-aloud.ts")];
  const node = [process.execPath, ...preloaded.flatMap((path) => ["--import", path])];
  const argv = ["--pdeathsig", "TERM", "--", ...within, ...node, file.path];
  const child = spawn("setpriv", argv, {
    cwd: root,
    env,
    detached: true,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const chunks: Buffer[] = [];
  let keptBytes = 0;
  const keep = (chunk: Buffer) => {
    chunks.push(chunk);
    keptBytes += chunk.length;
    while (keptBytes > KEPT_OUTPUT_BYTES && chunks.length > 1) keptBytes -= chunks.shift()!.length;
  };
  child.stdout.on("data", keep);
  child.stderr.on("data", keep);

  let stopped: string | undefined;
  let killer: NodeJS.Timeout | undefined;
  const stop = (why: string) => {
    if (stopped !== undefined) return;
    stopped = why;
    signalGroup(child.pid, "SIGTERM");
    killer = setTimeout(() => signalGroup(child.pid, "SIGKILL"), graceMs);
  };
  const limit = setTimeout(() => stop(`took longer than its limit of ${file.limitMs / 1_000} s`), file.limitMs);
  const onAbort = () => stop("was stopped with the run");
  signal?.addEventListener("abort", onAbort, { once: true });
  if (signal?.aborted) onAbort();

  const ended = await new Promise<{ exitCode: number | null; killedBy: string | null }>((resolve) => {
    child.once("error", () => resolve({ exitCode: 127, killedBy: null }));
    child.once("exit", (exitCode, killedBy) => resolve({ exitCode, killedBy }));
  });
  clearTimeout(limit);
  clearTimeout(killer);
  signal?.removeEventListener("abort", onAbort);
  await endGroup(child.pid, stopped === undefined ? 0 : graceMs);
  await drained(child.stdout, child.stderr);
  const output = Buffer.concat(chunks).toString("utf8");
  const verdict = judge({ output, ...ended, ...(stopped === undefined ? {} : { stopped }) });
  return { path: file.path, output, tookMs: performance.now() - startedMs, ...verdict };
}

/** Sends the signal to the whole group; false when none of it is left. */
function signalGroup(pid: number | undefined, name: NodeJS.Signals | 0): boolean {
  if (pid === undefined) return false;
  try {
    return process.kill(-pid, name);
  } catch {
    return false;
  }
}

/** What the file started and left behind in its group gets `graceMs` to end, then is killed. */
async function endGroup(pid: number | undefined, graceMs: number): Promise<void> {
  if (graceMs > 0 && signalGroup(pid, "SIGTERM")) {
    const gone = { what: "the process group's end", timeoutMs: graceMs, everyMs: 50 };
    await until(() => !signalGroup(pid, 0), gone).catch(() => undefined); // what is left then is killed below
  }
  signalGroup(pid, "SIGKILL");
}

/** A process that left the group may hold the pipes open for ever: what has not been said by then is not waited for. */
async function drained(...streams: NodeJS.ReadableStream[]): Promise<void> {
  const isDone = () => streams.every((stream) => !stream.readable);
  await until(isDone, { what: "end of output", timeoutMs: 2_000, everyMs: 10 }).catch(() => undefined);
}
