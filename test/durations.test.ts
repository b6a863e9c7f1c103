import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { loadDurations, longestFirst, minutesPerPart, saveDurations } from "./durations.ts";
import type { FileResult, TestFile } from "./runner.ts";

const file = (path: string, limitMs = 120_000, sizeBytes = 1): TestFile => ({ path, isLab: false, limitMs, sizeBytes });
const took = (path: string, tookMs: number, failed = 0): FileResult => ({
  path,
  tookMs,
  failed,
  passed: 1,
  broken: undefined,
  output: "",
});
const paths = (files: TestFile[]) => files.map(({ path }) => path);

test("the file that took longest last time begins first; what nobody measured goes before, by its limit, then its size", () => {
  const files = [file("a"), file("b"), file("c"), file("new"), file("large", 120_000, 9), file("slow", 180_000)];
  assert.equal(paths(longestFirst(files, { a: 5, b: 70, c: 6, gone: 1 })), ["slow", "large", "new", "b", "c", "a"]);
  assert.equal(paths(files), ["a", "b", "c", "new", "large", "slow"], "the list itself stays");
});

test("what passed is remembered, what failed keeps its last time, and a broken note is as good as none", async () => {
  const root = await mkdtemp(join(tmpdir(), "flynn-durations-"));
  try {
    assert.equal(await loadDurations(root), {});
    await saveDurations(root, { kept: 3, failed: 4 }, [took("a", 1.4), took("failed", 99, 1)]);
    assert.equal(await loadDurations(root), { kept: 3, failed: 4, a: 1 });
    await writeFile(join(root, "test/.cache/durations.json"), '{"a":');
    assert.equal(await loadDurations(root), {});
  } finally {
    await rm(root, { recursive: true, force: true });
  }
});

test("the minutes of a run are shown per part: units and labs by the clock on the wall, each lab, all", () => {
  const results = [
    took("test/api/a.test.ts", 300_000),
    took("test/lib/b.test.ts", 240_000),
    took("test/lab/short.test.ts", 30_000),
    took("test/e2e/metal.test.ts", 540_000),
  ];
  assert.is(
    minutesPerPart({ results, unitsMs: 280_000, labsMs: 550_000, unitLanes: 2, labLanes: 2 }),
    [
      "part                      files  minutes",
      "units, 2 side by side         2      4.7",
      "labs, 2 side by side          2      9.2",
      "  test/e2e/metal.test.ts      1      9.0",
      "  test/lab/short.test.ts      1      0.5",
      "all                           4     13.8",
    ].join("\n"),
  );
});

test.run();
