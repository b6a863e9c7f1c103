// Variables as text: what is printed is read back, by us and by sh; what .env files hold is understood; errors name a line, no value.
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isFault } from "#api/fault.ts";
import { exec } from "#lib/exec.ts";
import { formatDotenv, parseDotenv } from "../../../cli/env/dotenv.ts";

const refusal = (text: string): string => {
  try {
    parseDotenv(text);
  } catch (error) {
    if (isFault(error, "invalid")) return error.message;
    throw error;
  }
  return "read";
};

const value = fc
  .oneof(
    fc.string({ unit: "grapheme" }),
    fc
      .array(fc.constantFrom("'", '"', "\\", "\n", "\r\n", "$", "`", " ", "#", "=", "x", "\t", "\ufeff"))
      .map((parts) => parts.join("")),
  )
  .filter((text) => !text.includes("\0"));
const environments = fc.dictionary(fc.stringMatching(/^X_[A-Za-z0-9_]{0,10}$/), value, { noNullPrototype: true });

const READ: [line: string, value: string][] = [
  ["A=#1e90ff", "#1e90ff"],
  ["A=#1e90ff # blue", "#1e90ff"],
  ["A=a#b", "a#b"],
  ["A= # nothing", ""],
  ["A=x # c\r\n", "x"],
  ["A='x' # c\r\n", "x"],
  ['A="x" # it\'s "c"\r\nB=1\r\n', "x"],
  ["A='x'\r\n", "x"],
];
for (const [line, value] of READ)
  test(`${JSON.stringify(line)} gives ${JSON.stringify(value)}, as sh reads it`, () =>
    assert.is(parseDotenv(line)["A"], value));

test("property: what is printed is what is read", () => {
  fc.assert(
    fc.property(environments, (env) => {
      assert.equal(parseDotenv(formatDotenv(env)), env);
      assert.equal(parseDotenv(`# a\n\n${formatDotenv(env)}\n# b`), env);
    }),
    { numRuns: 2_000 },
  );
});

test("property: any text is read or refused with a line, and no refusal repeats a value", () => {
  const pieces = fc.constantFrom(
    "A",
    "B",
    "=",
    "'",
    '"',
    "\n",
    "\r\n",
    " ",
    "#",
    "\\",
    "export ",
    "\0",
    "s3cret",
    "\ufeff",
  );
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.array(pieces, { maxLength: 40 }).map((parts) => parts.join("")),
      ),
      (text) => {
        const said = refusal(text);
        assert.ok(said === "read" || /^line \d+: /.test(said), said);
      },
    ),
    { numRuns: 3_000 },
  );
});

test("sh reads what is printed", async () => {
  const directory = await mkdtemp(join(tmpdir(), "dotenv-"));
  try {
    const env = {
      X_PEM: "-----BEGIN\nab'c\n-----END\n",
      X_Q: `it's "$HOME" \`id\` \\n`,
      X_EMPTY: "",
      X_PLAIN: "a/b:c@d,e%f",
    };
    const file = join(directory, "env");
    await writeFile(file, formatDotenv(env));
    const script = 'set -a; . "$1"; exec "$2" -p "JSON.stringify(process.env)"';
    const { stdout } = await exec(["sh", "-eu", "-c", script, "sh", file, process.execPath], { timeoutMs: 20_000 });
    const seen = JSON.parse(stdout) as Record<string, string>;
    for (const [name, wanted] of Object.entries(env)) assert.is(seen[name], wanted, name);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});

test("what .env files hold: export, comments, blanks, double quotes with escapes, values over lines, Windows line ends", () => {
  const text = `\ufeff# comment\r\nexport A=1\r\nB = two words # said\r\nC="x\\ty\\n\\"z\\" \\$HOME \\d"\r\nD='a\nb'\nE=\nF=a#b\nG=x=y=z\nH='it'\\''s' # end\n`;
  assert.equal(parseDotenv(text), {
    A: "1",
    B: "two words",
    C: 'x\ty\n"z" $HOME \\d',
    D: "a\nb",
    E: "",
    F: "a#b",
    G: "x=y=z",
    H: "it's",
  });
});

test("what is wrong is told by its line", () => {
  assert.match(refusal("A=1\nnonsense s3cret\n"), /^line 2: write a variable as NAME=VALUE$/);
  assert.match(refusal("A='x\ny'\nA=2"), /^line 3: A is there twice \(first on line 1\)$/);
  assert.match(refusal("A=1\nB='open\n"), /^line 2: a ' is not closed$/);
  assert.match(refusal('A="open'), /^line 1: a " is not closed$/);
  assert.match(refusal("A='x' s3cret"), /^line 1: something follows/);
  assert.match(refusal("9A=1"), /^line 1: the name is not one/);
  assert.match(refusal("__proto__=1"), /^line 1: the name is not one/);
  assert.match(refusal("A=a\0b"), /^line 1: the value of A holds a NUL/);
});

test.run();
