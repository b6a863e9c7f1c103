// Every file with property tests again and again, each time with new seeds: what a short run meets once in a thousand.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { findTests } from "../runner.ts";
import { ROOT, runTests } from "./run-tests.ts";
import type { Soak } from "./soaks.ts";

/** What one call of 45 minutes has time for beside other work. */
const ROUNDS = 6;

export const fuzzLong: Soak = {
  what: `every property test ${ROUNDS} times, with new seeds`,
  covers: ["api", "bootstrap", "cli", "control", "hostd", "images", "lib", "router"],
  async run({ resumed, timeUp, signal, say }) {
    const files = await propertyTests();
    let rounds = Number(resumed?.["rounds"] ?? 0);
    let passed = Number(resumed?.["passed"] ?? 0);
    while (rounds < ROUNDS && !timeUp.aborted) {
      passed += (await runTests(files, { signal, say, limitMs: 300_000 })).passed;
      rounds++;
      say(`round ${rounds} of ${ROUNDS}: ${passed} tests passed in all`);
    }
    return { done: rounds >= ROUNDS, figures: { rounds, files: files.length, passed } };
  },
};

async function propertyTests(): Promise<string[]> {
  const files = (await findTests(ROOT)).filter(({ isLab }) => !isLab).map(({ path }) => path);
  const uses = await Promise.all(
    files.map(async (path) => (await readFile(join(ROOT, path), "utf8")).includes("fc.assert(")),
  );
  return files.filter((_, index) => uses[index]);
}
