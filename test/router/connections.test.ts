import { test } from "uvu";
import * as assert from "uvu/assert";
import { connectionsWithin } from "../../router/connections.ts";

const limits = (hard: string) =>
  `Limit  Soft Limit  Hard Limit  Units\nMax open files            1024                 ${hard}               files\n`;
const GIB = 2 ** 30;

for (const [memoryGib, hard, count, bound] of [
  [2, "1048576", 7_158, "this machine's memory"],
  [64, "4096", 1_638, "the limit of open files"],
  [64, "unlimited", 229_064, "this machine's memory"],
  [64, "5", 10, "the limit of open files"],
] as const)
  test(`${memoryGib} GiB and ${hard} files allow ${count} connections`, () =>
    assert.equal(connectionsWithin(memoryGib * GIB, limits(hard)), { count, bound }));

test.run();
