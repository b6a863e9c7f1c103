// `npm run test:mutate -- [PATH] [--seed N] [--count N] [--skip N] [--tests N] [--survivors] [--list]`: breaks sources in small ways, one at a time and in a
// copy, and sees whether their tests notice. The last line is `N caught, N survived`; below 90 % caught it exits 1.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { exec } from "#lib/exec.ts";
import { run } from "#lib/run.ts";
import { loadDurations, saveDurations } from "../durations.ts";
import { chosen } from "./choose.ts";
import { type Copy, copyOf } from "./copy.ts";
import { coverage, leadingTo } from "./cover.ts";
import { type FirstPass, firstPass } from "./first-pass.ts";
import { type Mutant, mutantsOf, mutated } from "./operators.ts";
import { described, type Outcome, table, totals } from "./report.ts";
import { isChosenRule } from "./rules.ts";
import { type Change, changeOf, isAmong, isSame, loadSurvivors, saveSurvivors } from "./survivors.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const LEAST_CAUGHT = 0.9;
/** A test that takes longer than this unbroken is not asked: it is a test of much more. */
const BASE_LIMIT_MS = 40_000;
/** A test that takes longer than this in a process of its own is left to the full pass. */
const QUICK_MS = 2_000;
const USAGE = `usage: npm run test:mutate -- [PATH] [--seed N] [--count N] [--skip N] [--tests N] [--survivors] [--list]
  PATH     a file, a folder or a FILE:LINE; without one the rules of control/, hostd/ and bootstrap/
  --seed   which mutants are chosen (default 1)
  --count  how many are tried (default 300 of the rules, 30 of a PATH)
  --skip   leaves out the first N of them: a run in slices
  --tests  how many test files are tried on each, the nearest first (default 5)
  --survivors  tries again those that survived the last run, and no others
  --list   prints the files and how many mutants each has, and tries none`;

type Equivalent = Change & { reason: string };

async function main(signal: AbortSignal): Promise<number> {
  const { path, line, seed, count, skip, tests: testsMost, survivors: again, list } = options(process.argv.slice(2));
  const sources = await readSources();
  const files = [...sources.keys()].filter((each) =>
    path === undefined ? isChosenRule(each, sources.get(each)!) : isWithin(each, path),
  );
  if (files.length === 0) throw new Error(`no source of the product is ${path}`);
  const all = files.map((each) =>
    mutantsOf(each, sources.get(each)!).filter((mutant) => line === undefined || mutant.line === line),
  );
  if (list) {
    for (const [at, each] of files.entries()) console.log(`${String(all[at]!.length).padStart(5)}  ${each}`);
    console.log(`${all.flat().length} mutants in ${files.length} files`);
    return 0;
  }
  const last = again ? await loadSurvivors(root) : [];
  const candidates = again ? all.flat().filter((each) => isAmong(last, each, sources)) : all.flat();
  const mutants = chosen(candidates, seed, count).slice(skip);
  const durations: Record<string, number> = { ...(await loadDurations(root)) };
  const tests = [...sources.keys()].filter((each) => /^test\/(?!lab\/|e2e\/|bench\/).*\.test\.ts$/.test(each));
  const covering = coverage({ sources, tests, durations });
  const equivalents = JSON.parse(await readFile(join(import.meta.dirname, "equivalent.json"), "utf8")) as Equivalent[];
  console.log(`${mutants.length} of ${candidates.length} mutants in ${files.length} files, seed ${seed}, from ${skip}`);

  const copy = await copyOf(root);
  const outcomes: Outcome[] = [];
  const first = firstPass(copy);
  try {
    const sound = unbroken(copy, durations, signal);
    const tools: Tools = { copy, covering, leading: leadingTo(sources), first, sound, testsMost, signal };
    for (const mutant of mutants) {
      if (signal.aborted) break;
      const source = sources.get(mutant.path)!;
      const outcome =
        equivalent(mutant, source, equivalents) ??
        (await triedQuickly(mutant, source, tools)) ??
        (await tried(mutant, source, tools));
      if (signal.aborted) break;
      outcomes.push(outcome);
      const where = `${mutant.path}:${mutant.line}  ${mutant.operator}`;
      console.log(`${String(outcomes.length + skip).padStart(4)}  ${outcome.fate.padEnd(10)}  ${where}`);
    }
  } finally {
    await first.end();
    await copy.remove();
  }
  const survivors = outcomes.filter(({ fate }) => fate === "survived");
  await saveDurations(root, durations, []);
  await saveSurvivors(root, survivors, sources);
  for (const each of survivors) console.log(`\n${described(each, sources.get(each.mutant.path)!)}`);
  console.log(`\n${table(outcomes)}\n`);
  if (signal.aborted) console.log(`stopped after ${outcomes.length}: go on with --skip ${skip + outcomes.length}`);
  const { caught, survived } = totals(outcomes);
  console.log(`${caught} caught, ${survived} survived`);
  return signal.aborted ? 130 : caught >= LEAST_CAUGHT * (caught + survived) ? 0 : 1;
}

interface Tools {
  copy: Copy;
  covering: (path: string) => string[];
  leading: (path: string) => string[];
  first: FirstPass;
  sound: Sound;
  testsMost: number;
  signal: AbortSignal;
}

