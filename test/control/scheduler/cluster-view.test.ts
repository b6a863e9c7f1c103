// The scheduler's picture of the cluster, record by record.
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Job } from "#api/jobs.ts";
import { keys } from "../../../control/keys.ts";
import type { HostRecord } from "../../../control/records.ts";
import { appOfKey, ClusterView } from "../../../control/scheduler/cluster-view.ts";
import { groupKey } from "../../../control/scheduler/fleet.ts";
import { type Kept, kept } from "../kept.ts";

const MIB = 1024 ** 2;
const host = (id: string, over: Partial<HostRecord> = {}): HostRecord =>
  ({
    id,
    name: `box-${id}`,
    state: "ready",
    cordoned: false,
    capacity: { cpuMillis: 1_000, memoryBytes: 512 * MIB, diskBytes: 100 * MIB },
    tags: {},
    subnet: "100.64.1.0/24",
    ...over,
  }) as HostRecord;
const job = (id: string, over: Partial<Job> = {}): Job =>
  ({
    id,
    appId: "a",
    releaseId: "r1",
    process: "web",
    desired: "run",
    state: "up",
    hostId: "h1",
    need: { cpuMillis: 100, memoryBytes: 64 * MIB, diskBytes: 0 },
    ...over,
  }) as Job;
const keyOf = (id: string) => keys.job("a", id);

function viewed(hosts: HostRecord[], jobs: Job[] = []): { store: Kept; view: ClusterView; put: (job: Job) => boolean } {
  const store = kept({
    ...Object.fromEntries(hosts.map((each) => [keys.host(each.id), each])),
    ...Object.fromEntries(jobs.map((each) => [keyOf(each.id), each])),
  });
  const view = new ClusterView(store);
  const put = (each: Job) => {
    store.put(keyOf(each.id), each);
    return view.refreshJob(keyOf(each.id));
  };
  return { store, view, put };
}

/** A store of hosts and jobs, and its view by clocks that the test sets. */
function clocked(jobs: Job[], onError?: (error: unknown, key: string) => void) {
  const clock = { monotonicMs: 1_000_000, nowMs: Date.parse("2026-01-01T12:00:00.000Z") };
  const store = kept({
    ...Object.fromEntries(["h1", "h2", "h3"].map((id) => [keys.host(id), host(id)])),
    ...Object.fromEntries(jobs.map((each) => [keyOf(each.id), each])),
  });
  const view = new ClusterView(store, {
    monotonicMs: () => clock.monotonicMs,
    now: () => clock.nowMs,
    ...(onError === undefined ? {} : { onError }),
  });
  const put = (each: Job) => {
    store.put(keyOf(each.id), each);
    return view.refreshJob(keyOf(each.id));
  };
  return { clock, view, put };
}

test("when a job ended is known at the start by the wall clock, never from the future, never longer ago than ten minutes", () => {
  const ended = (id: string, over: Partial<Job>) =>
    job(id, { state: "down", createdAt: "2026-01-01T11:59:00.000Z", ...over });
  const { view } = clocked([
    ended("a", { endedAt: "2026-01-01T11:59:57.000Z" }),
    ended("b", {}),
    ended("c", { endedAt: "2026-01-01T13:00:00.000Z" }),
    ended("d", { endedAt: "2026-01-01T11:49:59.000Z" }),
    ended("e", { endedAt: "2026-01-01T11:50:00.001Z" }),
    ended("f", { endedAt: "no time" }),
    ended("g", { endedAt: "2026-01-01T12:00:00.000Z" }),
    job("h"),
  ]);
  assert.equal(
    [..."abcdefgh"].map((id) => view.endedMs(keyOf(id))),
    [997_000, 940_000, 1_000_000, 400_000, 400_001, 1_000_000, 1_000_000, undefined],
  );
  assert.is(view.endedMs(keyOf("nobody")), undefined);
});

