import * as fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { age } from "../../../cli/output/answer.ts";
import { tableLines } from "../../../cli/output/table.ts";
import { clock, onTerminal, paint, plain } from "../../../cli/output/text.ts";

const TITLES = ["ID", "STATE", "REASON"];
const ROWS = [
  ["job-1", "up", ""],
  ["job-22222", "pending", "no host has 512 MiB free"],
];

test("in a pipe columns are as wide as their widest cell, and no line ends in spaces", () => {
  assert.equal(tableLines(TITLES, ROWS), [
    "ID         STATE    REASON",
    "job-1      up",
    "job-22222  pending  no host has 512 MiB free",
  ]);
});

test("on a narrow terminal the middle columns are cut; ids and reasons are not", () => {
  const id = "job-1lg69feg9pmis7ot";
  const reason = "waits since no host carries the tag zone=a";
  const rows = [[id, "a-host-with-a-very-long-name", "up", reason]];
  assert.equal(tableLines(["ID", "HOST", "STATE", "REASON"], rows, { columns: 64 }), [
    "ID                    HOST           STATE  REASON",
    `${id}  a-host-with-…  up     ${reason}`,
  ]);
});

test("a terminal that does not know its width cuts nothing", () => {
  const rows = [["x".repeat(300), "up", ""]];
  assert.is(tableLines(TITLES, rows, { columns: 0 })[1], `${"x".repeat(300)}  up`);
});

test("a terminal too narrow for anything still gets every row", () => {
  assert.is(tableLines(TITLES, ROWS, { columns: 3 }).length, 3);
});

test("states are coloured only when asked", () => {
  assert.is(tableLines(["A", "STATE", "B"], [["x", "up", "y"]], { colour: true })[1], "x  \x1b[32mup\x1b[0m     y");
  assert.is(tableLines(["A", "STATE", "B"], [["x", "up", "y"]])[1], "x  up     y");
});

test("a cell with newlines and escape sequences is one plain line", () => {
  assert.equal(tableLines(["A", "B"], [["x\ny", "\x1b[2Jz\x1b]0;title\x07\r!"]]), ["A    B", "x y  z!"]);
});

test("plain text never holds a control character, whatever went in", () => {
  const piece = fc.oneof(
    fc.string(),
    fc.constantFrom("\x1b", "\x1b[", "\x1b]8;;", "\x9b31m", "\x07", "\r", "\x00", "\x7f"),
  );
  void fc.assert(
    fc.property(fc.array(piece), (pieces) => {
      assert.not.match(plain(pieces.join("")), /[\x00-\x1f\x7f-\x9f]/);
      assert.not.match(plain(pieces.join(""), { lines: true }), /[\x00-\x08\x0b-\x1f\x7f-\x9f]/);
    }),
  );
});

test("property: of what a terminal would act on, a line keeps our own colours alone, and none where they are off", () => {
  const piece = fc.oneof(
    fc.string(),
    fc.constantFrom("\x1b", "\x1b[", "\x1b]8;;", "\x9b31m", "\x07", "\r", "31m", "\x1b[31m", "\x1b[8m", "\u202e"),
  );
  void fc.assert(
    fc.property(fc.array(piece), (pieces) => {
      const acted = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]/;
      assert.not.match(onTerminal(pieces.join(""), true).replace(/\x1b\[([012]|3[1-6])m/g, ""), acted);
      assert.not.match(onTerminal(pieces.join(""), false), acted);
    }),
  );
  assert.is(onTerminal(paint("x", "red", true), true), "\x1b[31mx\x1b[0m");
});

test("plain text keeps what is printable", () => {
  assert.is(plain("grüße ✓ [31m (x)"), "grüße ✓ [31m (x)");
  assert.is(plain("\x1b[1;31mred\x1b[0m and \x1b]8;;http://x\x1b\\link"), "red and link");
  assert.is(plain("a\tb\nc", { lines: true }), "a\tb\nc");
});

test("paint does nothing when colours are off, there is no colour, or no text", () => {
  assert.is(paint("x", "red", false), "x");
  assert.is(paint("x", undefined, true), "x");
  assert.is(paint("", "red", true), "");
  assert.is(paint("x", "red", true), "\x1b[31mx\x1b[0m");
});

test("ages are short and never negative", () => {
  const at = "2026-01-01T00:00:00.000Z";
  const from = Date.parse(at);
  assert.is(age(undefined), "");
  assert.is(age(at, from - 5_000), "0s");
  assert.is(age(at, from + 12_345), "12s");
  assert.is(age(at, from + 245_000), "4m05s");
  assert.is(age(at, from + 3 * 86_400_000), "3d0h");
});

test("the clock shows milliseconds", () => {
  assert.is(clock(new Date(2026, 0, 2, 9, 3, 51, 7)), "09:03:51.007");
});

test.run();
