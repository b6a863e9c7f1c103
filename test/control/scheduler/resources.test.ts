// Needs round up, capacities down, both to what fits the arrays; amounts are said as people write them.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { formatAmount, formatQuantity, wholeCapacity, wholeNeed } from "../../../control/scheduler/resources.ts";

test("a need is whole and rounds up, a capacity rounds down, neither is below nothing or beyond 2^31", () => {
  const of = (cpuMillis: number, memoryMiB: number, diskMiB: number) => ({ cpuMillis, memoryMiB, diskMiB });
  assert.equal(wholeNeed(of(0.1, 1.5, 2)), of(1, 2, 2));
  assert.equal(wholeCapacity(of(0.9, 1.5, 2)), of(0, 1, 2));
  assert.equal(wholeNeed(of(-1, 0, Number.NaN)), of(0, 0, 0));
  assert.equal(wholeCapacity(of(2 ** 31 - 1, 2 ** 31, 1e12)), of(2 ** 31 - 1, 2 ** 31 - 1, 2 ** 31 - 1));
});

test("amounts are said with their unit, and nothing is the least that is left", () => {
  assert.equal(
    [formatAmount("memoryMiB", 2048), formatAmount("cpuMillis", 500), formatAmount("diskMiB", 10_240)],
    ["2 GiB memory", "0.5 CPU", "10 GiB disk"],
  );
  assert.equal(
    [formatQuantity("cpuMillis", -5), formatQuantity("memoryMiB", -5), formatQuantity("diskMiB", 1)],
    ["0", "0 B", "1 MiB"],
  );
});

test.run();
