// `node test/run.ts [--unit] [filter...]`: every test file, or those whose path contains one of the filters. Units run
// side by side, then lab and e2e files, two at once; the longest first. Then the minutes per part; the last line is `N passed, N failed`.
import { mkdtemp, rm } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { exec } from "#lib/exec.ts";
import { run } from "#lib/run.ts";
import { loadDurations, longestFirst, minutesPerPart, saveDurations } from "./durations.ts";
import { type FileResult, findTests, runFile, type TestFile } from "./runner.ts";

/** No more than there are processors: tests of real programs have clocks of their own. */
const UNITS_AT_ONCE = availableParallelism();
/** Labs wait more than they compute. Nothing in them needs a quiet machine, and what two have in common is behind a lock. */
const LABS_AT_ONCE = Math.min(2, availableParallelism());
const GRACE_MS = 30_000;
const root = fileURLToPath(new URL("..", import.meta.url));

async function main(signal: AbortSignal): Promise<number> {
  const args = process.argv.slice(2);
  const unknown = args.find((arg) => arg.startsWith("-") && arg !== "--unit");
  if (unknown !== undefined) {
    console.error(`error: unknown option ${unknown}\nusage: node test/run.ts [--unit] [filter...]`);
    return 2;
  }
  const filters = args.filter((arg) => arg !== "--unit");
  const all = await findTests(root);
  const chosen = all
    .filter((file) => !(args.includes("--unit") && file.isLab))
    .filter((file) => filters.length === 0 || filters.some((filter) => file.path.includes(filter)));
  const unmatched = filters.filter((filter) => !chosen.some((file) => file.path.includes(filter)));
  for (const filter of unmatched) console.log(`FAIL  no test file matches "${filter}"`);

  // Most of a unit's time is Node's, making JavaScript of TypeScript and compiling it: within a run that is done once.
  const compiledIn = await mkdtemp(join(tmpdir(), "flynn-compiled-"));
  const durations = await loadDurations(root);
  const settingsBefore = await gitSettings();
  const results: FileResult[] = [];
  const beganMs = performance.now();
  let [unitsMs, labsMs] = [0, 0];
  const runOne = async (file: TestFile) => {
    if (file.isLab) console.log(`      ${file.path} (limit ${file.limitMs / 1_000} s)`);
    const startedMs = performance.now();
    const progress = setInterval(() => {
      console.log(`      ${file.path} still running after ${Math.round((performance.now() - startedMs) / 1_000)} s`);
    }, 60_000);
    const result = await runFile(file, { root, signal, graceMs: GRACE_MS, compiledIn });
    clearInterval(progress);
    results.push(result);
    report(result);
  };
  try {
    await inLanes(
      longestFirst(
        chosen.filter((file) => !file.isLab),
        durations,
      ),
      UNITS_AT_ONCE,
      runOne,
      signal,
    );
    unitsMs = performance.now() - beganMs;
    await inLanes(
      longestFirst(
        chosen.filter((file) => file.isLab),
        durations,
      ),
      LABS_AT_ONCE,
      runOne,
      signal,
    );
    labsMs = performance.now() - beganMs - unitsMs;
  } finally {
    await rm(compiledIn, { recursive: true, force: true, maxRetries: 3 });
  }

  await saveDurations(root, durations, results);
  const notRun = chosen.length - results.length;
  const passed = results.reduce((sum, result) => sum + result.passed, 0);
  const settingsChanged = (await gitSettings()) !== settingsBefore;
  if (settingsChanged) console.log("FAIL  the run changed this clone's own settings: git config --list --local");
  const failed =
    results.reduce((sum, result) => sum + result.failed, 0) + notRun + unmatched.length + Number(settingsChanged);
  const failedFiles = results.filter((result) => result.failed > 0);
  if (failedFiles.length > 0) console.log(`\nfailed: ${failedFiles.map((result) => result.path).join(" ")}`);
  if (notRun > 0) console.log(`\nstopped: ${notRun} files were not run`);
  if (chosen.length === 0) console.log("no test file was run");
  const spent = { results, unitsMs, labsMs, unitLanes: UNITS_AT_ONCE, labLanes: LABS_AT_ONCE };
  if (results.length > 1) console.log(`\n${minutesPerPart(spent)}\n`);
  console.log(`${passed} passed, ${failed} failed`);
  if (signal.aborted) return 130;
  return failed === 0 && passed > 0 ? 0 : 1;
}

/** Of this clone: `flynn create` gives the repository it is called in a remote, and a test's must not be this one. */
const gitSettings = async (): Promise<string> =>
  (await exec(["git", "-C", root, "config", "--list", "--local"]).catch(() => ({ stdout: "" }))).stdout;

function report(result: FileResult): void {
  const seconds = `${(result.tookMs / 1_000).toFixed(1)} s`;
  if (result.failed === 0) {
    console.log(`ok    ${result.path}  ${result.passed} tests  ${seconds}`);
    return;
  }
  const why = result.broken ?? `${result.failed} of ${result.passed + result.failed} tests failed`;
  console.log(`FAIL  ${result.path}  ${why}  ${seconds}\n${result.output.trimEnd()}\n----- end of ${result.path}`);
}

/** Runs `work` on each item in order, at most `lanes` at once, and starts no more once the signal aborts. */
async function inLanes<T>(
  items: T[],
  lanes: number,
  work: (item: T) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  const queue = [...items];
  const lane = async () => {
    for (let item = queue.shift(); item !== undefined && !signal.aborted; item = queue.shift()) await work(item);
  };
  await Promise.all(Array.from({ length: lanes }, lane));
}

run(main, { graceMs: GRACE_MS + 10_000 });
