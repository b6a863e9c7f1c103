// One turn on one app: which records it writes, and what it leaves for the next.
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { App } from "#api/apps.ts";
import type { Job } from "#api/jobs.ts";
import { keys } from "../../../control/keys.ts";
import type { ReleaseRecord } from "../../../control/records.ts";
import { ClusterView, type Draining } from "../../../control/scheduler/cluster-view.ts";
import type { Group } from "../../../control/scheduler/diff.ts";
import { endsOfDrained } from "../../../control/scheduler/drained-jobs.ts";
import { type Ending, needOf } from "../../../control/scheduler/job-rules.ts";
import { type AppRecords, planApp, readApp } from "../../../control/scheduler/plan-app.ts";
import { differenceOf } from "../../../control/scheduler/sweep.ts";
import { verdictsOn } from "../../../control/scheduler/verdicts.ts";
import { type Kept, kept } from "../kept.ts";

const MIB = 1024 ** 2;
const NOW = Date.parse("2026-01-01T00:00:00.000Z");
const AT = new Date(NOW).toISOString();
const need = { cpuMillis: 100, memoryBytes: 100 * MIB, diskBytes: 0 };
const app = { id: "a", name: "hello" } as App;
const release = {
  id: "r1",
  appId: "a",
  version: 3,
  artifactId: "img",
  processes: { web: { port: 80, memoryBytes: need.memoryBytes, cpuMillis: 100 } },
} as unknown as ReleaseRecord;
const host = (id: string, memory = 250, over: object = {}) => ({
  id,
  name: `box-${id}`,
  state: "ready",
  cordoned: false,
  capacity: { cpuMillis: 4_000, memoryBytes: memory * MIB, diskBytes: 0 },
  tags: {},
  subnet: "100.64.1.0/24",
  ...over,
});
const job = (id: string, over: Partial<Job> = {}): Job =>
  ({
    id,
    appId: "a",
    app: "hello",
    releaseId: "r1",
    version: 3,
    process: "web",
    desired: "run",
    state: "pending",
    reason: "",
    need,
    tags: {},
    port: 80,
    restarts: 0,
    createdAt: AT,
    ...over,
  }) as Job;

function planned(
  diff: {
    endings?: Ending[];
    groups?: Partial<Group>[];
    tasks?: Job[];
    retryAtMs?: number;
    kept?: number;
    returned?: Job[];
  },
  { hosts = [host("h1")], limit = 100 }: { hosts?: object[]; limit?: number } = {},
) {
  const view = new ClusterView(kept(Object.fromEntries(hosts.map((each) => [keys.host((each as Job).id), each]))));
  const records = {
    app,
    versions: new Map([[keys.job("a", "j1"), 7]]),
    diff: {
      endings: [],
      tasks: [],
      kept: 0,
      returned: [],
      ...diff,
      groups: (diff.groups ?? []).map((group) => ({
        release,
        process: "web",
        type: release.processes["web"],
        tags: {},
        waiting: [],
        missing: 0,
        ...group,
      })),
    },
  } as AppRecords;
  const turn = planApp(records, { view, nowMs: NOW, limit });
  return { ...turn, view, jobs: turn.changes.map(({ value }) => value as Job) };
}

const up = job("j1", { state: "up", hostId: "h1" });
const ENDINGS: [claim: string, ending: Ending, after: Partial<Job>][] = [
  [
    "one that needs no host any more is down",
    { job: job("j1"), to: "down" },
    { desired: "stop", state: "down", reason: "not needed any more", endedAt: AT },
  ],
  [
    "a one-off that was never placed says that its app was deleted",
    { job: job("j1", { task: {} as never }), to: "down" },
    { desired: "stop", state: "down", reason: "its app was deleted", endedAt: AT },
  ],
  [
    "one that was told to stop keeps the reason",
    { job: job("j1", { desired: "stop", reason: "stopped by ann" }), to: "down" },
    { desired: "stop", state: "down", reason: "stopped by ann", endedAt: AT },
  ],
  [
    "one of a silent host is lost",
    { job: up, to: "lost" },
    { desired: "run", state: "lost", reason: "host box-h1 fell silent", endedAt: AT },
  ],
  [
    "one of a removed host is lost",
    { job: { ...up, hostId: "h9" }, to: "lost" },
    { hostId: "h9", desired: "stop", state: "lost", reason: "its host was removed", endedAt: AT },
  ],
  ["one with a port drains", { job: up, to: "drain" }, { desired: "drain", drainingSince: AT }],
  ["one that is told to stop stops", { job: up, to: "stop" }, { desired: "stop" }],
  [
    "a one-off that is stopped says why",
    { job: { ...up, task: {} as never }, to: "stop" },
    { desired: "stop", reason: "its app was deleted" },
  ],
];
for (const [claim, ending, after] of ENDINGS)
  test(`of jobs that end, ${claim}`, () => {
    const { jobs, changes, expect } = planned({ endings: [ending] });
    assert.equal(jobs, [{ ...ending.job, ...after }]);
    assert.equal(changes[0]!.key, keys.job("a", "j1"));
    assert.equal(expect, [{ key: keys.job("a", "j1"), version: 7 }]);
  });

