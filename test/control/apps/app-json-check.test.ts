// app.json's health checks and fields, each at its bound.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { DEFAULT_HEALTH } from "#api/jobs.ts";
import { checkOf } from "../../../control/apps/app-json-check.ts";
import { type Json, plainWord, processName, record, text, whole } from "../../../control/apps/app-json-fields.ts";
import { refusal } from "../faults.ts";

function checked(...list: Json[]) {
  const notes: string[] = [];
  const check = checkOf(list, "web", (words) => notes.push(words));
  return { check, notes };
}
const changed = (...list: Json[]) => {
  const { check } = checked(...list);
  return (
    check &&
    Object.fromEntries(Object.entries(check).filter(([name, value]) => value !== DEFAULT_HEALTH[name as "type"]))
  );
};
const said = (...list: Json[]) => refusal(() => checked(...list)).replace("invalid app.json: web, ", "");

test("a startup check says how long a process may take: its delay, and each try with the pause after it", () => {
  const of = (fields: Record<string, Json>) => checked({ type: "startup", ...fields }).check?.startTimeoutMs;
  assert.is(of({}), 30_000);
  assert.is(of({ attempts: 5 }), 50_000);
  assert.is(of({ attempts: 2, timeout: 3, interval: 7 }), 20_000);
  assert.is(of({ attempts: 2, timeout: 3, wait: 4 }), 14_000);
  assert.is(of({ attempts: 2, timeout: 3, interval: 7, wait: 4 }), 20_000, "interval goes before wait");
  assert.is(of({ initialDelay: 10 }), 40_000);
  assert.is(of({ attempts: 1, timeout: 0, interval: 0 }), 1_000, "a try takes a second at least");
  assert.is(of({ attempts: 1_000, timeout: 3_600 }), 3_600_000, "an hour is the most");
});

test("it also says how long a try takes and how long it must stay up, within what the platform does", () => {
  const of = (fields: Record<string, Json>) => {
    const { timeoutMs, stableMs } = checked(fields).check!;
    return [timeoutMs, stableMs];
  };
  assert.equal(of({}), [5_000, DEFAULT_HEALTH.stableMs]);
  assert.equal(of({ timeout: 60, uptime: 600 }), [60_000, 600_000]);
  assert.equal(of({ timeout: 61, uptime: 601 }), [60_000, 600_000]);
  assert.equal(of({ timeout: 0, uptime: 0 }), [1_000, 0]);
});

test("a liveness check says when a process counts as broken later, and nothing of what it leaves out", () => {
  const live = (fields: Record<string, Json>) => changed({ type: "liveness", ...fields });
  assert.equal(live({}), {});
  assert.equal(live({ attempts: 7, interval: 9, timeout: 8 }), { fall: 7, intervalMs: 9_000, timeoutMs: 8_000 });
  assert.equal(live({ wait: 9 }), { intervalMs: 9_000 });
  assert.equal(live({ interval: 0, timeout: 0 }), { intervalMs: 100, timeoutMs: 100 });
  assert.equal(live({ interval: 61, timeout: 61 }), { intervalMs: 60_000, timeoutMs: 60_000 });
});

test("a path makes a check HTTP; the two checks of a process are one, with the liveness check's time for a try", () => {
  assert.equal(changed({ type: "liveness", path: "/up" }), { type: "http", path: "/up" });
  const { check } = checked(
    { type: "liveness", timeout: 7, path: "/up" },
    { type: "startup", timeout: 9, attempts: 1, path: "/up" },
  );
  assert.equal([check?.type, check?.path, check?.timeoutMs, check?.startTimeoutMs], ["http", "/up", 7_000, 14_000]);
  const other = checked({ type: "startup", path: "/up", uptime: 3 }, { type: "liveness", attempts: 4 }).check!;
  assert.equal([other.type, other.path, other.fall, other.stableMs], ["http", "/up", 4, 3_000]);
  assert.is(
    said({ path: "/a" }, { type: "liveness", path: "/b" }),
    "check 2: path differs from the other check's, /a; a process has one path",
  );
  for (const path of ["up", "", "/a b", "/\u007f", "http://x/"])
    assert.is(said({ path }), "check 1: path is to begin with / and hold no spaces", path);
  assert.is(said({ path: `/${"x".repeat(255)}` }), "fine");
  assert.is(said({ path: `/${"x".repeat(256)}` }), "check 1: path is longer than 256 characters");
});

