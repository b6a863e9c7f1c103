import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { BootEvent } from "#api/boot.ts";
import { Fault } from "#api/fault.ts";
import { silentLog } from "#lib/log.ts";
import { until } from "#lib/time.ts";
import { openTimeline, type Timeline } from "../../bootstrap/timeline.ts";

const claimed = { mac: "52:54:00:00:00:01" };

async function inFolder(work: (open: (maxQueued?: number) => Promise<Timeline>) => Promise<void>): Promise<void> {
  const root = await mkdtemp(join(tmpdir(), "flynn-timeline-"));
  try {
    await work((maxQueued) => openTimeline({ path: join(root, "events.journal"), log: silentLog(), maxQueued }));
  } finally {
    await rm(root, { recursive: true });
  }
}

/** Delivers until `count` events have arrived, through `post` when given. */
async function deliver(
  timeline: Timeline,
  count: number,
  post: (events: BootEvent[]) => void = () => undefined,
): Promise<string[]> {
  const controller = new AbortController();
  const arrived: string[] = [];
  const take = async (events: BootEvent[]) => {
    post(events);
    arrived.push(...events.map((event) => event.message));
  };
  const delivering = timeline.deliver(take, controller.signal);
  await until(() => arrived.length >= count && timeline.queued === 0, {
    what: `${count} events`,
    timeoutMs: 10_000,
    everyMs: 5,
  });
  controller.abort();
  await delivering;
  return arrived;
}
const record = (timeline: Timeline, ...messages: string[]) => {
  for (const message of messages) timeline.record({ claimed, stage: "note", message });
};

test("events arrive in order, those recorded while delivering too", () =>
  inFolder(async (open) => {
    const timeline = await open();
    record(timeline, "one", "two");
    const arriving = deliver(timeline, 3);
    record(timeline, "three");
    assert.equal(await arriving, ["one", "two", "three"]);
    await timeline.close();
  }));

test("what control did not take survives a restart, and what it took is not sent again", () =>
  inFolder(async (open) => {
    const first = await open();
    record(first, "taken");
    await deliver(first, 1);
    record(first, "waiting");
    await first.close();
    const second = await open();
    assert.equal(await deliver(second, 1), ["waiting"]);
    await second.close();
  }));

test("while control is away events wait, and then all arrive", () =>
  inFolder(async (open) => {
    const timeline = await open();
    record(timeline, "one", "two");
    let away = 2;
    const arrived = await deliver(timeline, 2, () => {
      if (away-- > 0) throw new Fault("unavailable", "control is away");
    });
    assert.equal(arrived, ["one", "two"]);
    await timeline.close();
  }));

test("one event control will never take is dropped, the others arrive", () =>
  inFolder(async (open) => {
    const timeline = await open();
    record(timeline, "one", "poison", "two", "three");
    const arrived = await deliver(timeline, 3, (events) => {
      if (events.some((event) => event.message === "poison")) throw new Fault("invalid", "not an event");
    });
    assert.equal(arrived, ["one", "two", "three"]);
    await timeline.close();
  }));

test("at most so many wait, the newest ones", () =>
  inFolder(async (open) => {
    const timeline = await open(3);
    record(timeline, "1", "2", "3", "4", "5");
    assert.is(timeline.queued, 3);
    await timeline.close();
    const again = await open(3);
    assert.equal(await deliver(again, 3), ["3", "4", "5"]);
    await again.close();
  }));

test.run();