test("when a job ended while it was watched is known by the monotonic clock, once, whatever is written of it later", () => {
  const { view, put, clock } = clocked([job("j1")]);
  assert.is(view.endedMs(keyOf("j1")), undefined);
  clock.monotonicMs += 5_000;
  put(job("j1", { state: "down" }));
  assert.is(view.endedMs(keyOf("j1")), 1_005_000);
  clock.monotonicMs += 5_000;
  put(job("j1", { state: "down", reason: "again" }));
  put(job("j1", { state: "down", hostId: "h2" }));
  assert.is(view.endedMs(keyOf("j1")), 1_005_000);
  put(job("j1", { state: "starting" }));
  assert.is(view.endedMs(keyOf("j1")), undefined);
});

test("a record that cannot be taken in is told with its key and the others are; with nobody to tell, it is thrown", () => {
  const broken = { ...job("j2"), need: null } as unknown as Job;
  assert.throws(() => clocked([job("j1"), broken]));
  const said: string[] = [];
  const { view } = clocked([job("j1"), broken, job("j3")], (error, key) =>
    said.push(`${error instanceof TypeError} ${key}`),
  );
  assert.equal(said, [`true ${keyOf("j2")}`]);
  assert.equal([view.fleet.hostOfJob("j1"), view.fleet.hostOfJob("j3")], ["h1", "h1"]);
});

test("a host is heard while it is there, neither lost nor given up, whether it takes jobs or not", () => {
  const { view } = viewed([host("h1"), host("h2", { state: "lost" }), host("h3", { cordoned: true, shortOf: "disk" })]);
  const heard = () => ["h1", "h2", "h3", "h4"].map((id) => view.isHeard(id));
  assert.equal(heard(), [true, false, true, false]);
  view.setGone("h1", true);
  assert.equal(heard(), [false, false, true, false]);
  view.setGone("h1", false);
  assert.equal(heard(), [true, false, true, false]);
});

test("a host has jobs while one of its jobs is not over; those that may return to it are", () => {
  const { view, put } = viewed([host("h1"), host("h2")], [job("j1"), job("j2", { state: "lost" })]);
  assert.equal([view.hasJobsOn("h1"), view.hasJobsOn("h2")], [true, false]);
  put(job("j1", { state: "lost" }));
  assert.equal([view.hasJobsOn("h1"), view.keysOn("h1").size], [false, 2]);
  put(job("j3", { desired: "stop", state: "stopping" }));
  assert.ok(view.hasJobsOn("h1"));
});

test("a job that moves twice is on its last host only, and is news once for each change of its standing", () => {
  const { view, put } = viewed([host("h1"), host("h2"), host("h3")], [job("j1")]);
  const on = () => ["h1", "h2", "h3"].map((id) => view.keysOn(id).size);
  put(job("j1", { hostId: "h2" }));
  put(job("j1", { hostId: "h3" }));
  assert.equal(on(), [0, 0, 1]);
  const drained = job("j1", { hostId: "h3", desired: "drain" });
  assert.equal([put(drained), put(drained), put({ ...drained, desired: "stop" })], [true, false, false]);
  assert.equal([put(job("j1", { hostId: "h3", state: "lost" })), on()], [true, [0, 0, 1]]);
  assert.equal([put({ ...drained, state: "down" }), on()], [true, [0, 0, 0]]);
});

const STATES: [over: Partial<HostRecord>, state: string][] = [
  [{}, "eligible"],
  [{ state: "lost" }, "down"],
  [{ state: "lost", cordoned: true, heldUntil: "x" }, "down"],
  [{ state: "unhealthy" }, "unready"],
  [{ heldUntil: "x" }, "unready"],
  [{ heldUntil: "x", cordoned: true }, "unready"],
  [{ cordoned: true }, "cordoned"],
  [{ cordoned: true, shortOf: "disk" }, "cordoned"],
  [{ shortOf: "disk" }, "short of disk"],
  [{ shortOf: "memory" }, "short of memory"],
];
test("a host takes jobs when it is ready, not held, not cordoned and not short of anything", () => {
  for (const [over, state] of STATES) {
    const { view } = viewed([host("h1", over)]);
    assert.is(view.fleet.stateOf(view.fleet.slotOf("h1")!), state, JSON.stringify(over));
  }
});

