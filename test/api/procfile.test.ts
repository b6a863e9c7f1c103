// The Procfile: what people write is read, what Windows adds is passed over, what would run something else is refused.
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isFault } from "#api/fault.ts";
import { parseProcfile } from "#api/procfile.ts";
import { isProcessName } from "#api/schema.ts";

const refusal = (text: string): string => {
  try {
    parseProcfile(text);
  } catch (error) {
    if (isFault(error, "invalid")) return `${error.details?.["line"] ?? ""} ${error.message}`;
    throw error;
  }
  return "read";
};

test("types and commands are read as Heroku reads them, comments and blank lines apart", () => {
  const { types, warnings } = parseProcfile(
    '# the app\n\nweb: npm start -- --port=$PORT\nworker:node worker.js\n  release: ./migrate "a: b"  \nmy_job-2:\tx\n',
  );
  assert.equal(types, {
    web: "npm start -- --port=$PORT",
    worker: "node worker.js",
    release: './migrate "a: b"',
    "my_job-2": "x",
  });
  assert.equal(warnings, []);
});

test("a byte order mark and Windows line ends are passed over, with a warning", () => {
  const { types, warnings } = parseProcfile("\ufeffweb: a\r\nworker: b\r\n");
  assert.equal(types, { web: "a", worker: "b" });
  assert.is(warnings.length, 2);
  assert.match(warnings[0]!, /byte order mark/);
  assert.match(warnings[1]!, /Windows line ends/);
});

test("capital letters are made small, and that is said", () => {
  const { types, warnings } = parseProcfile("Web: a\n");
  assert.equal(types, { web: "a" });
  assert.equal(warnings, ["line 1: process type Web is run as web"]);
});

test("what is wrong is refused with its line", () => {
  assert.match(refusal("web: a\n\nweb: b\n"), /^3 .*twice \(lines 1 and 3\)/);
  assert.match(refusal("web: a\nWEB: b"), /^2 .*twice/);
  assert.match(refusal("web:\n"), /^1 .*no command/);
  assert.match(refusal("web:   \r\nx: y"), /^1 .*no command/);
  assert.match(refusal("a: b\nnpm start\n"), /^2 .*"npm start" is no process type/);
  assert.match(refusal("we b: x"), /^1 .*no process type/);
  assert.match(refusal(`${"x".repeat(31)}: a`), /longer than 30/);
  assert.match(refusal("9lives: a"), /begin with a letter/);
  assert.match(refusal("__proto__: a"), /begin with a letter/);
  assert.match(refusal("constructor: a"), /taken/);
  assert.match(refusal("web: a\u0000b"), /control character/);
  assert.match(refusal(`web: ${"x".repeat(4097)}`), /longer than 4096/);
  assert.match(refusal(Array.from({ length: 51 }, (_, n) => `p${n}: x`).join("\n")), /^51 .*more than 50/);
  assert.match(refusal("x".repeat(70_000)), /64 KiB/);
});

test("an empty Procfile is no fault, but is said", () => {
  assert.equal(parseProcfile("\n# nothing\n").types, {});
  assert.match(parseProcfile("").warnings[0]!, /no process type/);
});

test("property: any text is read or refused as invalid, and what is read fits the API's names", () => {
  const words = fc.constantFrom(
    "web",
    ":",
    " ",
    "\n",
    "\r\n",
    "\ufeff",
    "__proto__",
    "constructor",
    "#",
    "\t",
    "\u0000",
  );
  const any = fc.oneof(
    fc.string(),
    fc.string({ unit: "binary" }),
    fc.array(words).map((parts) => parts.join("")),
  );
  fc.assert(
    fc.property(any, (text) => {
      if (refusal(text) !== "read") return;
      for (const [type, command] of Object.entries(parseProcfile(text).types)) {
        assert.ok(isProcessName(type), type);
        assert.ok(command.length > 0 && !/[\r\n\0]/.test(command));
      }
    }),
    { numRuns: 2_000 },
  );
});

test("property: what is written is what is read", () => {
  const line = fc.tuple(
    fc.stringMatching(/^[a-z][a-z0-9_-]{0,20}$/).filter((name) => name !== "constructor"),
    fc.stringMatching(/^[!-~]([ -~]{0,40}[!-~])?$/),
  );
  fc.assert(
    fc.property(fc.uniqueArray(line, { selector: ([name]) => name, maxLength: 20 }), (lines) => {
      const { types } = parseProcfile(lines.map(([name, command]) => `${name}: ${command}`).join("\n"));
      assert.equal(types, Object.fromEntries(lines));
    }),
  );
});

test.run();
