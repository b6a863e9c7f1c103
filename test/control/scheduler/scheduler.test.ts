import * as fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Job } from "#api/jobs.ts";
import { silentLog } from "#lib/log.ts";
import { until } from "#lib/time.ts";
import { keys, PREFIX } from "../../../control/keys.ts";
import type { HostRecord } from "../../../control/records.ts";
import { createScheduler } from "../../../control/scheduler/scheduler.ts";
import { pausedFault } from "../../../control/store/paused.ts";
import type { Store } from "../../../control/store/store.ts";
import { type World, world } from "./world.ts";

const test = suite<{ w: World }>("scheduler");
const never = new AbortController().signal;

test.before.each(async (context) => {
  context.w = await world();
});
test.after.each(async ({ w }) => {
  await w.close();
});

const hostsOf = (jobs: Job[]) => jobs.map((job) => job.hostId ?? job.reason).sort();

test("a formation becomes jobs on hosts, spread, each record complete", async ({ w }) => {
  for (const id of ["h1", "h2", "h3"]) await w.host(id);
  await w.app("one", { web: 3 });
  await w.start().settled();
  assert.equal(hostsOf(w.live()), ["h1", "h2", "h3"]);
  const [job] = w.live();
  assert.is(job?.state, "starting");
  assert.is(job?.desired, "run");
  assert.is(job?.port, 8080);
  assert.is(job?.version, 1);
  assert.ok(job?.placedAt);
});

test("an app is told of as blocked while no host has room for it, and no longer than that", async ({ w }) => {
  await w.app("one", { web: 1 });
  const s = w.start();
  await s.settled();
  assert.is(s.scheduler.status().blocked, 1);
  await w.host("h1");
  await s.settled();
  assert.equal([hostsOf(w.live()), s.scheduler.status().blocked], [["h1"], 0]);
});

test("the scheduler ends with its store, and says what the store said", async ({ w }) => {
  await w.host("h1");
  await w.app("one", { web: 1 });
  const store: Store = Object.create(w.store, {
    ended: { value: true },
    commit: { value: () => Promise.reject(new Error("the disk is gone")) },
  });
  const scheduler = createScheduler({ store, log: silentLog() });
  const limit = AbortSignal.timeout(30_000);
  const said = await scheduler.run(limit).catch((error: Error) => error.message);
  assert.is(said, "the disk is gone");
});

test("a decision that the store refuses is logged; that its disk takes nothing now is said elsewhere, once", async ({
  w,
}) => {
  await w.host("h1");
  await w.app("one", { web: 1 });
  const loggedOf = async (refusal: Error) => {
    const errors: { err?: unknown }[] = [];
    let refusals = 0;
    const commit = () => {
      refusals++;
      return Promise.reject(refusal);
    };
    const log = silentLog();
    log.error = ((fields: { err?: unknown }) => void errors.push(fields)) as typeof log.error;
    const s = w.start({ log, store: Object.create(w.store, { commit: { value: commit } }) });
    await until(() => refusals > 0, { what: "a refusal", timeoutMs: 30_000, everyMs: 5 });
    await s.stop();
    return [...new Set(errors.map(({ err }) => err))];
  };
  const odd = new Error("a record that is none");
  assert.equal(await loggedOf(odd), [odd]);
  assert.equal(await loggedOf(pausedFault("/var/lib/flynn", undefined)), []);
});

test("a turn that changes one job is told of, one that changes nothing is not", async ({ w }) => {
  await w.host("h1");
  await w.app("one", { web: 1 });
  let turns = 0;
  const s = w.start({ onTurn: () => turns++ });
  await s.settled();
  const first = turns;
  await w.scale("one", { web: 0 });
  await s.settled();
  assert.equal([w.jobs().map(({ desired }) => desired), turns], [["stop"], first + 1]);
});