test("a job without a port has no requests to drain, and stops", () => {
  const { port: _, ...worker } = up;
  assert.equal(planned({ endings: [{ job: worker as Job, to: "drain" }] }).jobs, [
    { ...worker, desired: "stop" } as Job,
  ]);
});

test("jobs that are missing are made whole, placed, charged, and nobody may have written them", () => {
  const { jobs, expect, placed, blocked, more, view } = planned({ groups: [{ missing: 2, tags: {} }] });
  assert.equal([placed, blocked, more], [2, [], false]);
  for (const [n, { id, ...made }] of jobs.entries()) {
    const { id: _, ...whole } = job("", {
      state: "starting",
      hostId: "h1",
      placedAt: AT,
      need: needOf(release.processes["web"]!),
    });
    assert.equal(made, whole as typeof made);
    assert.equal(expect[n], { key: keys.job("a", id), version: 0 });
    assert.is(view.fleet.hostOfJob(id), "h1");
  }
  assert.is(new Set(jobs.map(({ id }) => id)).size, 2);
});

test("a process that listens on nothing has jobs without a port", () => {
  const type = { ...release.processes["web"]!, port: null };
  assert.not.ok("port" in planned({ groups: [{ missing: 1, type }] }).jobs[0]!);
});

test("a waiting job is placed with what its process asks for now, and its old reason is gone", () => {
  const waiting = job("j1", { reason: "no room", tags: { old: "x" }, need: { ...need, cpuMillis: 9 } });
  const { jobs, expect } = planned(
    { groups: [{ waiting: [waiting], tags: { zone: "a" } }] },
    {
      hosts: [host("h1", 250, { tags: { zone: "a" } })],
    },
  );
  assert.equal(
    jobs,
    [job("j1", { state: "starting", hostId: "h1", tags: { zone: "a" }, placedAt: AT }) as Job].map((each) => ({
      ...each,
      need: needOf(release.processes["web"]!),
    })),
  );
  assert.equal(expect, [{ key: keys.job("a", "j1"), version: 7 }]);
});

const NO_ROOM = "no host has 100 MiB memory and 0.1 CPU free";

test("what finds no host waits with the reason, and wakes its app when room comes", () => {
  const { jobs, placed, blocked, more } = planned({ groups: [{ missing: 4 }] });
  assert.equal([placed, more], [2, false]);
  assert.equal(
    jobs.map(({ state, reason }) => `${state} ${reason}`),
    ["starting ", "starting ", `pending ${NO_ROOM}`, `pending ${NO_ROOM}`],
  );
  assert.equal(
    blocked.map(({ jobs, process, app, release }) => [jobs, process, app, release]),
    [[["r1/web"], "web", "a", "r1"]],
  );
});

test("a job that waits for the same reason and tags is not written again", () => {
  const full = { hosts: [host("h1", 50)] };
  const waiting = job("j1", { reason: NO_ROOM });
  const of = (each: Job) => planned({ groups: [{ waiting: [each] }] }, full);
  assert.equal([of(waiting).jobs, of(waiting).blocked.length], [[], 1]);
  assert.equal(of({ ...waiting, reason: "old" }).jobs, [waiting]);
  assert.equal(of({ ...waiting, tags: { old: "x" } }).jobs, [waiting]);
});

