import * as fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { App, Formation, Release } from "#api/apps.ts";
import { isEnded, type Job, type JobState } from "#api/jobs.ts";
import { type AppView, chooseSurplus, diffApp } from "../../../control/scheduler/diff.ts";
import { expiredJobs } from "../../../control/scheduler/expired-jobs.ts";
import { isWanted } from "../../../control/scheduler/job-rules.ts";

const AT = "2026-01-01T00:00:00.000Z";
const NOW = Date.parse(AT) + 1_000;
const app: App = { id: "app-1", name: "one", strategy: "rolling", deployTimeoutMs: 1000, createdAt: AT };

function release(id: string): Release {
  const processes = { web: { port: 8080 }, worker: { port: null } };
  return {
    id,
    appId: app.id,
    version: 1,
    artifactId: "art",
    processes,
    env: {},
    description: "",
    createdAt: AT,
    createdBy: "me",
  };
}

function job(id: string, over: Partial<Job> = {}): Job {
  const need = { cpuMillis: 100, memoryBytes: 512 * 1024 ** 2, diskBytes: 0 };
  return {
    id,
    appId: app.id,
    app: app.name,
    releaseId: "r1",
    version: 1,
    process: "web",
    desired: "run",
    state: "up",
    reason: "",
    hostId: "h1",
    need,
    tags: {},
    port: 8080,
    restarts: 0,
    createdAt: AT,
    ...over,
  };
}

function formation(releaseId: string, web: number, worker = 0): Formation {
  return {
    appId: app.id,
    releaseId,
    processes: { web: { count: web, tags: {} }, worker: { count: worker, tags: {} } },
  };
}

function view(over: Partial<AppView>): AppView {
  const releases = new Map(["r1", "r2"].map((id) => [id, release(id)]));
  const there = { isGone: () => false, isRemoved: () => false, isHeard: () => true, isLeaving: () => false };
  const endedMs = ({ endedAt, createdAt }: Job) => Date.parse(endedAt ?? createdAt);
  return { app, formations: [], releases, jobs: [], ...there, nowMs: NOW, endedMs, ...over };
}

const summary = (over: Partial<AppView>) => {
  const { groups, endings } = diffApp(view(over));
  return {
    missing: groups.map((group) => `${group.release.id} ${group.process} ${group.missing}+${group.waiting.length}`),
    endings: endings.map(({ job, to }) => `${job.id} ${to}`),
  };
};

const waiting = (id: string) => job(id, { state: "pending", hostId: undefined });

const silent = (id: string, over: Partial<Job> = {}) => job(id, { state: "lost", ...over });

const leaving = { isLeaving: (hostId: string) => hostId === "h1" };
const elsewhere = (id: string, over: Partial<Job> = {}) => job(id, { hostId: "h2", ...over });