test("scaling while it runs adds and ends only the difference", async ({ w }) => {
  for (const id of ["h1", "h2"]) await w.host(id);
  await w.app("one", { web: 2 });
  const s = w.start();
  await s.settled();
  const before = w.live().map((job) => job.id);
  await w.scale("one", { web: 4 });
  await s.settled();
  assert.equal(hostsOf(w.live()), ["h1", "h1", "h2", "h2"]);
  assert.ok(before.every((id) => w.live().some((job) => job.id === id)));
  await w.scale("one", { web: 1 });
  await s.settled();
  assert.is(w.live().length, 1);
  assert.ok(w.jobs().filter((job) => job.desired === "stop").length === 3);
});

test("a healthy surplus job is drained first and stopped once the routers let go", async ({ w }) => {
  await w.host("h1");
  await w.app("one", { web: 1 });
  let released = false;
  const s = w.start({ isDrained: () => released });
  await s.settled();
  await w.report(w.live()[0]!, { state: "up" });
  await w.scale("one", { web: 0 });
  await s.settled();
  assert.is(w.jobs()[0]?.desired, "drain");
  assert.ok(w.jobs()[0]?.drainingSince);
  released = true;
  await until(() => w.jobs()[0]?.desired === "stop", { what: "stop after drain", timeoutMs: 30_000, everyMs: 5 });
});

test("a job that others put in drain is asked about with the seq of their record", async ({ w }) => {
  await w.host("h1");
  await w.app("one", { web: 1 });
  const asked: number[] = [];
  const s = w.start({ isDrained: (_, drainSeq) => asked.push(drainSeq) === 0 });
  await s.settled();
  await w.report(w.live()[0]!, { state: "up" });
  const drained = w.report(w.live()[0]!, { desired: "drain" });
  const { seq } = w.store;
  const later = w.scale("one", { web: 1 });
  await Promise.all([drained, later]);
  await until(() => asked.length > 0, { what: "question", timeoutMs: 30_000, everyMs: 5 });
  assert.is(asked[0], seq);
});

test("a job without a host waits with a reason, and is placed when a host joins", async ({ w }) => {
  await w.app("one", { web: 1 });
  const s = w.start();
  await s.settled();
  assert.equal(hostsOf(w.live()), ["no host has joined yet"]);
  assert.is(w.live()[0]?.state, "pending");
  await w.host("h1", { cordoned: true });
  await s.settled();
  assert.equal(hostsOf(w.live()), ["no host takes new jobs now"]);
  assert.is(s.scheduler.whyWaiting(w.live()[0]!), "1 host cordoned", "as of now, with what is on offer");
  await w.host("h1");
  await s.settled();
  assert.equal(hostsOf(w.live()), ["h1"]);
  assert.is(w.live()[0]?.reason, "");
});

test("a host under pressure gets no new job, keeps those it has, and takes new ones again by itself", async ({ w }) => {
  await w.host("h1");
  await w.app("one", { web: 1 });
  const s = w.start();
  await s.settled();
  await w.host("h1", { shortOf: "disk" });
  await w.scale("one", { web: 2 });
  await s.settled();
  assert.equal(hostsOf(w.live()).sort(), ["h1", "no host takes new jobs now"]);
  await w.host("h1");
  await s.settled();
  assert.equal(hostsOf(w.live()), ["h1", "h1"]);
});

test("the default disk limit is no reservation; what someone asks for is", async ({ w }) => {
  await w.host("h1", { capacity: { cpuMillis: 4_000, memoryBytes: 4 * 1024 ** 3, diskBytes: 1024 ** 3 } });
  await w.app("one", { web: 2 });
  await w.app("two", { web: 1 }, { diskBytes: 2 * 1024 ** 3 });
  const s = w.start();
  await s.settled();
  assert.equal(hostsOf(w.live("one")), ["h1", "h1"]);
  assert.equal(hostsOf(w.live("two")), ["no host has 512 MiB memory, 0.1 CPU and 2 GiB disk free"]);
});

