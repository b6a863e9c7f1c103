// The lines that people see while they push.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { bang, detail, outcome, span, step } from "../../../control/builds/words.ts";

test("each line has its mark, and text of several lines has one for each", () => {
  assert.is(step("Building hello"), "-----> Building hello\n");
  assert.is(outcome("hello v3 deployed"), "=====> hello v3 deployed\n");
  assert.is(detail("a\n\nb "), "       a\n\n       b\n");
  assert.is(bang("no\nwhy"), " !     no\n !     why\n");
  assert.is(bang(""), " !\n");
});

test("a line is two thousand characters at most and moves no cursor", () => {
  const long = "x".repeat(2_001);
  assert.equal(
    [step(long), outcome(long), detail(long), bang(long)].map((line) => line.length),
    [7 + 2_000 + 1, 7 + 2_000 + 1, 7 + 2_000 + 1, 7 + 2_000 + 1],
  );
  assert.is(step("a\u001b[2Jb\nc"), "-----> a?[2Jb?c\n");
});

test("a wait is said in minutes when it is whole ones, else in seconds", () => {
  assert.equal([60_000, 900_000, 90_000, 1_500, 1_499, 0].map(span), ["1m", "15m", "90s", "2s", "1s", "0m"]);
});

test.run();