const table: [title: string, over: Partial<AppView>, missing: string[], endings: string[]][] = [
  [
    "a host that is drained: replacements are made while its jobs go on",
    { ...leaving, formations: [formation("r1", 2)], jobs: [job("a"), job("b")] },
    ["r1 web 2+0"],
    [],
  ],
  [
    "a host that is drained: a job ends for each replacement that is up, not for one that starts",
    {
      ...leaving,
      formations: [formation("r1", 2)],
      jobs: [
        job("a"),
        job("b", { createdAt: "2026-01-01T00:00:00.500Z" }),
        elsewhere("c"),
        elsewhere("d", { state: "starting" }),
      ],
    },
    [],
    ["b drain"],
  ],
  [
    "a host that is drained: scaled down meanwhile, what is elsewhere suffices",
    { ...leaving, formations: [formation("r1", 1)], jobs: [job("a"), elsewhere("c")] },
    [],
    ["a drain"],
  ],
  ["as wanted: nothing", { formations: [formation("r1", 1)], jobs: [job("a")] }, [], []],
  [
    "missing jobs are made",
    { formations: [formation("r1", 3, 1)], jobs: [job("a")] },
    ["r1 web 2+0", "r1 worker 1+0"],
    [],
  ],
  [
    "waiting jobs count and want a host",
    { formations: [formation("r1", 2)], jobs: [job("a"), waiting("b")] },
    ["r1 web 0+1"],
    [],
  ],
  [
    "a healthy surplus job is drained",
    { formations: [formation("r1", 1)], jobs: [job("a"), job("b")] },
    [],
    ["b drain"],
  ],
  [
    "a starting surplus job is stopped",
    { formations: [formation("r1", 1)], jobs: [job("a"), job("b", { state: "starting" })] },
    [],
    ["b stop"],
  ],
  [
    "a waiting surplus job just ends",
    { formations: [formation("r1", 1)], jobs: [job("a"), waiting("b")] },
    [],
    ["b down"],
  ],
  [
    "a release without formation ends",
    { formations: [formation("r2", 1)], jobs: [job("a")] },
    ["r2 web 1+0"],
    ["a drain"],
  ],
  [
    "a process no longer in the formation ends",
    { formations: [formation("r1", 1)], jobs: [job("a"), job("b", { process: "old" })] },
    [],
    ["b drain"],
  ],
  [
    "an app being deleted ends",
    { app: { ...app, deleting: true }, formations: [formation("r1", 1)], jobs: [job("a")] },
    [],
    ["a drain"],
  ],
  ["an app that is gone ends", { app: undefined, formations: [formation("r1", 1)], jobs: [job("a")] }, [], ["a drain"]],
  [
    "draining and stopping jobs do not count",
    {
      formations: [formation("r1", 2)],
      jobs: [job("a", { desired: "drain" }), job("b", { desired: "stop", state: "stopping" })],
    },
    ["r1 web 2+0"],
    [],
  ],
  [
    "a crashed job counts: its host starts it again",
    { formations: [formation("r1", 1)], jobs: [job("a", { state: "crashed" })] },
    [],
    [],
  ],
  [
    "jobs of a gone host are lost and replaced",
    { formations: [formation("r1", 1)], jobs: [job("a")], isGone: () => true },
    ["r1 web 1+0"],
    ["a lost"],
  ],
  [
    "a job of a silent host is made elsewhere, and kept as long as nothing replaced it",
    { isHeard: () => false, formations: [formation("r1", 1)], jobs: [silent("a"), waiting("b")] },
    ["r1 web 0+1"],
    [],
  ],
  [
    "of three on silent hosts those are given up that were replaced",
    {
      isHeard: () => false,
      formations: [formation("r1", 3)],
      jobs: [silent("a"), silent("b"), silent("c"), elsewhere("d"), elsewhere("e"), waiting("f")],
    },
    ["r1 web 0+1"],
    ["b stop", "c stop"],
  ],
  [
    "its host is heard again: it returns at once, and what waited is not needed any more",
    { formations: [formation("r1", 1)], jobs: [silent("a"), waiting("b")] },
    [],
    ["b down"],
  ],
  [
    "heard again before it was replaced: what waited is not needed any more",
    { formations: [formation("r1", 1)], jobs: [job("a"), waiting("b")] },
    [],
    ["b down"],
  ],
  [
    "a silent job that is wanted no more, or whose host was removed, is given up",
    {
      formations: [formation("r1", 1)],
      jobs: [silent("a", { process: "worker" }), silent("b")],
      isRemoved: () => true,
    },
    ["r1 web 1+0"],
    ["b stop", "a stop"],
  ],
  [
    "of two that wait for a host one too many ends, and the other still wants one",
    { formations: [formation("r1", 1)], jobs: [waiting("a"), waiting("b")] },
    ["r1 web 0+1"],
    ["b down"],
  ],
  [
    "silent jobs of a release that has no formation any more are given up",
    { formations: [], jobs: [silent("a"), silent("b", { releaseId: "r2", hostId: "h2" })] },
    [],
    ["a stop", "b stop"],
  ],
  [
    "of two silent ones that one is kept whose host is heard, though it is the younger",
    {
      isHeard: (hostId: string) => hostId === "h2",
      formations: [formation("r1", 1)],
      jobs: [silent("a"), silent("b", { hostId: "h2", createdAt: "2026-01-01T00:00:00.500Z" })],
    },
    [],
    ["a stop"],
  ],
  [
    "of two silent ones whose hosts are heard the older returns, in whatever order they are listed",
    {
      formations: [formation("r1", 1)],
      jobs: [silent("a", { hostId: "h2", createdAt: "2026-01-01T00:00:00.500Z" }), silent("b")],
    },
    [],
    ["a stop"],
  ],
  [
    "a draining job of a gone host is lost and not replaced",
    { formations: [formation("r1", 0)], jobs: [job("a", { desired: "drain" })], isGone: () => true },
    [],
    ["a lost"],
  ],
  [
    "a job told to stop before it had a host ends",
    { formations: [formation("r1", 0)], jobs: [job("a", { state: "pending", hostId: undefined, desired: "stop" })] },
    [],
    ["a down"],
  ],
  [
    "a formation whose release is not known changes nothing",
    { formations: [formation("r9", 1)], jobs: [job("a", { releaseId: "r9" })] },
    [],
    [],
  ],
  [
    "a formation's process named like an object's machinery is no process",
    { formations: [{ ...formation("r1", 0), processes: { constructor: { count: 1, tags: {} } } }] },
    [],
    [],
  ],
];
test("diff: a release without an image makes no jobs", () => {
  const { artifactId: _, ...bare } = release("r1");
  assert.equal(diffApp(view({ formations: [formation("r1", 2)], releases: new Map([["r1", bare]]) })).groups, []);
});