test("a waiting job is placed when another ends and leaves room", async ({ w }) => {
  await w.host("h1", { capacity: { cpuMillis: 1_000, memoryBytes: 600 * 1024 ** 2, diskBytes: 0 } });
  await w.app("one", { web: 1 });
  const s = w.start();
  await s.settled();
  await w.app("two", { web: 1 });
  await s.settled();
  assert.equal(hostsOf(w.live("two")), ["no host has 512 MiB memory and 0.1 CPU free"]);
  assert.is(s.scheduler.whyWaiting(w.live("two")[0]!), "no host has 512 MiB memory free (largest free: 88 MiB on h1)");
  await w.scale("one", { web: 0 });
  await s.settled();
  assert.is(w.live("two")[0]?.hostId, undefined, "its host has not said yet that the first ended");
  await w.report(w.jobs("one")[0]!, { state: "down" });
  await s.settled();
  assert.equal(hostsOf(w.live("two")), ["h1"]);
});

test("a container that cannot be killed stays charged to its host", async ({ w }) => {
  await w.host("h1", { capacity: { cpuMillis: 1_000, memoryBytes: 600 * 1024 ** 2, diskBytes: 0 } });
  await w.app("one", { web: 1 });
  const s = w.start();
  await s.settled();
  await w.report(w.live()[0]!, { desired: "stop", state: "stopping" });
  await s.settled();
  assert.is(w.live().length, 1);
  assert.is(w.live()[0]?.hostId, undefined);
  await w.host("h2");
  await s.settled();
  assert.equal(hostsOf(w.live()), ["h2"]);
});

test("tags in the formation are kept, and a changed tag frees the jobs that wait", async ({ w }) => {
  await w.host("h1");
  await w.host("h2", { tags: { disk: "ssd" } });
  await w.app("one", { web: 0 });
  const s = w.start();
  await w.scale("one", { web: 2 }, { disk: "nvme" });
  await s.settled();
  assert.equal(hostsOf(w.live()), ["no host in use carries tag disk=nvme", "no host in use carries tag disk=nvme"]);
  await w.scale("one", { web: 2 }, { disk: "ssd" });
  await s.settled();
  assert.equal(hostsOf(w.live()), ["h2", "h2"]);
  assert.equal(w.live()[0]?.tags, { disk: "ssd" });
});

test("jobs of a given-up host are lost and replaced elsewhere at once, once", async ({ w }) => {
  for (const id of ["h1", "h2", "h3"]) await w.host(id);
  await w.app("one", { web: 3 });
  const s = w.start();
  await s.settled();
  s.scheduler.evict("h1");
  await s.settled();
  assert.is(w.live().length, 3);
  assert.not(hostsOf(w.live()).includes("h1"));
  const lost = w.jobs().filter((job) => job.state === "lost");
  assert.equal(
    lost.map((job) => [job.hostId, job.desired, job.reason]),
    [["h1", "stop", "host h1 fell silent"]],
  );
  s.scheduler.readmit("h1");
  await s.settled();
  assert.is(w.live().length, 3, "the copies of a returned host are not wanted again");
  assert.is(await s.scheduler.sweep(never), 0);
});

test("jobs of a removed host are replaced", async ({ w }) => {
  for (const id of ["h1", "h2"]) await w.host(id);
  await w.app("one", { web: 2 });
  const s = w.start();
  await s.settled();
  await w.removeHost("h1");
  await s.settled();
  assert.equal(hostsOf(w.live()), ["h2", "h2"]);
  assert.is(w.jobs().find((job) => job.state === "lost")?.reason, "its host was removed");
});

test("a lost host that is not given up keeps its jobs and gets no new ones", async ({ w }) => {
  for (const id of ["h1", "h2"]) await w.host(id);
  await w.app("one", { web: 2 });
  const s = w.start();
  await s.settled();
  await w.host("h1", { state: "lost" });
  await w.scale("one", { web: 3 });
  await s.settled();
  assert.equal(hostsOf(w.live()), ["h1", "h2", "h2"]);
});

