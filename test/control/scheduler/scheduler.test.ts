import * as fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Job } from "#api/jobs.ts";
import { silentLog } from "#lib/log.ts";
import { until } from "#lib/time.ts";
import { keys } from "../../../control/keys.ts";
import type { HostRecord } from "../../../control/records.ts";
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
  await until(() => w.jobs()[0]?.desired === "stop", { what: "stop after drain", timeoutMs: 3_000, everyMs: 5 });
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
  await until(() => asked.length > 0, { what: "question", timeoutMs: 3_000, everyMs: 5 });
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
  assert.equal(hostsOf(w.live()), ["1 host cordoned"]);
  await w.host("h1");
  await s.settled();
  assert.equal(hostsOf(w.live()), ["h1"]);
  assert.is(w.live()[0]?.reason, "");
});

test("a waiting job is placed when another ends and leaves room", async ({ w }) => {
  await w.host("h1", { capacity: { cpuMillis: 1_000, memoryBytes: 600 * 1024 ** 2, diskBytes: 0 } });
  await w.app("one", { web: 1 });
  const s = w.start();
  await s.settled();
  await w.app("two", { web: 1 });
  await s.settled();
  assert.equal(hostsOf(w.live("two")), ["no host has 512 MiB memory free (largest free: 88 MiB on h1)"]);
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
  assert.equal(hostsOf(w.live()), ["no host carries tag disk=nvme", "no host carries tag disk=nvme"]);
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

test("more jobs than fit: the rest wait with the reason, and fewer wanted ends the waiting first", async ({ w }) => {
  await w.host("h1", { capacity: { cpuMillis: 1e6, memoryBytes: 5 * 512 * 1024 ** 2, diskBytes: 0 } });
  await w.app("one", { web: 300 });
  const s = w.start();
  await s.settled();
  assert.is(w.live().length, 300);
  assert.is(w.live().filter((job) => job.hostId === "h1").length, 5);
  const reasons = new Set(w.live().flatMap((job) => (job.hostId ? [] : [job.reason])));
  assert.equal([...reasons], ["no host has 512 MiB memory free (largest free: 0 B on h1)"]);
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

test.run();
