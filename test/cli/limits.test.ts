// Limits as people write them are checked where they are written, in the same words.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { limitChanges } from "../../cli/commands/limits.ts";

test("limits become fields, and an empty one takes its field away", () => {
  assert.equal(limitChanges(["memory=512MiB", "cpu=500", "pids=100", "disk="]), {
    memoryBytes: 512 * 1024 ** 2,
    cpuMillis: 500,
    pids: 100,
    diskBytes: null,
  });
});

for (const [word, said] of [
  ["memory=1", /^memory=1: must be a size such as 512MB, from 4 MiB to /],
  ["memory=9000TB", /^memory=9000TB: must be a size such as 512MB, from 4 MiB to 1024 TiB$/],
  ["memory=much", /^memory=much: must be a size such as 512MB$/],
  ["cpu=1", /^cpu=1: must be thousandths of a core, such as 500, from 10 to 1000000$/],
  ["pids=1", /^pids=1: must be a number such as 200, from 8 to 65536$/],
  ["disk=1MB", /^disk=1MB: must be a size such as 10GB, from 16 MiB to /],
  ["fast=1", /^fast=1 is no limit; there are memory, cpu, pids, disk/],
] as const)
  test(`limit set web ${word} is refused in the words it was written in`, () => {
    assert.throws(
      () => limitChanges([word]),
      (error: Error) => said.test(error.message),
    );
  });

test.run();