for (const [title, over, missing, endings] of table) {
  test(`diff: ${title}`, () => assert.equal(summary(over), { missing, endings }));
}

test("a kept job that drains serves again when it is asked for, before a new one is made; one that is not kept ends", () => {
  const drains = (id: string, over: Partial<Job> = {}) => job(id, { desired: "drain", ...over });
  const jobs = [drains("a"), drains("b", { state: "crashed" }), drains("c", { hostId: "h2" })];
  const asked = formation("r1", 3);
  const kept = { ...asked, kept: { web: 3 } };
  const left = (over: Partial<AppView>) => {
    const { recalled = [], groups } = diffApp(view({ jobs, ...over }));
    return [recalled.map(({ id }) => id), groups.map(({ missing }) => missing)];
  };
  assert.equal(left({ formations: [kept] }), [["a", "c"], [1]]);
  assert.equal(left({ formations: [asked] }), [[], [3]]);
  assert.equal(left({ formations: [{ ...formation("r1", 0), kept: { web: 3 } }] }), [[], []]);
  assert.equal(left({ formations: [kept], isGone: (hostId) => hostId === "h2" })[0], ["a"]);
  assert.equal(left({ formations: [kept], ...leaving })[0], ["c"]);
});

test("surplus order: without host, crashed, unhealthy, starting, then most crowded host, then newest", () => {
  const at = (n: number) => new Date(Date.parse(AT) + n).toISOString();
  const jobs = [
    job("old-crowded", { createdAt: at(1) }),
    job("mid-crowded", { createdAt: at(2) }),
    job("new-crowded", { createdAt: at(3) }),
    job("lone", { hostId: "h2", createdAt: at(9) }),
    job("starting", { hostId: "h3", state: "starting" }),
    job("unhealthy", { hostId: "h4", state: "unhealthy" }),
    job("crashed", { hostId: "h5", state: "crashed" }),
    waiting("waiting"),
  ];
  const order = chooseSurplus(jobs, jobs.length).map(({ id }) => id);
  assert.equal(order, [
    "waiting",
    "crashed",
    "unhealthy",
    "starting",
    "new-crowded",
    "mid-crowded",
    "lone",
    "old-crowded",
  ]);
});

test("what is worth less ends first, though it is older: without a host, not running, unhealthy, starting, up", () => {
  const ranks: Partial<Job>[][] = [
    [{ state: "pending", hostId: undefined as never }],
    [{ state: "pending" }, { state: "crashed" }, { state: "stopping" }],
    [{ state: "unhealthy" }],
    [{ state: "starting" }],
    [{ state: "up" }],
  ];
  for (const [rank, lesser] of ranks.slice(0, -1).entries())
    for (const worse of lesser)
      for (const better of ranks[rank + 1]!) {
        const older = job("older", { ...worse });
        const newer = job("newer", { ...better, hostId: "h2", createdAt: "2026-01-01T00:00:00.500Z" });
        for (const jobs of [
          [older, newer],
          [newer, older],
        ])
          assert.equal(
            chooseSurplus(jobs, 1).map(({ id }) => id),
            ["older"],
            `${worse.state} before ${better.state}`,
          );
      }
});

