import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { readStart } from "#lib/read-start.ts";

test("a short file is read whole, a long one to the limit, and one without an end is no danger", async () => {
  const folder = await mkdtemp(join(tmpdir(), "flynn-test-"));
  try {
    const path = join(folder, "file");
    for (const length of [0, 9, 10, 11, 100_000]) {
      await writeFile(path, "a".repeat(length));
      assert.is(await readStart(path, 10), "a".repeat(Math.min(length, 10)), String(length));
    }
    assert.is((await readStart("/dev/zero", 1_000)).length, 1_000);
    assert.match(await readStart(`/proc/${process.pid}/cmdline`, 4_096), "node");
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("what is not there is an error that says so", async () => {
  const error = await readStart("/nowhere/file", 10).then(
    () => undefined,
    (cause: NodeJS.ErrnoException) => cause,
  );
  assert.is(error?.code, "ENOENT");
});

test.run();