test("removing an app ends its jobs", async ({ w }) => {
  await w.host("h1");
  await w.app("one", { web: 2 });
  const s = w.start();
  await s.settled();
  await w.removeApp("one");
  await s.settled();
  assert.is(w.live().length, 0);
});

test("a restart makes no second copy and moves nothing", async ({ w }) => {
  for (const id of ["h1", "h2"]) await w.host(id);
  await w.app("one", { web: 5, worker: 2 });
  await w.start().settled();
  const before = w.jobs();
  await w.reopen();
  const seq = w.store.seq;
  const s = w.start();
  await s.settled();
  assert.equal(w.jobs(), before);
  assert.is(w.store.seq, seq);
  assert.is(await s.scheduler.sweep(never), 0);
});

test("a job that changes state without changing what is wanted causes no write", async ({ w }) => {
  await w.host("h1");
  await w.app("one", { web: 1 });
  const s = w.start();
  await s.settled();
  await w.report(w.live()[0]!, { state: "up", address: "100.64.1.2" });
  const seq = w.store.seq;
  await s.settled();
  assert.is(w.store.seq, seq);
});

test("the sweep finds what nobody said, counts it and repairs it", async ({ w }) => {
  await w.host("h1");
  await w.app("one", { web: 1 });
  const errors: unknown[] = [];
  const log = silentLog();
  log.error = ((fields: unknown) => void errors.push(fields)) as typeof log.error;
  // A scheduler that is not told of a change: the defect the sweep is there for.
  let deaf = false;
  const onDurable: Store["onDurable"] = (listener) => w.store.onDurable((record) => deaf || listener(record));
  const s = w.start({ log, store: Object.create(w.store, { onDurable: { value: onDurable } }) });
  await s.settled();
  assert.is(await s.scheduler.sweep(never), 0);
  deaf = true;
  await w.scale("one", { web: 2 });
  await s.settled();
  assert.is(w.live().length, 1);
  assert.is(await s.scheduler.sweep(never), 1);
  await s.settled();
  assert.is(w.live().length, 2);
  assert.is(s.scheduler.status().differencesSinceStart, 1);
  assert.equal(errors, [{ appId: "one", found: "1 jobs of web missing" }]);
});

test("a large app is made in many turns and never holds the loop for long", async ({ w }) => {
  for (let n = 0; n < 50; n++) await w.host(`h${n}`, { capacity: { cpuMillis: 1e6, memoryBytes: 1e12, diskBytes: 0 } });
  const turns: number[] = [];
  const s = w.start({ onTurn: ({ placed }) => turns.push(placed) });
  await w.app("one", { web: 1_000 });
  await s.settled();
  assert.is(w.live().filter((job) => job.hostId !== undefined).length, 1_000);
  assert.ok(Math.max(...turns) <= 64);
  const counts = Map.groupBy(w.live(), (job) => job.hostId);
  assert.ok([...counts.values()].every((jobs) => jobs.length === 20));
});

test("what a turn just fills leaves nothing of the app over: the next process comes in the next turn", async ({
  w,
}) => {
  await w.host("h1", { capacity: { cpuMillis: 1e6, memoryBytes: 1e12, diskBytes: 0 } });
  const s = w.start({ sweepEveryMs: 3_600_000 });
  await w.app("one", { web: 64, worker: 3 });
  await s.settled();
  assert.equal([64, 3], [w.live().filter(({ process }) => process === "web").length, w.live().length - 64]);
  assert.ok(w.live().every(({ hostId }) => hostId === "h1"));
  await w.removeApp("one");
  await s.settled();
  assert.is(w.live().length, 0, "nor does it when jobs end");
});

