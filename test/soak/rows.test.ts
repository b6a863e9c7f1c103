import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Row, staleLines } from "./rows.ts";
import { SOAKS } from "./soaks.ts";

const ROW: Row = { date: "2030-01-02T03:04:05.000Z", commit: "c0ffee", minutes: 1, figures: {} };

test("a soak is named when it was never run, when its folders changed since, and when its commit is unknown", () => {
  const soaks = { fresh: { what: "a" }, changed: { what: "b" }, never: { what: "c" }, foreign: { what: "d" } };
  const rows = { fresh: ROW, changed: ROW, foreign: ROW };
  assert.equal(staleLines(soaks, rows, { fresh: 0, changed: 3, foreign: undefined }), [
    "soak changed is of 2030-01-02, 3 changes since: npm run test:soak -- changed",
    "soak never was never run here (c): npm run test:soak -- never",
    "soak foreign is of 2030-01-02, its commit is not known here: npm run test:soak -- foreign",
  ]);
});

test("every soak says what it covers", () => {
  for (const [name, { what, covers }] of Object.entries(SOAKS)) {
    assert.match(name, /^[a-z][a-z0-9-]+$/);
    assert.ok(what !== "" && covers.length > 0, name);
  }
});

test.run();