test("a turn changes no more jobs than its limit, and says that there is more", () => {
  const roomy = [host("h1", 4_000)];
  const of = (diff: Parameters<typeof planned>[0], limit: number) => {
    const { jobs, more } = planned(diff, { hosts: roomy, limit });
    return [jobs.length, more];
  };
  const endings = ["j1", "j2", "j3"].map((id): Ending => ({ job: job(id), to: "down" }));
  assert.equal(
    [of({ endings }, 3), of({ endings }, 2)],
    [
      [3, false],
      [2, true],
    ],
  );
  const waiting = [job("j1"), job("j2")];
  assert.equal(of({ groups: [{ waiting, missing: 1 }] }, 3), [3, false]);
  assert.equal(of({ groups: [{ waiting, missing: 1 }] }, 2), [2, true]);
  assert.equal(of({ groups: [{ waiting, missing: 0 }] }, 1), [1, true]);
  assert.equal(of({ endings, groups: [{ missing: 1 }] }, 3), [3, true]);
  assert.equal(of({ endings, tasks: [job("t", { task: {} as never })] }, 3), [3, true]);
  assert.equal(of({ endings, tasks: [job("t", { task: {} as never })] }, 4), [4, false]);
  assert.equal(of({ groups: [{ missing: 2 }, { missing: 2, process: "worker" }] }, 4), [4, false]);
});

test("a turn that fits nothing tells the rest why within its limit: what fits for none of the first fits for none", () => {
  const full = [host("h1", 50)];
  const waiting = [1, 2, 3, 4].map((n) => job(`w${n}`));
  const cut = planned({ groups: [{ waiting, missing: 2 }] }, { hosts: full, limit: 3 });
  assert.equal([cut.jobs.map(({ id }) => id), cut.more], [["w1", "w2", "w3"], true]);
  const whole = planned({ groups: [{ waiting, missing: 2 }] }, { hosts: full, limit: 6 });
  assert.equal([whole.jobs.length, whole.more, whole.blocked.length], [6, false, 1]);
  assert.ok(whole.jobs.every(({ reason, hostId }) => reason === NO_ROOM && hostId === undefined));
  const again = planned(
    { groups: [{ waiting: waiting.map((each) => ({ ...each, reason: NO_ROOM })) }] },
    { hosts: full, limit: 2 },
  );
  assert.equal([again.jobs, again.more], [[], false]);
});

test("a one-off goes to a host with its limits, or waits with the reason and is not written twice for it", () => {
  const task = job("j1", { task: {} as never, reason: "old" });
  const { jobs, placed, view } = planned({ tasks: [task] });
  assert.equal(jobs, [{ ...task, hostId: "h1", state: "starting", reason: "", placedAt: AT }]);
  assert.equal([placed, view.fleet.hostOfJob("j1")], [1, "h1"]);
  const full = { hosts: [host("h1", 50)] };
  const waits = planned({ tasks: [task] }, full);
  assert.equal(waits.jobs, [{ ...task, reason: NO_ROOM }]);
  assert.equal([waits.placed, waits.blocked.map(({ jobs }) => jobs)], [0, [["j1"]]]);
  assert.equal(planned({ tasks: [{ ...task, reason: NO_ROOM }] }, full).jobs, []);
});

test("jobs whose host is heard again start over, without their old end and reason, as many as the turn may change", () => {
  const lost = (id: string) => job(id, { state: "lost", hostId: "h1", reason: "host box-h1 fell silent", endedAt: AT });
  const back = (id: string) => job(id, { state: "starting", hostId: "h1" });
  const returned = [lost("j1"), lost("j2"), lost("j3")];
  const { jobs, more } = planned({ returned });
  assert.equal([jobs, more], [[back("j1"), back("j2"), back("j3")], false]);
  const cut = planned({ returned }, { limit: 2 });
  assert.equal([cut.jobs, cut.more], [[back("j1"), back("j2")], true]);
});

test("an app is looked at again at once when what was placed may replace what is kept on a silent host, and only then", () => {
  const groups = [{ missing: 1 }];
  assert.is(planned({ kept: 1, groups }).more, true);
  assert.is(planned({ kept: 2, groups: [{ missing: 2 }] }).more, true);
  assert.is(planned({ kept: 1, groups: [] }).more, false, "nothing was placed");
  assert.is(planned({ kept: 1, groups }, { hosts: [host("h1", 50)] }).more, false, "nothing found a host");
  assert.is(planned({ kept: 0, groups }).more, false);
  const lost: Ending = { job: { ...up, hostId: "h9" }, to: "lost" };
  assert.is(planned({ endings: [lost], groups }).more, true);
  assert.is(planned({ endings: [{ job: up, to: "stop" }], groups }).more, false);
});

