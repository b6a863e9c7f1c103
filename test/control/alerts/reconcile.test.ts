// Raised once, cleared by itself, whatever flaps; for any order of looks.
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Alert } from "#api/alerts.ts";
import { ALERTS_PER_KIND, type Look, reconcile, type Watches } from "../../../control/alerts/reconcile.ts";
import type { WantedAlert } from "../../../control/alerts/rule.ts";
import { AT } from "./view.ts";

const rule = { kind: "host-lost", raiseAfterMs: 10_000, clearAfterMs: 30_000, all: "flynn host list" } as const;
const wantedOf = (id: string, over: Partial<WantedAlert> = {}): WantedAlert => ({
  subject: { kind: "host", id, name: id },
  severity: "warning",
  what: `host ${id} is lost`,
  why: "it is silent",
  next: "flynn host list",
  ...over,
});

/** Looks one after the other, and what stands between them. */
function book(over: Partial<Pick<Look, "isThere">> & { rule?: Look["outcomes"][number]["rule"] } = {}) {
  let watches: Watches = new Map();
  const active = new Map<string, Alert>();
  const history: string[] = [];
  return {
    active,
    history,
    standing: () => [...active.values()],
    look(wanted: readonly WantedAlert[] | undefined, elapsedMs = 2_000) {
      const changes = reconcile({
        outcomes: [{ rule: over.rule ?? rule, wanted }],
        active: [...active.values()],
        watches,
        elapsedMs,
        at: AT,
        isThere: over.isThere ?? (() => true),
      });
      watches = changes.watches;
      for (const alert of [...changes.raised, ...changes.reworded]) active.set(alert.id, alert);
      for (const { id } of changes.cleared) active.delete(id);
      for (const { subject } of changes.raised) history.push(`raised ${subject.id}`);
      for (const { subject } of changes.cleared) history.push(`cleared ${subject.id}`);
      return changes;
    },
    times(n: number, wanted: readonly WantedAlert[] | undefined) {
      for (let k = 0; k < n; k++) this.look(wanted);
    },
    /** As after a restart: what stands is known, what was watched is not. */
    restart() {
      watches = new Map();
    },
  };
}

test("a condition is raised once it has held for long enough, and once only", () => {
  const b = book();
  b.times(5, [wantedOf("h1")]);
  assert.equal(b.history, []);
  b.times(50, [wantedOf("h1")]);
  assert.equal(b.history, ["raised h1"]);
  const [alert] = b.standing();
  assert.equal([alert!.since, alert!.kind, alert!.clearedAt], [AT, "host-lost", undefined]);
});

test("it is cleared once it has been gone for long enough, and by nobody's hand", () => {
  const b = book();
  b.times(10, [wantedOf("h1")]);
  b.times(15, []);
  assert.equal(b.history, ["raised h1"]);
  b.times(2, []);
  assert.equal(b.history, ["raised h1", "cleared h1"]);
});

test("what comes and goes faster than that raises nothing, and what stands stays one alert", () => {
  const b = book();
  for (let n = 0; n < 20; n++) {
    b.times(4, [wantedOf("h1")]);
    b.times(1, []);
  }
  assert.equal(b.history, []);
  b.times(6, [wantedOf("h1")]);
  for (let n = 0; n < 20; n++) {
    b.times(10, []);
    b.times(1, [wantedOf("h1")]);
  }
  assert.equal(b.history, ["raised h1"]);
});

test("after a restart what stands is not raised again, and is cleared no sooner", () => {
  const b = book();
  b.times(10, [wantedOf("h1")]);
  b.restart();
  b.times(10, [wantedOf("h1")]);
  b.restart();
  b.times(10, []);
  assert.equal(b.history, ["raised h1"]);
  b.times(10, []);
  assert.equal(b.history, ["raised h1", "cleared h1"]);
});

test("a rule that throws changes nothing of its kind, and time it did not see does not count", () => {
  const b = book();
  b.times(10, [wantedOf("h1")]);
  b.times(5, []);
  b.times(100, undefined);
  b.times(9, []);
  assert.equal(b.history, ["raised h1"]);
  b.times(5, []);
  assert.equal(b.history, ["raised h1", "cleared h1"]);
});

