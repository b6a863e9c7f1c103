// The lines that people see while they push, and what of a job's output is left for a terminal.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { bang, cleanOutput, detail, outcome, span, step } from "../../../control/builds/words.ts";

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

test("of what a job prints escapes and control characters go, text and tabs stay, and CR ends a line", () => {
  const ROWS: [from: string, to: string][] = [
    ["\u001b[31mred\u001b[0m", "red"],
    ["a\u001b]0;title\u0007b", "ab"],
    ["a\u001b]0;title\u001b\\b", "ab"],
    ["a\u001bP1;2|x\u001b\\b", "ab"],
    ["a\u001b(Bb\u001b=c\u001b", "abc"],
    ["10%\r20%\r\ndone\n", "10%\n20%\ndone\n"],
    ["a\tb\u0000\u0008\u007f\u009bc", "a\tbc"],
    ["a\u202eb\u2066c\u2028d", "abcd"],
    ["\u00e9 \u4f60 \u{1f600}", "\u00e9 \u4f60 \u{1f600}"],
  ];
  for (const [from, to] of ROWS) assert.is(cleanOutput(from), to, JSON.stringify(from));
});

test("a wait is said in minutes when it is whole ones, else in seconds", () => {
  assert.equal([60_000, 900_000, 90_000, 1_500, 1_499, 0].map(span), ["1m", "15m", "90s", "2s", "1s", "0m"]);
});

test.run();
