// `flynn log -f` over breaks of the connection: every line once for each time it was printed, none twice.
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { LogLine } from "#api/logs.ts";
import { type Answer, type Asked, closeFakes, type FakeControl, fakeControl } from "./fake-control.ts";

const LOG = "GET /v1/apps/hello/log";
const entry = (line: string, more: Partial<LogLine> = {}): LogLine => ({
  at: "2026-01-01T00:00:01.000000Z",
  app: "hello",
  process: "web",
  jobId: "job-1",
  stream: "stdout",
  source: "app",
  line,
  ...more,
});
/** What ends a log that has no end: a refusal that stays one. */
const OVER: Answer = { fault: "forbidden", message: "no permission app:read", status: 403 };
const follow = (control: FakeControl) => control.flynn("log -f --raw -a hello");
const lines = (out: string) => out.split("\n").slice(0, -1);
const placesOf = (control: FakeControl) => control.asked.map(({ headers }) => headers["last-event-id"]);

/** Sends the lines after the place that is asked for, each line a place of its own, as many as `each` says before it breaks. */
function serves(all: readonly string[], breaksAfter: number, drop: boolean): (asked: Asked) => Answer {
  return ({ headers }) => {
    const from = headers["last-event-id"] === undefined ? 0 : Number(headers["last-event-id"]);
    if (from >= all.length) return OVER;
    const rest = all.slice(from, from + breaksAfter);
    return { items: rest.map((line) => entry(line)), ids: rest.map((_, n) => String(from + n + 1)), drop };
  };
}

test("two equal lines are shown twice", async () => {
  const control = await fakeControl();
  const items = ["tick", "tick", "tock", "tick"].map((line) => entry(line));
  control.on(LOG, { items }, OVER);
  assert.equal(lines((await follow(control)).out), ["tick", "tick", "tock", "tick"]);
  control.on(LOG, { json: { items, silent: [] } });
  const { out, code } = await control.flynn("log --raw -a hello");
  assert.is(code, 0);
  assert.equal(lines(out), ["tick", "tick", "tock", "tick"]);
});

for (const drop of [false, true])
  test(`after each break the log goes on at its place and repeats nothing: the server ${drop ? "breaks" : "ends"} the stream`, async () => {
    const control = await fakeControl();
    const all = ["one", "two", "two", "two", "three", "one"];
    control.on(LOG, serves(all, 2, drop));
    const { out, err } = await follow(control);
    assert.equal(lines(out), all);
    const places = placesOf(control).filter((place) => place !== undefined);
    assert.ok(
      ["2", "4", "6"].every((place) => places.includes(place)),
      `asked for ${places}`,
    );
    assert.match(err, "the connection broke; trying again");
  });

test("lines after the last place come again and are shown once, equal ones as often as they were printed", async () => {
  const control = await fakeControl();
  control.on(
    LOG,
    { items: ["a", "b", "b"].map((line) => entry(line)), ids: ["1", undefined, undefined] },
    { items: ["b", "b", "b", "c"].map((line) => entry(line)) },
    { items: ["b", "b", "b", "c", "c"].map((line) => entry(line)) },
    OVER,
  );
  assert.equal(lines((await follow(control)).out), ["a", "b", "b", "b", "c", "c"]);
  assert.equal(placesOf(control), [undefined, "1", "1", "1"]);
});

test("what differs in its time, job, stream or source alone is another line", async () => {
  const control = await fakeControl();
  const first = entry("x");
  const others = [
    entry("x", { at: "2026-01-01T00:00:02.000000Z" }),
    entry("x", { jobId: "job-2" }),
    entry("x", { stream: "stderr" }),
    entry("x", { source: "system" }),
  ];
  control.on(LOG, { items: [first] }, { items: [first, ...others] }, OVER);
  assert.is(lines((await follow(control)).out).length, 5);
});

test("a log that was never had is no break: a wrong name ends it at once", async () => {
  const control = await fakeControl();
  control.on(LOG, { fault: "not-found", message: "no app hello", status: 404 });
  const { code, err } = await follow(control);
  assert.is(code, 3);
  assert.match(err, "no app hello");
  assert.is(control.asked.length, 1);
});

test.after.each(closeFakes);
test.run();