test("what is said of something that was deleted is over at once", () => {
  const gone = new Set<string>();
  const b = book({ isThere: ({ id }) => !gone.has(id) });
  b.times(10, [wantedOf("h1"), wantedOf("h2")]);
  gone.add("h1");
  b.look([wantedOf("h2")]);
  assert.equal(b.history, ["raised h1", "raised h2", "cleared h1"]);
});

test("other words for the same condition are the same alert, written once a minute at most, a new severity at once", () => {
  const b = book();
  b.times(10, [wantedOf("h1")]);
  const [{ id } = {} as Alert] = b.standing();
  assert.is(b.look([wantedOf("h1", { why: "a" })]).reworded.length, 0);
  b.times(40, [wantedOf("h1", { why: "b" })]);
  assert.equal([b.standing()[0]!.id, b.standing()[0]!.why], [id, "b"]);
  assert.is(b.look([wantedOf("h1", { why: "b", severity: "critical" })]).reworded.length, 1);
  assert.equal(b.history, ["raised h1"]);
});

test("a rule may have its words say sooner what a person decides on, and no sooner than it says", () => {
  const b = book({ rule: { ...rule, rewordAfterMs: 5_000 } });
  b.times(10, [wantedOf("h1")]);
  b.times(3, [wantedOf("h1")]);
  assert.is(b.look([wantedOf("h1", { why: "a" })]).reworded.length, 1);
  const another = [wantedOf("h1", { why: "b" })];
  assert.equal([b.look(another, 4_999).reworded.length, b.look(another, 1).reworded.length], [0, 1]);
});

test("raised, reworded and cleared to the millisecond of what was seen to pass", () => {
  const b = book();
  const at = (elapsedMs: number, wanted: readonly WantedAlert[]) => {
    const { raised, reworded, cleared } = b.look(wanted, elapsedMs);
    return [raised.length, reworded.length, cleared.length].join("");
  };
  const [one, other, third] = ["a", "b", "c"].map((why) => [wantedOf("h1", { why })]) as [
    WantedAlert[],
    WantedAlert[],
    WantedAlert[],
  ];
  assert.equal([at(0, one), at(9_999, one), at(1, one)], ["000", "000", "100"]);
  assert.equal([at(59_999, other), at(1, other)], ["000", "010"]);
  assert.equal([at(59_999, third), at(1, third)], ["000", "010"]);
  assert.equal([at(600_000, third), at(600_000, third)], ["000", "000"], "the same words are written once");
  b.restart();
  assert.equal([at(0, one), at(59_999, one), at(1, one)], ["000", "000", "010"], "a restart puts words off anew");
  b.restart();
  assert.equal(
    [at(5_000, []), at(29_998, []), at(59_997, other), at(2, other), at(1, other)],
    ["000", "000", "000", "000", "010"],
  );
  assert.equal([at(5_000, []), at(29_999, []), at(1, [])], ["000", "000", "001"]);
});

test("an alert all of whose words and whose severity change at once is reworded with each of them", () => {
  const b = book();
  b.times(10, [wantedOf("h1")]);
  const next: Partial<WantedAlert> = { severity: "critical", what: "gone", why: "burnt", next: "flynn status" };
  assert.is(b.look([wantedOf("h1", next)]).reworded.length, 1);
  const [{ severity, what, why, next: then } = {} as Alert] = b.standing();
  assert.equal({ severity, what, why, next: then }, next);
});

test("a hundred of a kind are raised each; of more those that stand come first, then by name, whatever their order", () => {
  const many = (count: number) => Array.from({ length: count }, (_, n) => wantedOf(`h${String(n).padStart(4, "0")}`));
  const exact = book();
  exact.times(10, many(ALERTS_PER_KIND));
  assert.equal([exact.active.size, exact.standing().some(({ subject }) => subject.id === "more")], [100, false]);
  for (const order of [many(150), many(150).toReversed()]) {
    const b = book();
    b.times(10, [wantedOf("h0149")]);
    b.times(10, order);
    const ids = b.standing().map(({ subject }) => subject.id);
    const wanted = [...many(99).map(({ subject }) => subject.id), "h0149", "more"];
    assert.equal(ids.sort(), wanted);
  }
});