test("a host that was given up is down whatever its record says, until it is heard again; one that is not there is gone", () => {
  const { view, store } = viewed([host("h1"), host("h2")]);
  const stateOf = (id: string) => view.fleet.stateOf(view.fleet.slotOf(id)!);
  assert.equal([view.isGone("h1"), view.isGone("h3")], [false, true]);
  view.setGone("h1", true);
  assert.equal([view.isGone("h1"), stateOf("h1"), view.isGone("h2")], [true, "down", false]);
  view.setGone("h1", false);
  assert.equal([view.isGone("h1"), stateOf("h1")], [false, "eligible"]);
  view.setGone("h1", true);
  store.put(keys.host("h1"), undefined);
  view.refreshHost(keys.host("h1"));
  assert.equal([view.isGone("h1"), view.fleet.slotOf("h1")], [true, undefined]);
  store.put(keys.host("h1"), host("h1"));
  view.refreshHost(keys.host("h1"));
  assert.equal([view.isGone("h1"), stateOf("h1")], [false, "eligible"], "it joined anew");
});

test("a host is leaving while its record says that it drains, and not when it is removed", () => {
  const { view, store } = viewed([host("h1", { draining: true }), host("h2")]);
  assert.equal([view.isLeaving("h1"), view.isLeaving("h2"), view.anyLeaving], [true, false, true]);
  store.put(keys.host("h1"), host("h1"));
  view.refreshHost(keys.host("h1"));
  assert.equal([view.isLeaving("h1"), view.anyLeaving], [false, false]);
  store.put(keys.host("h1"), host("h1", { draining: true }));
  view.refreshHost(keys.host("h1"));
  store.put(keys.host("h1"), undefined);
  view.refreshHost(keys.host("h1"));
  assert.not(view.anyLeaving);
});

test("a job holds its room on its host until it has ended, and a one-off counts apart from its process", () => {
  const { view, put } = viewed([host("h1")], [job("j1"), job("j2", { task: {} as never })]);
  const slot = view.fleet.slotOf("h1")!;
  const free = () => [view.fleet.freeCpu[slot], view.fleet.freeMemory[slot]];
  assert.equal(free(), [800, 384]);
  assert.is(view.fleet.countsOf(groupKey("a", "web", "r1")).get(slot), 1);
  assert.is(view.fleet.countsOf(groupKey("a", "web once", "r1")).get(slot), 1);
  assert.is(view.freed.size, 0, "nothing was freed by reading");
  put(job("j1", { desired: "stop", state: "stopping" }));
  assert.equal([free(), view.freed.size], [[800, 384], 0]);
  put(job("j1", { desired: "stop", state: "down" }));
  assert.equal([free(), [...view.freed]], [[900, 448], [slot]]);
});

test("an app is looked at again when a job's standing changes, and not for each of its states", () => {
  const { put, view } = viewed([host("h1")]);
  const { hostId: _, ...waiting } = job("j1", { state: "pending" });
  assert.is(view.jobCount, 0);
  for (const [next, isNews] of [
    [waiting, true],
    [waiting, false],
    [job("j1", { state: "starting" }), true],
    [job("j1", { state: "up" }), false],
    [job("j1", { state: "crashed" }), false],
    [job("j1", { hostId: "h2" }), false],
    [job("j1", { desired: "drain" }), true],
    [job("j1", { desired: "stop" }), false],
    [job("j1", { desired: "stop", state: "down" }), true],
    [job("j1", { desired: "stop", state: "lost" }), false],
  ] as const)
    assert.is(put(next as Job), isNews, JSON.stringify(next));
  assert.is(view.jobCount, 1);
});