async function triedQuickly(mutant: Mutant, source: string, tools: Tools): Promise<Outcome | undefined> {
  const { covering, leading, first, sound, testsMost } = tools;
  const tests = covering(mutant.path).slice(0, testsMost).filter(sound.isQuick);
  const test = await first.caughtBy(mutant, source, { tests, afresh: leading(mutant.path), limitMs: 3 * QUICK_MS });
  return test === undefined ? undefined : { mutant, fate: "caught", tests: [test] };
}

async function tried(mutant: Mutant, source: string, tools: Tools): Promise<Outcome> {
  const { copy, covering, sound, testsMost, signal } = tools;
  const asked: string[] = [];
  for (const test of covering(mutant.path)) {
    if (asked.length >= testsMost || signal.aborted) break;
    const tookMs = await sound.tookMs(test);
    if (tookMs === undefined) continue;
    const limitMs = 20_000 + 5 * tookMs;
    await copy.write(mutant.path, mutated(source, mutant));
    const result = await copy.run(test, { limitMs, signal }).finally(() => copy.write(mutant.path, source));
    if (result.failed > 0 && !(await sound.passes(test))) continue;
    // A busy machine makes a sound test late as well: what only took long is believed when the unbroken one, run now, does not.
    const isLate = result.broken?.startsWith("took longer") === true;
    if (isLate && (await copy.run(test, { limitMs: limitMs / 2, signal })).failed > 0) continue;
    asked.push(test);
    if (result.failed > 0) return { mutant, fate: isLate ? "timed out" : "caught", tests: [test] };
  }
  return { mutant, fate: "survived", tests: asked };
}

interface Sound {
  /** How long a test takes with nothing broken, in milliseconds; undefined when it does not pass then, or takes long. */
  tookMs: (test: string) => Promise<number | undefined>;
  /** Whether the first pass asks a test: as far as is known it passes with nothing broken, and soon. */
  isQuick: (test: string) => boolean;
  /** Whether a test passes here with nothing broken, found out once. */
  passes: (test: string) => Promise<boolean>;
}

/** What the tests do with nothing broken. How long one takes is believed to be what it was last, when that is known. */
function unbroken(copy: Copy, durations: Record<string, number>, signal: AbortSignal): Sound {
  const known = new Map<string, boolean>();
  const passes = async (test: string) => {
    if (!known.has(test)) {
      const { failed, broken, tookMs } = await copy.run(test, { limitMs: BASE_LIMIT_MS, signal });
      known.set(test, failed === 0);
      if (failed === 0) durations[test] = Math.round(tookMs);
      else if (!signal.aborted)
        console.log(`      ${test} is not asked: it fails with nothing broken${broken ? `, ${broken}` : ""}`);
    }
    return known.get(test)!;
  };
  return {
    passes,
    isQuick: (test) => known.get(test) !== false && (durations[test] ?? 0) <= QUICK_MS,
    tookMs: async (test) => {
      if (known.get(test) === false || durations[test]! > BASE_LIMIT_MS) return undefined;
      if (durations[test] === undefined && !(await passes(test))) return undefined;
      return durations[test]!;
    },
  };
}

function equivalent(mutant: Mutant, source: string, known: readonly Equivalent[]): Outcome | undefined {
  const found = known.find((each) => isSame(each, changeOf(mutant, source)));
  return found && { mutant, fate: "equivalent", tests: [], reason: found.reason };
}

async function readSources(): Promise<Map<string, string>> {
  const argv = ["git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", "*.ts"];
  const paths = (await exec(argv)).stdout.split("\0").filter(Boolean).sort();
  const texts = await Promise.all(paths.map((path) => readFile(join(root, path), "utf8").catch(() => "")));
  return new Map(paths.map((path, at) => [path, texts[at]!]));
}

const isWithin = (file: string, path: string): boolean =>
  !file.startsWith("test/") && (file === path || file.startsWith(`${path.replace(/\/$/, "")}/`));

function options(argv: string[]) {
  const number = { type: "string" } as const;
  const { values, positionals } = parseArgs({
    args: argv,
    allowPositionals: true,
    options: {
      seed: number,
      count: number,
      skip: number,
      tests: number,
      survivors: { type: "boolean" },
      list: { type: "boolean" },
    },
  });
  const [place, ...more] = positionals.map((each) => each.replace(/^\.\//, ""));
  const [path, line] = place?.split(/:(?=\d{1,9}$)/) ?? [];
  const numeric = (value: string | undefined, otherwise: number) => {
    if (value !== undefined && !/^\d{1,9}$/.test(value)) throw new Error(`${value} is no number\n${USAGE}`);
    return value === undefined ? otherwise : Number(value);
  };
  if (more.length > 0) throw new Error(`one PATH, please\n${USAGE}`);
  return {
    path,
    line: line === undefined ? undefined : Number(line),
    seed: numeric(values.seed, 1),
    count: numeric(values.count, path === undefined ? 300 : 30),
    skip: numeric(values.skip, 0),
    tests: numeric(values.tests, 5),
    survivors: values.survivors === true,
    list: values.list === true,
  };
}

run(main);