test("more jobs than fit: the rest wait with the reason, and fewer wanted ends the waiting first", async ({ w }) => {
  await w.host("h1", { capacity: { cpuMillis: 1e6, memoryBytes: 5 * 512 * 1024 ** 2, diskBytes: 0 } });
  await w.app("one", { web: 300 });
  const s = w.start();
  await s.settled();
  assert.is(w.live().length, 300);
  assert.is(w.live().filter((job) => job.hostId === "h1").length, 5);
  const reasons = new Set(w.live().flatMap((job) => (job.hostId ? [] : [job.reason])));
  assert.equal([...reasons], ["no host has 512 MiB memory and 0.1 CPU free"]);
  await w.scale("one", { web: 5 });
  await s.settled();
  assert.is(w.live().filter((job) => job.hostId === "h1").length, 5);
  assert.is(w.live().length, 5);
});

test("explain says for each host whether the job fits and why not", async ({ w }) => {
  await w.host("h1", { tags: { disk: "ssd" } });
  await w.host("h2", { tags: { disk: "ssd" }, cordoned: true });
  await w.host("h3");
  await w.app("one", { web: 0 });
  await w.scale("one", { web: 1 }, { disk: "ssd" });
  const s = w.start();
  await s.settled();
  assert.equal(s.scheduler.explain(w.live()[0]!), [
    { host: "h1", fits: true, why: null },
    { host: "h2", fits: false, why: "is cordoned" },
    { host: "h3", fits: false, why: "does not carry tag disk=ssd" },
  ]);
});

test("property: whatever happens, wanted jobs are there once, hosts are not overdrawn, and a sweep finds nothing", async () => {
  const hostId = fc.constantFrom("h0", "h1", "h2", "h3");
  const appId = fc.constantFrom("one", "two");
  const step = fc.oneof(
    fc.record({ do: fc.constant("scale" as const), app: appId, web: fc.nat(6), worker: fc.nat(3) }),
    fc.record({
      do: fc.constant("host" as const),
      host: hostId,
      gib: fc.integer({ min: 1, max: 3 }),
      cordoned: fc.boolean(),
    }),
    fc.record({ do: fc.constant("evict" as const), host: hostId }),
    fc.record({ do: fc.constant("readmit" as const), host: hostId }),
    fc.record({ do: fc.constant("remove" as const), host: hostId }),
    fc.record({
      do: fc.constant("report" as const),
      pick: fc.nat(),
      state: fc.constantFrom<Job["state"]>("up", "unhealthy", "crashed", "down"),
    }),
    fc.record({ do: fc.constant("restart" as const) }),
  );
  const check = fc.asyncProperty(fc.array(step, { maxLength: 25 }), async (steps) => {
    const w = await world();
    try {
      const wanted: Record<string, Record<string, number>> = { one: { web: 2, worker: 1 }, two: { web: 1, worker: 0 } };
      for (const [id, counts] of Object.entries(wanted)) await w.app(id, counts);
      let s = w.start({ isDrained: () => true });
      const evicted = new Set<string>();
      for (const each of steps) {
        if (each.do === "scale") {
          wanted[each.app] = { web: each.web, worker: each.worker };
          await w.scale(each.app, wanted[each.app]!);
        } else if (each.do === "host") {
          const capacity = { cpuMillis: 4_000, memoryBytes: each.gib * 1024 ** 3, diskBytes: 0 };
          const had = w.store.get<HostRecord>(keys.host(each.host))?.value.capacity;
          await w.host(each.host, { capacity: had ?? capacity, cordoned: each.cordoned });
        } else if (each.do === "evict") {
          if (w.store.get(keys.host(each.host)) !== undefined) {
            evicted.add(each.host);
            s.scheduler.evict(each.host);
          }
        } else if (each.do === "readmit") {
          evicted.delete(each.host);
          s.scheduler.readmit(each.host);
        } else if (each.do === "remove") {
          await w.removeHost(each.host);
          evicted.delete(each.host);
        } else if (each.do === "restart") {
          await w.reopen();
          evicted.clear();
          s = w.start({ isDrained: () => true });
        } else {
          const on = w.jobs().filter((job) => job.hostId !== undefined && job.state !== "lost" && job.state !== "down");
          const job = on[each.pick % Math.max(1, on.length)];
          // A host says `down` only of a job that it was told to stop.
          if (job !== undefined && (each.state !== "down" || job.desired === "stop"))
            await w.report(job, { state: each.state });
        }
        await s.settled();
        for (const [id, counts] of Object.entries(wanted)) {
          for (const [process, count] of Object.entries(counts)) {
            assert.is(w.live(id).filter((job) => job.process === process).length, count, `${id} ${process}`);
          }
        }
        const used = new Map<string, number>();
        for (const job of w.jobs()) {
          if (job.state === "lost" || job.state === "down") continue;
          if (job.hostId === undefined) assert.ok(job.reason !== "", "a waiting job has a reason");
          else {
            used.set(job.hostId, (used.get(job.hostId) ?? 0) + job.need.memoryBytes);
            assert.not(evicted.has(job.hostId), "a job is left on a host that was given up");
          }
        }
        for (const [id, bytes] of used) {
          assert.ok(bytes <= w.store.get<HostRecord>(keys.host(id))!.value.capacity.memoryBytes, `${id} is overdrawn`);
        }
        assert.is(await s.scheduler.sweep(never), 0, "the sweep found a difference");
      }
    } finally {
      await w.close();
    }
  });
  await fc.assert(check, { numRuns: 25 });
});

