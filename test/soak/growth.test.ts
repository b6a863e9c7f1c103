import { test } from "uvu";
import * as assert from "uvu/assert";
import { grown } from "./growth.ts";

const MIB = 2 ** 20;
const samples = (values: number[]) => values.map((value) => ({ control: value * MIB, hostd: 60 * MIB }));

const TABLE: [claim: string, values: number[], grows: boolean][] = [
  ["flat", [100, 101, 99, 100, 102, 100, 101, 99, 100], false],
  ["filling at first", [60, 90, 120, 130, 131, 130, 131, 130, 132], false],
  ["a sawtooth of collections", [100, 140, 110, 105, 138, 112, 141, 104, 111], false],
  ["a steady climb", [100, 110, 120, 130, 140, 150, 160, 170, 180], true],
  ["a climb within what a heap keeps", [100, 101, 102, 103, 104, 105, 106, 107, 108], false],
  ["too few to say", [100, 200, 300], false],
];
for (const [claim, values, grows] of TABLE)
  test(`memory: ${claim} is ${grows ? "growth" : "no growth"}`, () => {
    const lines = grown(samples(values));
    assert.is(lines.length > 0, grows);
    if (grows) assert.match(lines[0]!, /^control: 140 MiB, then 170 MiB, of 100 110/);
  });

test.run();
