// What is left for a terminal of what a program printed.
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { shownJson, shownLine, shownOutput, shownText } from "#lib/output-text.ts";

test("escapes and control characters go, text and tabs stay, and CR ends a line", () => {
  const ROWS: [from: string, to: string][] = [
    ["\u001b[31mred\u001b[0m", "red"],
    ["\u001b[1;32mgreen\u001b[0m", "green"],
    ["a\u001b]0;title\u0007b", "ab"],
    ["a\u001b]0;title\u001b\\b", "ab"],
    ["a\u001bP1;2|x\u001b\\b", "ab"],
    ["a\u001b(Bb\u001b=c\u001b", "abc"],
    ["10%\r20%\r\ndone\n", "10%\n20%\ndone\n"],
    ["a\tb\u0000\u0008\u007f\u009bc", "a\tbc"],
    ["a\u001b[2Kb\u001b[1G", "ab"],
    ["\u009b31mc1\u202edrawkcab", "31mc1drawkcab"],
    ["a\u202eb\u2066c\u2028d", "abcd"],
    ["\u00e9 \u4f60 \u{1f600}", "\u00e9 \u4f60 \u{1f600}"],
  ];
  for (const [from, to] of ROWS) assert.is(shownOutput(from), to, JSON.stringify(from));
});

test("property: JSON for a terminal is the same value, in characters that it only shows", () => {
  const text = fc.oneof(fc.string(), fc.constantFrom("\u009b2J", "\u202e", "\u007f", "\u2028", "\u001b[2J"));
  fc.assert(
    fc.property(fc.dictionary(text, fc.array(text)), (value) => {
      const shown = shownJson(JSON.stringify(value, null, 2));
      assert.equal(JSON.parse(shown), JSON.parse(JSON.stringify(value)));
      assert.not.match(shown, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u2028\u202e]/);
    }),
  );
});

test("of a line that was written over the last state is shown, and a long one is cut", () => {
  const ROWS: [from: string, to: string][] = [
    ["\u001b[1;31mred\u001b[0m \u001b]8;;http://x\u0007link\u001b]8;;\u0007", "red link"],
    ["10%\r50%\r100%\r", "100%"],
    ["a\tb\u0000\u0008\u202ec", "a\tbc"],
    ["\ud800x", "\ufffdx"],
    ["x".repeat(8_192), "x".repeat(8_192)],
    ["x".repeat(8_193), `${"x".repeat(8_192)}...`],
  ];
  for (const [from, to] of ROWS) assert.is(shownLine(from, 8_192), to, JSON.stringify(from));
});

test("whatever is printed, nothing of it moves a cursor", () => {
  const hostile = fc.array(
    fc.oneof(fc.string({ unit: "binary" }), fc.constantFrom("\u001b", "[", "]", "\r", "P", "\n")),
  );
  const moving = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/;
  fc.assert(
    fc.property(hostile, (parts) => {
      const text = parts.join("");
      return [shownText(text), shownOutput(text), shownLine(text, 100)].every((shown) => !moving.test(shown));
    }),
  );
});

test.run();
