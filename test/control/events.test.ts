// Events and timelines: numbered, bounded, and plain text whoever said it.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { eventChanges, eventsToTrim, plainText, timelineBound, timelineChanges } from "../../control/events.ts";
import { keys } from "../../control/keys.ts";
import { kept } from "./kept.ts";

const AT = new Date("2026-01-01T00:00:00.000Z");
const event = (message: string) => ({ type: "app.created", subject: "app-1", actor: "ann", message });

test("events of one record are numbered from the record's number on, and hold what they are given", () => {
  const changes = eventChanges(kept({}, 6), AT, { ...event("one"), app: "hello" }, event("two"));
  assert.equal(changes, [
    {
      key: keys.event(70_000),
      value: { ...event("one"), app: "hello", seq: 70_000, at: AT.toISOString() },
    },
    { key: keys.event(70_001), value: { ...event("two"), seq: 70_001, at: AT.toISOString() } },
  ]);
});

test("a record has no event with a number of the next one", () => {
  const many = eventChanges(kept({}, 6), AT, ...Array.from({ length: 10_001 }, () => event("x")));
  const first = eventChanges(kept({}, 7), AT, event("x"))[0]!.key;
  assert.is(many.length, 10_000);
  assert.ok(many.at(-1)!.key < first);
});

test("what a machine says moves no cursor, turns no text around and is at most 400 characters", () => {
  for (const sign of [
    "\u0000",
    "\n",
    "\u001b",
    "\u001f",
    "\u007f",
    "\u009b",
    "\u009f",
    "\u2028",
    "\u202e",
    "\u2066",
    "\u2069",
  ])
    assert.is(plainText(`a${sign}b`), "a?b", JSON.stringify(sign));
  assert.is(plainText("höhe 10 % – ok"), "höhe 10 % – ok");
  assert.is(plainText("x".repeat(401)).length, 400);
  assert.is(plainText("abcdef", 3), "abc");
  for (const { value } of [
    ...eventChanges(kept(), AT, event(`a\u001b[2J${"x".repeat(500)}`)),
    ...timelineChanges(kept(), AT, "m1", [{ stage: "up", message: `a\u001b[2J${"x".repeat(500)}` } as never]),
  ]) {
    const { message } = value as { message: string };
    assert.is(message.slice(0, 5), "a?[2J");
    assert.is(message.length, 400);
  }
});

const events = (count: number) =>
  kept(Object.fromEntries(Array.from({ length: count }, (_, n) => [keys.event(n), { seq: n }])));

test("the newest 10,000 events are kept, and the oldest go a thousand at a time", () => {
  assert.equal(eventsToTrim(events(10_000)), []);
  assert.equal(eventsToTrim(events(3)), []);
  assert.equal(eventsToTrim(events(10_002)), [
    { key: keys.event(0), value: null },
    { key: keys.event(1), value: null },
  ]);
  assert.is(eventsToTrim(events(11_500)).length, 1_000);
  assert.is(eventsToTrim(events(10_005), 2).length, 2);
});

const timeline = (machineId: string, count: number, from = 1) =>
  Object.fromEntries(
    Array.from({ length: count }, (_, n) => [keys.timeline(machineId, from + n), { seq: from + n, machineId }]),
  );

test("a machine's timeline goes on where it was, with the time and the level info unless the event has its own", () => {
  const store = kept({ ...timeline("m1", 2), ...timeline("m2", 9) });
  const at = "2025-12-31T23:59:59.000Z";
  assert.equal(
    timelineChanges(store, AT, "m1", [
      { stage: "up", message: "it is up" },
      { stage: "lost", message: "it is lost", level: "warning", at, bootId: "b1" },
    ] as never),
    [
      {
        key: keys.timeline("m1", 3),
        value: { level: "info", at: AT.toISOString(), stage: "up", message: "it is up", machineId: "m1", seq: 3 },
      },
      {
        key: keys.timeline("m1", 4),
        value: { level: "warning", at, stage: "lost", message: "it is lost", bootId: "b1", machineId: "m1", seq: 4 },
      },
    ],
  );
  assert.is(timelineChanges(kept(), AT, "m1", [{ stage: "up", message: "" } as never])[0]!.key, keys.timeline("m1", 1));
});

test("a timeline keeps its newest 400, and one event more takes the oldest away", () => {
  const one = [{ stage: "up", message: "" }] as never;
  assert.is(timelineChanges(kept(timeline("m1", 399)), AT, "m1", one).length, 1);
  const dropped = timelineChanges(kept(timeline("m1", 400, 7)), AT, "m1", one).slice(1);
  assert.equal(dropped, [{ key: keys.timeline("m1", 7), value: null }]);
  const two = timelineChanges(kept(timeline("m1", 400)), AT, "m1", [...(one as []), ...(one as [])] as never);
  assert.equal(
    two.slice(2).map(({ key }) => key),
    [keys.timeline("m1", 1), keys.timeline("m1", 2)],
  );
});

test("timelines of many machines are shorter: together they stay within 200,000 events, each with its last boot whole", () => {
  assert.equal([0, 1, 500].map(timelineBound), [400, 400, 400]);
  for (const machines of [501, 1_000, 5_000]) assert.ok(machines * timelineBound(machines) <= 200_000, `${machines}`);
  assert.equal([5_000, 100_000].map(timelineBound), [40, 40]);
});

test.run();