test("a change of one host writes none of the jobs that wait, and what is shown of them is as of now", async ({
  w,
}) => {
  const capacity = { cpuMillis: 4_000, memoryBytes: 1024 ** 3, diskBytes: 0 };
  for (const id of ["h1", "h2"]) await w.host(id, { capacity });
  for (let n = 0; n < 40; n++) await w.app(`app${n}`, { web: 5 }, { memoryBytes: 2 * 1024 ** 3 });
  const s = w.start();
  await s.settled();
  const [job] = w.live();
  assert.is(s.scheduler.whyWaiting(job!), "no host has 2 GiB memory free (largest free: 1 GiB on h1)");
  const before = w.store.list(PREFIX.jobs).map(({ version }) => version);
  assert.is(before.length, 200);
  await w.host("h1", { capacity: { ...capacity, memoryBytes: 512 * 1024 ** 2 } });
  await w.host("h2", { capacity: { ...capacity, memoryBytes: 700 * 1024 ** 2 } });
  await w.host("h1", { cordoned: true });
  await s.settled();
  assert.equal(
    w.store.list(PREFIX.jobs).map(({ version }) => version),
    before,
  );
  await until(() => s.scheduler.whyWaiting(job!).includes("largest free: 700 MiB on h2); 1 host cordoned"), {
    what: "what is shown to be of now",
    timeoutMs: 5_000,
  });
});

