import { mkdtemp, readdir, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { byAge, keepNewest } from "../../../images/host/cache.ts";

test("the newest few of a kind stay, and nothing of another kind is touched", async () => {
  const directory = await mkdtemp(join(tmpdir(), "flynn-cache-"));
  try {
    for (const [name, atSeconds] of [
      ["tree-1", 10],
      ["tree-2", 30],
      ["tree-3", 20],
      ["initrd-1", 1],
    ] as const) {
      await writeFile(join(directory, name), "");
      await utimes(join(directory, name), atSeconds, atSeconds);
    }
    assert.equal(await byAge(directory, /^tree-/), ["tree-2", "tree-3", "tree-1"]);
    await keepNewest(directory, /^tree-/, 2);
    assert.equal((await readdir(directory)).sort(), ["initrd-1", "tree-2", "tree-3"]);
  } finally {
    await rm(directory, { recursive: true });
  }
});

test("a directory that is not there yet holds nothing", async () => {
  assert.equal(await byAge("/nonexistent", /./), []);
});

test.run();