test("property: which jobs end does not hang on the order in which they are read", async () => {
  const parts = fc.record({
    state: fc.constantFrom<JobState>("pending", "starting", "up", "unhealthy", "crashed"),
    hostId: fc.constantFrom("h1", "h2", "h3"),
    age: fc.nat(2),
  });
  const shuffled = fc
    .array(parts, { maxLength: 9 })
    .map((all) =>
      all.map(({ age, ...over }, n) => job(`j${n}`, { ...over, createdAt: new Date(NOW + age).toISOString() })),
    )
    .chain((jobs) => fc.tuple(fc.constant(jobs), fc.shuffledSubarray(jobs, { minLength: jobs.length })));
  const ids = (jobs: readonly Job[], count: number) => chooseSurplus(jobs, count).map(({ id }) => id);
  const check = fc.property(shuffled, fc.nat(9), ([jobs, others], count) => {
    assert.equal(ids(jobs, count), ids(others, count));
    assert.equal(
      ids(jobs, jobs.length).slice(0, count),
      ids(jobs, count),
      "one more to end changes who ends before it",
    );
    const up = jobs.filter(({ state }) => state === "up");
    const onHost = (id: string) => up.filter(({ hostId }) => hostId === id).length;
    const [first] = ids(up, 1);
    const crowd = Math.max(...["h1", "h2", "h3"].map(onHost));
    if (first !== undefined)
      assert.is(onHost(up.find(({ id }) => id === first)!.hostId!), crowd, "not the most crowded");
  });
  await fc.assert(check, { numRuns: 300 });
});

test("what returns and what is only kept on silent hosts are counted apart", () => {
  const counted = (over: Partial<AppView>) => {
    const { kept, returned } = diffApp(view(over));
    return [kept, returned.map(({ id }) => id)];
  };
  const jobs = [silent("a"), silent("b", { hostId: "h2" }), silent("c", { hostId: "h3" })];
  assert.equal(counted({ formations: [formation("r1", 3)], jobs }), [0, ["a", "b", "c"]]);
  assert.equal(counted({ formations: [formation("r1", 3)], jobs, isHeard: () => false }), [3, []]);
  const isHeard = (hostId: string) => hostId === "h2";
  assert.equal(counted({ formations: [formation("r1", 2)], jobs, isHeard }), [1, ["b"]]);
  assert.equal(counted({ formations: [formation("r1", 2)], jobs: [job("d"), job("e")] }), [0, []]);
});

test("a job that keeps ending is made again at once twice, then ever later", () => {
  const ended = (n: number) => job(`e${n}`, { state: "down", endedAt: new Date(NOW - 100 * n).toISOString() });
  const retryIn = (count: number) => {
    const jobs = Array.from({ length: count }, (_, n) => ended(n));
    const diff = diffApp(view({ formations: [formation("r1", 1)], jobs }));
    return diff.retryAtMs === undefined ? "now" : diff.retryAtMs - NOW;
  };
  assert.equal([1, 2, 3, 4, 5, 20].map(retryIn), ["now", "now", 1_000, 2_000, 4_000, 300_000]);
  const made = (agoMs: number[], nowMs: number, count = 1) => {
    const jobs = agoMs.map((ago, n) => job(`e${n}`, { state: "down", endedAt: new Date(NOW - ago).toISOString() }));
    const diff = diffApp(view({ formations: [formation("r1", count)], jobs, nowMs }));
    return [diff.groups.map(({ missing }) => missing), diff.retryAtMs === undefined ? "now" : diff.retryAtMs - NOW];
  };
  assert.equal(made([0, 1, 2], NOW + 999), [[], 1_000], "held back, so nothing is made");
  assert.equal(made([0, 1, 2], NOW + 1_000), [[1], "now"], "its time has come");
  assert.equal(made([0, 1, 599_999], NOW), [[], 1_000]);
  assert.equal(made([0, 1, 600_000], NOW), [[1], "now"], "what ended ten minutes ago counts no more");
  assert.equal(made([0, 1, 2], NOW, 0), [[], "now"], "nothing is missing, so nothing is looked at again");
  const asked = Array.from({ length: 9 }, (_, n) => ({ ...ended(n), desired: "stop" as const }));
  assert.equal(
    diffApp(view({ formations: [formation("r1", 1)], jobs: asked })).groups[0]?.missing,
    1,
    "asked ends are no failures",
  );
});