/** Anything may stand in a record after a salvage, an upgrade or a fault: it harms the app it is of. */
const BROKEN: [string, (w: World) => { key: string; value: unknown }][] = [
  [
    "a formation without tags",
    () => ({
      key: keys.formation("bad", "bad-r1"),
      value: { appId: "bad", releaseId: "bad-r1", processes: { web: { count: 2 } } },
    }),
  ],
  [
    "a formation without processes",
    () => ({ key: keys.formation("bad", "bad-r1"), value: { appId: "bad", releaseId: "bad-r1" } }),
  ],
  [
    "a release without processes",
    () => ({ key: keys.release("bad", "bad-r1"), value: { id: "bad-r1", artifactId: "art" } }),
  ],
  [
    "a job that needs nothing known",
    (w) => ({ key: keys.job("bad", "j"), value: { ...w.jobs("bad")[0], id: "j", hostId: "h1", need: undefined } }),
  ],
];
for (const [what, broken] of BROKEN) {
  test(`${what} harms its app alone, before and after a restart: it is shown and tried again, all others go on`, async ({
    w,
  }) => {
    await w.host("h1");
    await w.app("bad", { web: 1 });
    let s = w.start();
    await s.settled();
    const { key, value } = broken(w);
    const good = w.store.get(key)?.value;
    await w.store.commit({ actor: "test", mutations: [{ key, value }] });
    for (const name of ["good", "later"]) {
      await w.app(name, { web: 1 });
      await until(() => w.live(name)[0]?.hostId === "h1", {
        what: `${name} to be placed`,
        timeoutMs: 5_000,
        everyMs: 5,
      });
      await s.stop();
      s = w.start();
    }
    await s.scheduler.sweep(never);
    if (!key.startsWith(PREFIX.jobs)) {
      const shown = () => s.scheduler.status().failing.map(({ appId }) => appId);
      await until(() => shown().length > 0, { what: "it to be shown", timeoutMs: 5_000, everyMs: 5 });
      assert.equal(shown(), ["bad"]);
    }
    await w.store.commit({ actor: "test", mutations: [{ key, value: good ?? null }] });
    await until(() => s.scheduler.status().failing.length === 0, {
      what: "it to be well again",
      timeoutMs: 5_000,
      everyMs: 5,
    });
    await w.scale("bad", { web: 2 });
    await until(() => w.live("bad").filter(({ hostId }) => hostId === "h1").length === 2, {
      what: "it to be scaled",
      timeoutMs: 5_000,
      everyMs: 5,
    });
  });
}

test("what changes after it was made and before it runs is acted upon at once, and no sweep finds a difference", async ({
  w,
}) => {
  await w.host("h1");
  const scheduler = createScheduler({ store: w.store, log: silentLog() });
  w.store.onDurable(scheduler.apply);
  await w.app("early", { web: 2 });
  const stopped = new AbortController();
  const ended = scheduler.run(stopped.signal);
  try {
    await until(() => w.live("early").length === 2, { what: "its jobs", timeoutMs: 5_000, everyMs: 5 });
    assert.is(await scheduler.sweep(never), 0);
  } finally {
    stopped.abort();
    await ended;
  }
});

test("a job that fits its silent host only is kept and goes on when the host is heard again; nothing replaced it", async ({
  w,
}) => {
  await w.host("h1");
  await w.host("small", { capacity: { cpuMillis: 100, memoryBytes: 1024 ** 2, diskBytes: 0 } });
  await w.app("one", { web: 1 });
  const s = w.start();
  await s.settled();
  const [job] = w.live();
  await w.report(job!, { state: "up" });
  s.scheduler.evict("h1");
  await s.settled();
  const silent = w.jobs().find(({ id }) => id === job!.id)!;
  assert.equal([silent.state, silent.desired, silent.reason], ["lost", "run", "host h1 fell silent"]);
  assert.equal(hostsOf(w.live()), ["no host has 512 MiB memory and 0.1 CPU free"], "another is asked for");
  assert.not(s.scheduler.hasJobs("h1"), "it is given up: a restart of control does not find it lost once more");
  assert.is(await s.scheduler.sweep(never), 0);
  s.scheduler.readmit("h1");
  await s.settled();
  assert.equal(
    w.live().map(({ id, hostId }) => [id, hostId]),
    [[job!.id, "h1"]],
  );
  assert.is(await s.scheduler.sweep(never), 0);
});

test("a job of a silent host that was replaced is told to stop when the host is heard again", async ({ w }) => {
  await w.host("h1");
  await w.app("one", { web: 1 });
  const s = w.start();
  await s.settled();
  const [job] = w.live();
  s.scheduler.evict("h1");
  await s.settled();
  assert.is(w.jobs().find(({ id }) => id === job!.id)?.desired, "run");
  await w.host("h2");
  await s.settled();
  assert.equal(hostsOf(w.live()), ["h2"]);
  assert.is(w.jobs().find(({ id }) => id === job!.id)?.desired, "stop");
});

