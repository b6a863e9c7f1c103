// biome-ignore-all lint/suspicious/noTemplateCurlyInString: variables as a Dockerfile writes them
// Words of a Dockerfile as Docker reads them, and nothing guessed: what is not read with certainty is said to be unread.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { expandWord, formatInstruction, parseDockerfile, wordsOf } from "../../../hostd/builds/dockerfile-syntax.ts";

const VARIABLES = { A: "1", EMPTY: "" };
const TABLE: [word: string, expected: string | undefined][] = [
  ["plain", "plain"],
  ["$A", "1"],
  ["${A}", "1"],
  ["x$A-y", "x1-y"],
  ["$NONE", ""],
  ["${NONE:-b}", "b"],
  ["${EMPTY:-b}", "b"],
  ["${A:-b}", "1"],
  ["${A:+b}", "b"],
  ["${EMPTY:+b}", ""],
  ["${A:+b}c", "bc"],
  ["'$A'", "$A"],
  ['"$A"', "1"],
  [`"it's"`, "it's"],
  [`'a"b'`, 'a"b'],
  ["\\$A", "$A"],
  ["a\\", "a"],
  ["'a\\b'", "a\\b"],
  ['"open', undefined],
  ["'open", undefined],
  ["$", undefined],
  ["${A", undefined],
  ["${A##x}", undefined],
  ["$constructor", ""],
  ["${A}${A}", "11"],
  ["$A$A.x", "11.x"],
  ["${NONE:+b}", ""],
  ["${NONE:-}", ""],
  ["${A:-$A}", undefined],
  ["\"$A\" '$A'", "1 $A"],
  ["\"'$A'\"", "'1'"],
  ['"a\\"b"', 'a"b'],
  ["'a''b'", "ab"],
  ["$A_", ""],
  ["${_x9:-y}", "y"],
  ["$1", undefined],
  ["", ""],
];

for (const [word, expected] of TABLE)
  test(`${word} is ${expected === undefined ? "not read" : JSON.stringify(expected)}`, () => {
    assert.is(expandWord(word, "\\", VARIABLES), expected);
  });

test("another escape mark is one, and the backslash is a letter then", () => {
  assert.is(expandWord("`$A\\", "`", VARIABLES), "$A\\");
});

test("an instruction has a name, flags and the rest, without the blanks between them, over as many lines as it goes on", () => {
  const read = (text: string) => parseDockerfile(text).instructions.map((each) => ({ ...each }));
  assert.equal(read("from   --platform=a   --x  b AS c   \n# no\nrun  a \\\n\n  # no\n  b\n"), [
    { name: "FROM", flags: ["--platform=a", "--x"], rest: "b AS c", line: 1 },
    { name: "RUN", flags: [], rest: "a   b", line: 3 },
  ]);
  assert.equal(read("RUN -- --x"), [{ name: "RUN", flags: [], rest: "--x", line: 1 }]);
  assert.is(parseDockerfile("# escape=`\nRUN a `\n b\n").escapeMark, "`");
  assert.throws(() => parseDockerfile("# escape=x\n"), /escape is neither/);
  assert.throws(() => parseDockerfile("RUN a\n1X b\n"), /line 2: unknown instruction 1X/);
});

test("the escape mark is set by a directive, which stands before everything that is none", () => {
  const ROWS: [text: string, mark: string][] = [
    ["# escape=`\nFROM a", "`"],
    ["#escape = ` \nFROM a", "`"],
    ["# ESCAPE=`\nFROM a", "`"],
    ["# escape=\\\nFROM a", "\\"],
    ["# syntax=docker/dockerfile:1\n# escape=`\nFROM a", "`"],
    ["# a comment\n# escape=`\nFROM a", "\\"],
    ["FROM a\n# escape=`", "\\"],
    ["\n# escape=`\nFROM a", "\\"],
    ["\ufeff# escape=`\nFROM a", "`"],
    ["FROM a", "\\"],
  ];
  for (const [text, mark] of ROWS) assert.is(parseDockerfile(text).escapeMark, mark, JSON.stringify(text));
});

test("what goes on to the end of the file ends there, Windows' line ends are ends, and nothing is no instruction", () => {
  const read = (text: string) =>
    parseDockerfile(text).instructions.map(({ name, rest, line }) => `${line} ${name} ${rest}`);
  assert.equal(read("\ufeffFROM a\r\nRUN b \\\r\n c\r\n"), ["1 FROM a", "2 RUN b  c"]);
  assert.equal(read("RUN a \\"), ["1 RUN a"]);
  assert.equal(read("RUN a \\\n\\\n\n b\nCMD c"), ["1 RUN a  b", "5 CMD c"]);
  assert.equal([read(""), read("\n \n# x\n"), read("\\\n \\\n")], [[], [], []]);
  assert.equal(read("RUN"), ["1 RUN "]);
  assert.equal(read("  \\\n RUN a"), ["1 RUN a"]);
});

test("what is wrong is told with its line, and no more of it than a line holds", () => {
  assert.throws(() => parseDockerfile("FROM a\nRUN \0"), /^line 2 holds a NUL character$/);
  assert.throws(() => parseDockerfile("FROM a\n\n1 \\\nx"), /^line 3: unknown instruction 1$/);
  const long = "-".repeat(41);
  assert.throws(() => parseDockerfile(`${long} x`), new RegExp(`^line 1: unknown instruction ${"-".repeat(40)}$`));
});

test("an instruction is written as it is read", () => {
  for (const text of ["FROM a", "FROM --platform=x a AS b", "RUN", "HEALTHCHECK --interval=5s --timeout=3s CMD x"]) {
    const [read] = parseDockerfile(text).instructions;
    assert.is(formatInstruction(read!), text);
  }
});

test("words are a JSON list of texts, or stand between spaces", () => {
  assert.equal(wordsOf('["a b", "c"]'), ["a b", "c"]);
  assert.equal(wordsOf("  a\tb  c "), ["a", "b", "c"]);
  assert.equal(wordsOf("[1]"), ["[1]"]);
  assert.equal(wordsOf("[a"), ["[a"]);
  assert.equal(wordsOf('["a", 1]'), ['["a",', "1]"]);
  assert.equal([wordsOf("[]"), wordsOf(""), wordsOf('"a" b')], [[], [], ['"a"', "b"]]);
});

test.run();