test("property: applying a diff leaves nothing to do", async () => {
  const states: JobState[] = ["pending", "starting", "up", "unhealthy", "crashed", "stopping", "down", "lost"];
  const anyJob = fc
    .record({
      releaseId: fc.constantFrom("r1", "r2"),
      process: fc.constantFrom("web", "worker", "old"),
      state: fc.constantFrom(...states),
      desired: fc.constantFrom<Job["desired"]>("run", "run", "run", "drain", "stop"),
      hostId: fc.constantFrom("h1", "h2", "gone"),
    })
    .map((each) => ({ ...each, ...(each.state === "pending" ? { hostId: undefined } : {}) }));
  const check = fc.property(
    fc.array(anyJob, { maxLength: 12 }),
    fc.array(fc.tuple(fc.nat(4), fc.nat(4)), { maxLength: 2 }),
    fc.boolean(),
    (parts, counts, deleting) => {
      const formations = counts.map(([web, worker], n) => formation(`r${n + 1}`, web, worker));
      const isGone = (id: string) => id === "gone";
      const nowMs = NOW + 86_400_000;
      let jobs = parts.map((each, n) => job(`j${n}`, each));
      const isHeard = (id: string) => id !== "gone";
      const base = { app: { ...app, deleting }, formations, isGone, isHeard, nowMs };
      const first = diffApp(view({ ...base, jobs }));
      assert.is(new Set(first.endings.map((each) => each.job.id)).size, first.endings.length, "no job ends twice");
      const to = new Map(first.endings.map((each) => [each.job.id, each.to]));
      jobs = jobs.map((each) => {
        const end = to.get(each.id);
        if (first.returned.includes(each)) return { ...each, state: "starting" };
        if (end === undefined)
          return each.hostId === undefined && isWanted(each) ? { ...each, hostId: "h1", state: "starting" } : each;
        if (end === "lost" || end === "down") return { ...each, desired: "stop", state: end };
        return { ...each, desired: end };
      });
      for (const group of first.groups) {
        for (let n = 0; n < group.missing; n++) {
          jobs.push(
            job(`new-${group.release.id}-${group.process}-${n}`, {
              releaseId: group.release.id,
              process: group.process,
            }),
          );
        }
      }
      // What was made now replaces what was kept on silent hosts.
      for (const { job: given, to: end } of diffApp(view({ ...base, jobs })).endings) {
        assert.equal([given.state, end], ["lost", "stop"]);
        jobs = jobs.map((each) => (each.id === given.id ? { ...each, desired: "stop" } : each));
      }
      const second = diffApp(view({ ...base, jobs }));
      assert.equal(second.groups, []);
      assert.equal(second.endings, []);
      for (const { releaseId, processes } of deleting ? [] : formations) {
        for (const [process, { count }] of Object.entries(processes)) {
          const held = jobs.filter(
            (each) => isWanted(each) && each.releaseId === releaseId && each.process === process,
          );
          assert.is(held.length, count);
        }
      }
    },
  );
  await fc.assert(check, { numRuns: 500 });
});

test("ended jobs are kept a while, the newest longest; jobs that are not over are never dropped", () => {
  const old = (n: number, state: JobState, ageMs: number) => ({
    key: `k${n}`,
    value: job(`j${n}`, { desired: "stop", state, endedAt: new Date(NOW - ageMs).toISOString() }),
  });
  const many = Array.from({ length: 30 }, (_, n) => old(n, n % 2 ? "down" : "lost", 3_600_000 + n));
  const gone = expiredJobs([...many, old(98, "up", 1e12)], NOW);
  assert.equal(
    gone,
    Array.from({ length: 10 }, (_, n) => `k${n + 20}`),
  );
  assert.equal(expiredJobs([old(1, "down", 2 * 86_400_000)], NOW), ["k1"]);
  const { key, value } = old(2, "lost", 2 * 86_400_000);
  assert.equal(expiredJobs([{ key, value: { ...value, desired: "run" } }], NOW), [], "its host may return");
  assert.ok(isEnded(many[0]!.value));
});

test.run();