test("what is not done here is passed over and named; two checks of a kind are refused", () => {
  const none = checked({ type: "readiness" }, { command: ["x"] }, { type: 7 });
  assert.is(none.check, undefined);
  assert.equal(none.notes, [
    'web, check 1: type "readiness" is not done here and is passed over',
    "web, check 2: a check by command is not done here and is passed over",
    "web, check 3: type 7 is not done here and is passed over",
  ]);
  assert.equal(checked({ port: 80, name: "x", listening: true, description: "", scheme: "https" }).notes, [
    "web, check 1: port is passed over; the check goes to the process's own port",
    "web, check 1: scheme is passed over; the check goes to the process's own port",
  ]);
  for (const type of ["startup", "liveness"])
    assert.is(said({ type }, { type }), `check 2 is a second ${type} check; a process has one`);
  assert.is(said({}, { type: "startup" }), "check 2 is a second startup check; a process has one");
  assert.is(said({ command: "x" }, {}), "fine");
  assert.equal(checked(), { check: undefined, notes: [] });
  for (const entry of [null, 7, "x", []]) assert.is(said(entry), "check 1 is to be an object: {...}");
});

test("numbers are whole and within what makes sense", () => {
  const seconds = (name: string) => `check 1: ${name} (seconds) is to be a whole number from 0 to 3600`;
  for (const name of ["interval", "wait", "timeout", "initialDelay", "uptime"]) {
    for (const value of [-1, 3_601, 1.5, "5", null, true])
      assert.is(said({ [name]: value }), seconds(name), `${name} ${value}`);
    for (const value of [0, 3_600]) assert.is(said({ [name]: value }), "fine");
  }
  const attempts = (most: number) => `check 1: attempts is to be a whole number from 1 to ${most}`;
  for (const [type, most] of [
    ["startup", 1_000],
    ["liveness", 20],
  ] as const)
    assert.equal(
      [0, 1, most, most + 1].map((value) => said({ type, attempts: value })),
      [attempts(most), "fine", "fine", attempts(most)],
    );
});

test("fields are of their kind, and a refusal names the field alone", () => {
  const of = (work: () => unknown) => refusal(work).replace("invalid app.json: ", "");
  assert.equal(record({ a: 1 }, "x"), { a: 1 });
  for (const value of [null, [], "x", 7, undefined])
    assert.is(
      of(() => record(value, "env")),
      "env is to be an object: {...}",
    );
  assert.is(text("abc", "x", 3), "abc");
  assert.is(
    of(() => text("abcd", "A", 3)),
    "A is longer than 3 characters",
  );
  assert.is(
    of(() => text("a\0", "A", 3)),
    "A holds a NUL character",
  );
  for (const value of [null, 7, undefined, {}])
    assert.is(
      of(() => text(value as Json, "A", 3)),
      "A is to be text in quotes",
    );
  assert.equal([whole(1, "n", 1, 2), whole(2, "n", 1, 2)], [1, 2]);
  for (const value of [0, 3, 1.5, "1", Number.NaN, null])
    assert.is(
      of(() => whole(value, "n", 1, 2)),
      "n is to be a whole number from 1 to 2",
    );
});

test("names of processes are made small, and said so; what is no name is refused", () => {
  const notes: string[] = [];
  const name = (written: string) => processName(written, `formation.${written}`, (words) => notes.push(words));
  assert.equal([name("web"), name("Web-2_x")], ["web", "web-2_x"]);
  assert.equal(notes, ["formation.Web-2_x is read as web-2_x"]);
  const why = "is no process type: 1-30 of a-z, 0-9, - and _, beginning with a letter";
  for (const bad of ["", "2web", "a b", "é", "x".repeat(31)])
    assert.is(
      refusal(() => name(bad)),
      `invalid app.json: formation.${bad} ${why}`,
    );
});

test("a word of the file is shown short and printable", () => {
  assert.equal(
    [plainWord("a\u001bé"), plainWord("x".repeat(60)), plainWord("abcd", 3)],
    ["a??", "x".repeat(60), "abc..."],
  );
  assert.is(plainWord("x".repeat(61)), `${"x".repeat(60)}...`);
});

test.run();