test("jobs that crash for good are made again ever later, however the wall clock is set meanwhile", async ({ w }) => {
  await w.host("h1");
  await w.app("one", { web: 1 });
  let [wallMs, monotonicMs] = [Date.parse("2026-06-01T12:00:00Z"), 0];
  const s = w.start({ now: () => wallMs, monotonicMs: () => monotonicMs });
  await s.settled();
  for (let n = 0; n < 3; n++) {
    const [job] = w.live();
    assert.ok(job, `run ${n}`);
    await w.report(job, { state: "down", endedAt: new Date(wallMs).toISOString() });
    await s.settled();
  }
  assert.equal(w.live(), [], "the third waits");
  wallMs -= 3_600_000;
  monotonicMs += 1_001;
  await until(() => w.live().length === 1, { what: "the next", timeoutMs: 5_000, everyMs: 5 });
  await w.report(w.live()[0]!, { state: "down", endedAt: new Date(wallMs).toISOString() });
  await s.settled();
  wallMs += 86_400_000;
  await s.settled();
  assert.equal(w.live(), [], "a clock set forward shortens nothing");
  await s.stop();
  // Anew after a restart, with ends that seem to lie in the future.
  wallMs -= 2 * 86_400_000;
  w.start({ now: () => wallMs, monotonicMs: () => monotonicMs });
  monotonicMs += 300_001;
  await until(() => w.live().length === 1, { what: "one more", timeoutMs: 5_000, everyMs: 5 });
});

test("a host that is to be drained has its jobs made elsewhere at once; each ends when as many run there", async ({
  w,
}) => {
  for (const id of ["h1", "h2"]) await w.host(id);
  await w.app("one", { web: 2 });
  const s = w.start();
  await s.settled();
  for (const job of w.live()) await w.report(job, { state: "up" });
  await s.settled();
  await w.host("h1", { cordoned: true, draining: true });
  await s.settled();
  assert.equal(hostsOf(w.live()), ["h1", "h2", "h2"], "a third one comes");
  const old = w.live().find(({ hostId }) => hostId === "h1")!;
  for (const job of w.live()) await w.report(job, { state: "up" });
  await s.settled();
  assert.is(w.jobs().find(({ id }) => id === old.id)?.desired, "drain");
  assert.is(await s.scheduler.sweep(never), 0);
});

test("an app that cannot be scheduled is tried again after a second, and twice as late each time up to a minute", async ({
  w,
}) => {
  await w.host("h1");
  await w.app("bad", { web: 1 });
  const formation = keys.formation("bad", "bad-r1");
  const broken = { ...w.store.get<object>(formation)!.value, processes: null };
  await w.store.commit({ actor: "test", mutations: [{ key: formation, value: broken }] });
  const clock = { ms: 5_000 };
  const afterMs: number[] = [];
  const log = Object.assign(Object.create(silentLog()), {
    error: (fields: { appId?: string; afterMs?: number }) => fields.appId === "bad" && afterMs.push(fields.afterMs!),
  });
  const s = w.start({ log, monotonicMs: () => clock.ms });
  const tried = (times: number) =>
    until(() => afterMs.length === times, { what: `try ${times}`, timeoutMs: 20_000, everyMs: 2 });
  let others = 0;
  const turn = async () => {
    await w.app(`good-${others++}`, { web: 1 });
    await s.settled();
  };
  await tried(1);
  assert.equal(
    s.scheduler.status().failing.map(({ appId }) => appId),
    ["bad"],
  );
  for (const [n, waitMs] of [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000].entries()) {
    assert.is(afterMs.at(-1), waitMs);
    clock.ms += waitMs - 1;
    await turn();
    assert.is(afterMs.length, n + 1, "not before its time");
    clock.ms += 1;
    await tried(n + 2);
  }
  await w.scale("bad", { web: 1 });
  await s.settled();
  assert.equal([s.scheduler.status().failing, w.live("bad").length], [[], 1], "mended, it is as any other");
});

test.run();
