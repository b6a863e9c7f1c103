// `npm run test:soak -- NAME`: one of the long runs, at most 45 minutes a call. One that is not done then goes on where it was with the
// next call; one that is done writes its row into test/soak.json, which is committed.
import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { exec } from "#lib/exec.ts";
import { readJson } from "#lib/files.ts";
import { run } from "#lib/run.ts";
import { changesSince, writeRow } from "./rows.ts";
import { ROOT } from "./run-tests.ts";
import { type Figures, SOAKS } from "./soaks.ts";

/** A round that has begun ends before 45 minutes are over. Fewer for whoever shares a machine: FLYNN_SOAK_MINUTES. */
const CALL_MS = Number(process.env["FLYNN_SOAK_MINUTES"] ?? 40) * 60_000;
const LONGEST_MS = 45 * 60_000;

interface Left {
  commit: string;
  minutes: number;
  figures: Figures;
}

async function main(stopped: AbortSignal): Promise<number> {
  const [name = "", ...more] = process.argv.slice(2);
  const soak = Object.hasOwn(SOAKS, name) ? SOAKS[name] : undefined;
  if (soak === undefined || more.length > 0) {
    const known = Object.entries(SOAKS).map(([each, { what }]) => `  npm run test:soak -- ${each.padEnd(14)} ${what}`);
    process.stderr.write(`usage: npm run test:soak -- NAME\n${known.join("\n")}\n`);
    return 2;
  }
  const folder = join(ROOT, "test/.cache/soak");
  const file = join(folder, `${name}.json`);
  const commit = (await exec(["git", "-C", ROOT, "rev-parse", "HEAD"])).stdout.trim();
  const left = await readJson<Left>(file);
  // Rounds of other code say nothing of this.
  const same = left !== undefined && (await changesSince(left.commit, soak.covers)) === 0;
  if (same) console.log(`goes on: ${JSON.stringify(left.figures)}`);
  const startedMs = performance.now();
  const minutes = () => (same ? left.minutes : 0) + (performance.now() - startedMs) / 60_000;
  const keep = async (kept: Figures) => {
    await mkdir(folder, { recursive: true });
    await writeFile(file, JSON.stringify({ commit, minutes: minutes(), figures: kept } satisfies Left));
  };
  const { done, figures } = await soak.run({
    resumed: same ? left.figures : undefined,
    timeUp: AbortSignal.timeout(CALL_MS),
    signal: AbortSignal.any([stopped, AbortSignal.timeout(LONGEST_MS)]),
    say: (line) => console.log(line),
    keep,
  });
  if (!done) {
    await keep(figures);
    console.log(`not done yet: ${JSON.stringify(figures)}. Go on with: npm run test:soak -- ${name}`);
    return 0;
  }
  await rm(file, { force: true });
  await writeRow(name, { date: new Date().toISOString(), commit, minutes: Number(minutes().toFixed(1)), figures });
  console.log(`${name} holds: ${JSON.stringify(figures)}, in ${minutes().toFixed(1)} min. Commit test/soak.json.`);
  return 0;
}

run(main, { graceMs: 60_000 });