test("nothing is placed beyond a turn's limit: what is not written holds no room", () => {
  const roomy = [host("h1", 4_000)];
  const endings = ["e1", "e2"].map((id): Ending => ({ job: job(id), to: "down" }));
  const task = job("t", { task: {} as never });
  const rows: [diff: Parameters<typeof planned>[0], limit: number][] = [
    [{ endings, groups: [{ missing: 2 }] }, 3],
    [{ groups: [{ waiting: [job("w1"), job("w2")], missing: 3 }] }, 3],
    [{ endings, tasks: [task] }, 2],
    [{ endings, groups: [{ missing: 2 }] }, 2],
  ];
  for (const [diff, limit] of rows) {
    const { placed, jobs, more, view } = planned(diff, { hosts: roomy, limit });
    const written = jobs.filter(({ state }) => state === "starting").length;
    assert.equal([placed, view.fleet.charged, more, jobs.length], [written, written, true, limit]);
  }
});

test("of those that were waiting for the same reason nothing is written, and the rest of the limit goes to the others", () => {
  const full = { hosts: [host("h1", 50)], limit: 2 };
  const waits = (id: string, over: Partial<Job> = {}) => job(id, { reason: NO_ROOM, ...over });
  const all = [
    waits("w1"),
    waits("w2"),
    waits("w3", { reason: "old" }),
    waits("w4", { tags: { old: "x" } }),
    waits("w5"),
  ];
  const turn = planned({ groups: [{ waiting: all }] }, full);
  assert.equal([turn.jobs, turn.more], [[waits("w3"), waits("w4")], false]);
  const made = planned({ groups: [{ waiting: all.slice(0, 2), missing: 2 }] }, full);
  assert.equal(
    made.jobs.map(({ state, reason }) => [state, reason]),
    [
      ["pending", NO_ROOM],
      ["pending", NO_ROOM],
    ],
  );
});

test("a turn that fails gives back what it took", () => {
  const hosts = [host("h1", 4_000)];
  const store = kept(Object.fromEntries(hosts.map((each) => [keys.host(each.id), each])));
  const view = new ClusterView(store);
  const type = release.processes["web"]!;
  const group = { release, process: "web", type, tags: {}, waiting: [], missing: 2 };
  const broken = { ...group, type: null } as unknown as Group;
  const diff = { endings: [], tasks: [], kept: 0, returned: [], groups: [group, broken] };
  const records = { app, versions: new Map(), diff } as AppRecords;
  assert.throws(() => planApp(records, { view, nowMs: NOW, limit: 9 }), TypeError);
  assert.equal([view.fleet.charged, view.freed.size], [0, 1]);
});

test("an app is read with its hosts: a silent job is kept while its host is in the cluster, and what just ended counts as that", () => {
  const lost = (id: string, hostId: string) => job(id, { state: "lost", hostId });
  const store = whole(2, [lost("j1", "h1"), lost("j2", "h9")], [host("h1", 250, { state: "lost" })]);
  const { diff } = readApp(store, new ClusterView(store), "a", 1_000);
  assert.equal([diff.kept, diff.endings.map(({ job, to }) => [job.id, to])], [1, [["j2", "stop"]]]);
  const failing = whole(1, []);
  const view = new ClusterView(failing);
  for (const id of ["e1", "e2", "e3"]) failing.put(keys.job("a", id), job(id, { state: "down", hostId: "h1" }));
  assert.is(readApp(failing, view, "a", 5_000).diff.retryAtMs, 6_000);
});

test("one per host holds within a turn, and when to look again comes from the difference", () => {
  const type = { ...release.processes["web"]!, antiAffinity: true };
  const turn = planned(
    { groups: [{ missing: 3, type }], retryAtMs: 5 },
    { hosts: [host("h1", 4_000), host("h2", 4_000)] },
  );
  assert.equal(
    turn.jobs.map(({ hostId }) => hostId),
    ["h1", "h2", undefined],
  );
  assert.is(turn.retryAtMs, 5);
});

/** An app that wants `count` jobs of web, with the jobs that it has. */
function whole(count: number, jobs: Job[], hosts: object[] = [host("h1")], over: object = {}): Kept {
  return kept({
    [keys.app("a")]: app,
    [keys.formation("a", "r1")]: { appId: "a", releaseId: "r1", processes: { web: { count, tags: {} } } },
    [keys.release("a", "r1")]: { ...release, ...over },
    ...Object.fromEntries(hosts.map((each) => [keys.host((each as Job).id), each])),
    ...Object.fromEntries(jobs.map((each) => [keys.job("a", each.id), each])),
  });
}
const lacks = (store: Kept, view = new ClusterView(store)) => differenceOf(store, view, "a", NOW);