test("what counts the rest is as severe as the worst of them all", () => {
  const severityOf = (over: (n: number) => Partial<WantedAlert>) => {
    const b = book();
    b.times(
      10,
      Array.from({ length: 102 }, (_, n) => wantedOf(`h${String(n).padStart(4, "0")}`, over(n))),
    );
    return b.standing().find(({ subject }) => subject.id === "more")?.severity;
  };
  assert.is(
    severityOf(() => ({})),
    "warning",
  );
  assert.is(
    severityOf((n) => (n === 101 ? { severity: "critical" } : {})),
    "critical",
  );
  assert.is(
    severityOf(() => ({ severity: "critical" })),
    "critical",
  );
});

test("a thousand of a kind are a hundred alerts and one that counts the rest", () => {
  const b = book();
  const many = Array.from({ length: 1_000 }, (_, n) => wantedOf(`h${String(n).padStart(4, "0")}`));
  b.times(10, many);
  assert.is(b.active.size, ALERTS_PER_KIND + 1);
  const more = b.standing().find(({ subject }) => subject.id === "more")!;
  assert.equal([more.what, more.next], ["900 more of the kind host-lost", "flynn host list"]);
  const ids = new Set(b.active.keys());
  b.times(40, [...many].reverse());
  assert.equal(new Set(b.active.keys()), ids, "which are raised does not change with their order");
});

test("an alert of a kind that this version does not know is cleared", () => {
  const b = book();
  b.times(10, [wantedOf("h1")]);
  const other = { ...b.standing()[0]!, id: "alert-x", kind: "of-a-newer-version" as Alert["kind"] };
  b.active.set(other.id, other);
  b.look([wantedOf("h1")]);
  assert.equal(
    [...b.active.values()].map(({ kind }) => kind),
    ["host-lost"],
  );
});

test("what a host or a firmware says moves no cursor and is bounded", () => {
  const b = book();
  b.times(10, [wantedOf("h1", { why: `\u001b[2J${"x".repeat(5_000)}`, what: "a\nb" })]);
  const [alert] = b.standing();
  assert.is(alert!.what, "a?b");
  assert.ok(alert!.why.startsWith("?[2J") && alert!.why.length === 800);
  const long = book();
  long.times(10, [wantedOf("h1", { what: "x".repeat(300), next: "y".repeat(300) })]);
  assert.equal([long.standing()[0]!.what.length, long.standing()[0]!.next.length], [200, 200]);
});

test("for any order of looks, pauses, restarts and failures: at most one stands per subject, and raised and cleared take turns", () => {
  const step = fc.record({
    wanted: fc.option(fc.uniqueArray(fc.constantFrom("h1", "h2", "h3")), { nil: undefined, freq: 8 }),
    elapsedMs: fc.constantFrom(0, 1_000, 2_000, 6_000),
    restart: fc.boolean(),
    looks: fc.integer({ min: 1, max: 20 }),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      const b = book();
      for (const { wanted, elapsedMs, restart, looks } of steps) {
        if (restart) b.restart();
        for (let n = 0; n < looks; n++)
          b.look(
            wanted?.map((id) => wantedOf(id)),
            elapsedMs,
          );
        const subjects = b.standing().map(({ subject }) => subject.id);
        assert.is(new Set(subjects).size, subjects.length);
      }
      for (const id of ["h1", "h2", "h3"]) {
        const own = b.history.filter((line) => line.endsWith(id)).map((line) => line.split(" ")[0]);
        for (const [n, word] of own.entries()) assert.is(word, n % 2 === 0 ? "raised" : "cleared");
      }
      b.times(20, []);
      assert.equal(b.standing(), [], "when all is well again, nothing stands");
    }),
    { numRuns: 200 },
  );
});

test.run();