test("each host is known with its jobs that are not over", () => {
  const { view, put, store } = viewed([host("h1"), host("h2")], [job("j1"), job("j2"), job("j3", { hostId: "h2" })]);
  const on = (id: string) => [...view.keysOn(id)].sort();
  assert.equal([on("h1"), on("h2"), on("h3")], [[keyOf("j1"), keyOf("j2")], [keyOf("j3")], []]);
  put(job("j1", { hostId: "h2" }));
  assert.equal([on("h1"), on("h2")], [[keyOf("j2")], [keyOf("j1"), keyOf("j3")]]);
  put(job("j2", { state: "down" }));
  assert.equal(on("h1"), []);
  store.put(keyOf("j3"), undefined);
  assert.ok(view.refreshJob(keyOf("j3")));
  assert.not(view.refreshJob(keyOf("j3")), "twice");
  assert.equal([on("h2"), view.jobCount], [[keyOf("j1")], 2]);
  assert.is(view.fleet.hostOfJob("j3"), undefined);
});

test("a draining job is known with the first record that made it so, until it is told to stop, ends or goes", () => {
  const { view, store } = viewed([host("h1")], [job("j1")]);
  const put = (each: Job | undefined, seq: number) => {
    store.put(keyOf("j1"), each);
    view.refreshJob(keyOf("j1"), seq);
    return view.draining.get(keyOf("j1"))?.seq;
  };
  assert.is(view.draining.size, 0);
  const draining = job("j1", { desired: "drain" });
  assert.equal([put(draining, 7), put({ ...draining, state: "unhealthy" }, 9)], [7, 7]);
  assert.is(put(job("j1", { desired: "stop" }), 10), undefined);
  assert.is(put(draining, 11), 11);
  assert.is(put({ ...draining, state: "down" }, 12), undefined);
  put(draining, 13);
  assert.is(put(undefined, 14), undefined);
  store.put(keyOf("j1"), draining);
  view.refreshJob(keyOf("j1"));
  assert.is(view.draining.get(keyOf("j1"))?.seq, store.seq);
});

test("a job that was planned and whose record was refused holds no room, and the room it gave back is known", () => {
  const { view } = viewed([host("h1")]);
  view.fleet.charge("j9", "h1", groupKey("a", "web", "r1"), { cpuMillis: 100, memoryMiB: 64, diskMiB: 0 });
  assert.is(view.fleet.hostOfJob("j9"), "h1");
  assert.is(view.refreshJob(keyOf("j9")), false);
  assert.is(view.fleet.hostOfJob("j9"), undefined);
  assert.equal([...view.freed], [view.fleet.slotOf("h1")]);
});

test("a job is as remembered when its standing and its room are", () => {
  const { view } = viewed([host("h1")], [job("j1"), job("j2", { state: "down" })]);
  assert.ok(view.knows(keyOf("j1"), job("j1")));
  assert.ok(view.knows(keyOf("j1"), job("j1", { state: "crashed" })));
  assert.ok(view.knows(keyOf("j2"), job("j2", { desired: "stop", state: "lost" })));
  assert.not(view.knows(keyOf("j2"), job("j2", { state: "lost" })), "one that may return holds its room");
  assert.not(view.knows(keyOf("j1"), job("j1", { desired: "stop" })), "another standing");
  assert.not(view.knows(keyOf("j1"), job("j1", { hostId: "h2" })), "another host");
  assert.not(view.knows(keyOf("j3"), job("j3")), "never seen");
  view.fleet.release("j1");
  assert.not(view.knows(keyOf("j1"), job("j1")), "its room is not charged");
});

test("an app's id is the first part of a key below its prefix", () => {
  assert.equal(
    [appOfKey("jobs/a/j1", "jobs/"), appOfKey("apps/a", "apps/"), appOfKey("jobs/a/", "jobs/")],
    ["a", "a", "a"],
  );
});

test.run();