test("the check of itself finds nothing when all is as wanted, and each thing that is not", () => {
  assert.is(lacks(whole(1, [up])), undefined);
  assert.is(lacks(whole(0, [up, { ...up, id: "j2" }])), "2 jobs to end");
  assert.is(lacks(whole(3, [up])), "2 jobs of web missing");
  assert.is(lacks(whole(1, [job("j1")])), "a waiting job of web fits a host");
  assert.is(lacks(whole(1, [job("j1")], [host("h1", 50)])), undefined, "it fits nowhere");
  const task = { ...job("t1"), task: {} as never };
  assert.is(lacks(whole(1, [up, task])), "waiting job t1 fits a host");
  assert.is(lacks(whole(1, [up, task], [host("h1", 150)])), undefined);
  const store = whole(1, [up]);
  const view = new ClusterView(store);
  view.fleet.release("j1");
  assert.is(lacks(store, view), "job j1 is not as remembered");
});

test("the check knows of one job per host", () => {
  const processes = { web: { ...release.processes["web"], antiAffinity: true } };
  const jobs = [up, job("j2")];
  assert.is(lacks(whole(2, jobs, [host("h1", 4_000)], { processes })), undefined);
  assert.is(lacks(whole(2, jobs, [host("h1", 4_000), host("h2")], { processes })), "a waiting job of web fits a host");
  assert.is(lacks(whole(2, jobs, [host("h1", 4_000)])), "a waiting job of web fits a host");
});

test("for each host it is said whether the job fits and why not", () => {
  const hosts = [host("h1", 4_000), host("h2", 50), host("h3", 4_000, { cordoned: true })];
  const store = whole(1, [up], hosts);
  const { fleet } = new ClusterView(store);
  const says = (of: Kept, each: Job) => verdictsOn(of, fleet, each).map(({ host, fits, why }) => [host, fits, why]);
  const short = "has only 50 MiB of the 100 MiB memory needed free";
  assert.equal(says(store, up), [
    ["box-h1", true, null],
    ["box-h2", false, short],
    ["box-h3", false, "is cordoned"],
  ]);
  const single = whole(1, [up], hosts, { processes: { web: { ...release.processes["web"], antiAffinity: true } } });
  assert.equal(says(single, up)[0], ["box-h1", false, "already runs one web of this app"]);
  assert.equal(says(single, { ...up, task: {} as never })[0], ["box-h1", true, null], "a one-off is beside them");
  store.put(keys.host("h4"), host("h4"));
  assert.equal(says(store, up)[3], ["box-h4", false, "is not known yet"]);
  store.put(keys.release("a", "r1"), undefined);
  assert.equal(says(store, up)[0], ["box-h1", true, null]);
});

test("a draining job is told to stop once it is drained or serves no longer, and only while it drains", () => {
  const draining = (id: string, over: Partial<Job> = {}) =>
    job(id, { desired: "drain", state: "up", hostId: "h1", ...over });
  const jobs = [
    draining("drained"),
    draining("serving"),
    draining("sick", { state: "unhealthy" }),
    draining("crashed", { state: "crashed" }),
    draining("stopped", { desired: "stop" }),
  ];
  const store = whole(0, jobs);
  const since = (seq: number) => ({ seq, sinceMs: 0 });
  const seqs = new Map([
    ...jobs.map((each, n) => [keys.job("a", each.id), since(n)] as const),
    ["jobs/a/gone", since(9)] as const,
  ]);
  const asked: [string, number][] = [];
  const wish = {
    draining: seqs,
    limit: 10,
    isDrained: (each: Job, { seq }: Draining) => asked.push([each.id, seq]) > 0 && each.id === "drained",
  };
  const { mutations, expect } = endsOfDrained(store, wish);
  assert.equal(
    mutations,
    [jobs[0]!, jobs[3]!].map((each) => ({ key: keys.job("a", each.id), value: { ...each, desired: "stop" } })) as never,
  );
  assert.equal(
    expect,
    mutations.map(({ key }) => ({ key, version: 1 })),
  );
  assert.equal(asked, [
    ["drained", 0],
    ["serving", 1],
    ["sick", 2],
  ]);
  assert.is(endsOfDrained(store, { ...wish, limit: 1 }).mutations.length, 1);
  const { appId, releaseId, process } = job("drained");
  const formation = { appId, releaseId, processes: { [process]: { count: 0, tags: {} } }, kept: { [process]: 1 } };
  store.put(keys.formation(appId, releaseId), formation);
  const left = endsOfDrained(store, wish).mutations.map(({ value }) => (value as Job).id);
  assert.not.ok(left.includes("drained"), "what is kept may have to serve again");
});

test.run();
