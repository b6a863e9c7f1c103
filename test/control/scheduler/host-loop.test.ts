import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { HostReport } from "#api/host-agents.ts";
import { silentLog } from "#lib/log.ts";
import { until } from "#lib/time.ts";
import { keys, PREFIX } from "../../../control/keys.ts";
import { presence as createPresence } from "../../../control/presence.ts";
import type { HostRecord } from "../../../control/records.ts";
import { createHostLoop } from "../../../control/scheduler/host-loop.ts";
import { type World, world } from "./world.ts";

const test = suite<{ w: World }>("host-loop");

test.before.each(async (context) => {
  context.w = await world();
});
test.after.each(async ({ w }) => {
  await w.close();
});

/** The loop on a clock that the test moves; hosts in `heard` report every two seconds of it. */
function loopOn(w: World, options: { hosts: string[] }) {
  const s = w.start();
  let clockMs = 0;
  const monotonicMs = () => clockMs;
  const heard = new Set(options.hosts);
  const presence = createPresence({ monotonicMs, now: () => new Date() });
  const loop = createHostLoop({ store: w.store, log: silentLog(), presence, scheduler: s.scheduler, monotonicMs });
  const stopListening = loop.start();
  let healthy = true;
  const frame = (id: string) => {
    presence.hostSeen(id, { engine: { healthy, reason: healthy ? "" : "docker hangs" } } as HostReport);
  };
  return {
    s,
    loop,
    heard,
    frame,
    engine(isHealthy: boolean) {
      healthy = isHealthy;
    },
    /** Lets time pass, a tick each second of it. */
    async pass(ms: number) {
      for (const end = clockMs + ms; clockMs < end; ) {
        clockMs += 1_000;
        if (clockMs % 2_000 === 0) for (const id of heard) frame(id);
        loop.tick();
      }
      await s.settled();
    },
    async stop() {
      stopListening();
      await s.stop();
    },
  };
}

const stateOf = (w: World, id: string) => w.store.get<HostRecord>(keys.host(id))?.value;
const hostsOf = (w: World) =>
  w
    .live()
    .map((job) => job.hostId)
    .sort();

test("a silent host is recorded as lost and its jobs run elsewhere; back, its extra copies stay over", async ({
  w,
}) => {
  const ids = ["h1", "h2", "h3"];
  for (const id of ids) await w.host(id);
  await w.app("one", { web: 3 });
  const t = loopOn(w, { hosts: ids });
  await t.pass(6_000);
  assert.equal(hostsOf(w), ids);
  t.heard.delete("h2");
  await t.pass(14_000);
  assert.is(stateOf(w, "h2")?.state, "lost");
  assert.is(stateOf(w, "h2")?.reason, "silent for 10 s");
  assert.equal(
    hostsOf(w).filter((id) => id === "h2"),
    [],
  );
  assert.is(w.live().length, 3);
  t.heard.add("h2");
  await t.pass(4_000);
  assert.is(stateOf(w, "h2")?.state, "ready");
  assert.is(w.live().length, 3);
  const events = w.store.list<{ type: string }>(PREFIX.events).map(({ value }) => value.type);
  assert.equal(events, ["host.lost", "host.returned"]);
  await t.stop();
});

test("many silent together: recorded as lost, nothing moves, and the status says the brake is on", async ({ w }) => {
  const ids = ["h1", "h2", "h3"];
  for (const id of ids) await w.host(id);
  await w.app("one", { web: 3 });
  const t = loopOn(w, { hosts: ids });
  await t.pass(4_000);
  t.heard.delete("h1");
  t.heard.delete("h2");
  await t.pass(20_000);
  assert.is(stateOf(w, "h1")?.state, "lost");
  assert.equal(hostsOf(w), ids);
  assert.equal(t.loop.brake(), { on: true, waiting: 2, allowedPerMinute: 1 });
  t.heard.add("h1").add("h2");
  await t.pass(4_000);
  assert.is(t.loop.brake().waiting, 0);
  assert.equal(hostsOf(w), ids);
  await t.stop();
});

test("a joining host becomes ready with its first frame, and unhealthy when its engine fails", async ({ w }) => {
  await w.host("h1", { state: "joining" });
  const t = loopOn(w, { hosts: [] });
  await t.pass(30_000);
  assert.is(stateOf(w, "h1")?.state, "joining", "one that never reported is not lost");
  t.frame("h1");
  assert.is(stateOf(w, "h1")?.state, "ready");
  t.engine(false);
  t.frame("h1");
  assert.is(stateOf(w, "h1")?.state, "unhealthy");
  assert.is(stateOf(w, "h1")?.reason, "docker hangs");
  const { seq } = w.store;
  t.frame("h1");
  assert.is(w.store.seq, seq, "a frame that says nothing new writes nothing");
  await t.stop();
});

test("a flapping host takes no new jobs until its hold-down is over", async ({ w }) => {
  for (const id of ["h1", "h2", "h3"]) await w.host(id);
  const t = loopOn(w, { hosts: ["h1", "h2", "h3"] });
  await t.pass(2_000);
  for (let flap = 0; flap < 2; flap++) {
    t.heard.delete("h1");
    await t.pass(14_000);
    t.heard.add("h1");
    await t.pass(2_000);
  }
  assert.ok(stateOf(w, "h1")?.heldUntil);
  await w.app("one", { web: 3 });
  await t.s.settled();
  assert.not(hostsOf(w).includes("h1"));
  await t.pass(32_000);
  assert.is(stateOf(w, "h1")?.heldUntil, undefined);
  await w.scale("one", { web: 4 });
  await t.s.settled();
  assert.ok(hostsOf(w).includes("h1"));
  await t.stop();
});

test("a restart of control declares nobody dead", async ({ w }) => {
  for (const id of ["h1", "h2"]) await w.host(id);
  await w.app("one", { web: 2 });
  const first = loopOn(w, { hosts: ["h1", "h2"] });
  await first.pass(4_000);
  await first.stop();
  await w.reopen();
  const { seq } = w.store;
  const second = loopOn(w, { hosts: [] });
  await second.pass(9_000);
  assert.is(w.store.seq, seq);
  second.heard.add("h1").add("h2");
  await second.pass(20_000);
  assert.is(w.store.seq, seq);
  assert.equal(hostsOf(w), ["h1", "h2"]);
  await second.stop();
});

test("the loop ticks by itself and ends with its signal", async ({ w }) => {
  await w.host("h1", { state: "lost" });
  const s = w.start();
  const presence = createPresence({ monotonicMs: () => performance.now(), now: () => new Date() });
  const loop = createHostLoop({
    store: w.store,
    log: silentLog(),
    presence,
    scheduler: s.scheduler,
    ttlMs: 30,
    tickMs: 5,
  });
  const stopped = new AbortController();
  const ended = loop.run(stopped.signal);
  presence.hostSeen("h1", { engine: { healthy: true, reason: "" } } as HostReport);
  assert.is(stateOf(w, "h1")?.state, "ready");
  await until(() => stateOf(w, "h1")?.state === "lost", { what: "loss", timeoutMs: 30_000, everyMs: 5 });
  stopped.abort();
  await ended;
});

test.run();
