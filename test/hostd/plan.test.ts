import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { JobSpec } from "#api/jobs.ts";
import type { Quarantine } from "#api/quarantine.ts";
import { type Container, LABELS } from "../../hostd/engine/engine.ts";
import { ATTACH_WAIT_MS, type JobRecord, newRecord, observe, ownContainer } from "../../hostd/job-record.ts";
import { type Decision, nextDueMs, type PlanInput, plan, type Step, steps } from "../../hostd/plan.ts";
import { container, job, target } from "./jobs.ts";

const NOW = 1_000_000;

function decide(fields: Partial<PlanInput> & { record?: Partial<JobRecord> }): Decision {
  const { record, ...rest } = fields;
  const records = new Map(record ? [["j1", { ...newRecord(job()), ...record }]] : []);
  const [decision] = plan({
    target: target([job()]),
    fresh: true,
    containers: [],
    records,
    busy: new Map(),
    engineHealthy: true,
    captured: new Set(),
    nowMs: NOW,
    ...rest,
  });
  return decision!;
}

const own = container(job());
const exited = container(job(), { status: "exited", exitCode: 1 });
const gone = target([]);
const restored = (fields: Partial<Quarantine> = {}) =>
  target([], { quarantine: { restoredAt: "2026-11-29T10:00:00.000Z", at: "2026-11-29T00:00:00.000Z", ...fields } });
const lately = { ...own, startedAt: "2026-11-29T09:00:00Z" };

const TABLE: [claim: string, input: Parameters<typeof decide>[0], step: Step | undefined, why: RegExp][] = [
  ["a wanted job without a container is created", {}, { do: "create", job: job(), attempt: 0 }, /has no container/],
  ["a running job is left alone", { containers: [own], record: { upSinceMs: 1 } }, undefined, /runs, as wanted/],
  ["a running container without a record is adopted, not restarted", { containers: [own] }, undefined, /runs/],
  [
    "a container that was created and not started is started",
    { containers: [container(job(), { status: "created" })] },
    { do: "start", container: "flynn-j1" },
    /never started/,
  ],
  ["an ended container whose log is not yet kept stays", { containers: [exited] }, undefined, /its log is being kept/],
  [
    "an ended container whose log is kept is removed",
    { containers: [exited], captured: new Set([exited.id]) },
    { do: "remove", container: "flynn-j1" },
    /has ended/,
  ],
  [
    "an ended container whose log cannot be read goes after a minute",
    { containers: [exited], record: { endSeenMs: NOW - 60_000 } },
    { do: "remove", container: "flynn-j1" },
    /has ended/,
  ],
  [
    "a crashed job waits for its backoff",
    { record: { startAfterMs: NOW + 4_000, crashes: 3, endedId: "old" } },
    undefined,
    /starts again in 4.0s after 3 crashes/,
  ],
  [
    "a crashed job starts after its backoff, counted as a restart",
    { record: { startAfterMs: NOW, crashes: 3, endedId: "old", restarts: 2 } },
    { do: "create", job: job(), attempt: 3 },
    /has no container/,
  ],
  [
    "a job to be stopped gets SIGTERM",
    { target: target([job({ desired: "stop" })]), containers: [own] },
    { do: "signal", container: "flynn-j1", signal: "SIGTERM" },
    /control wants it stopped/,
  ],
  [
    "a job told to end has its grace",
    {
      target: target([job({ desired: "stop" })]),
      containers: [own],
      record: { containerId: own.id, stoppingSinceMs: NOW - 4_999 },
    },
    undefined,
    /has until SIGKILL/,
  ],
  [
    "a job past its grace gets SIGKILL",
    {
      target: target([job({ desired: "stop" })]),
      containers: [own],
      record: { containerId: own.id, stoppingSinceMs: NOW - 5_000 },
    },
    { do: "signal", container: "flynn-j1", signal: "SIGKILL" },
    /did not end within its grace/,
  ],
  [
    "a job that hostd was telling to end when it was killed itself has its time undisturbed",
    {
      target: target([job({ desired: "stop" })]),
      containers: [own],
      record: { containerId: own.id, stoppingSinceMs: NOW - 3_749, untold: true },
    },
    undefined,
    /has until SIGKILL/,
  ],
  [
    "one that may not have heard is told in the last quarter of its time",
    {
      target: target([job({ desired: "stop" })]),
      containers: [own],
      record: { containerId: own.id, stoppingSinceMs: NOW - 3_750, untold: true },
    },
    { do: "signal", container: "flynn-j1", signal: "SIGTERM" },
    /it may not have heard/,
  ],
  [
    "a process that survives SIGKILL is not flooded with it",
    {
      target: target([job({ desired: "stop" })]),
      containers: [own],
      record: { containerId: own.id, stoppingSinceMs: NOW - 9_000, killedAtMs: NOW - 3_000 },
    },
    undefined,
    /SIGKILL was sent/,
  ],
  [
    "a container that is not in a target from control is stopped",
    { target: gone, containers: [own] },
    { do: "signal", container: "flynn-j1", signal: "SIGTERM" },
    /no longer in the target/,
  ],
  [
    "a container that is not in a target from disk runs on",
    { target: gone, containers: [own], fresh: false },
    undefined,
    /until control has said so/,
  ],
  [
    "after a restore, a container that the restored state does not know runs on for ten minutes",
    { target: restored(), containers: [lately], quarantineSinceMs: NOW - 599_000 },
    undefined,
    /restored and does not know it; it runs on until a person decides/,
  ],
  [
    "and is ended then",
    { target: restored(), containers: [lately], quarantineSinceMs: NOW - 600_000 },
    { do: "signal", container: "flynn-j1", signal: "SIGTERM" },
    /no longer in the target/,
  ],
  [
    "and runs on for longer when a person says keep",
    { target: restored({ decision: "keep" }), containers: [lately], quarantineSinceMs: NOW - 9_000_000 },
    undefined,
    /kept, as a person decided/,
  ],
  [
    "and is ended at once when a person says end",
    { target: restored({ decision: "end" }), containers: [lately], quarantineSinceMs: NOW },
    { do: "signal", container: "flynn-j1", signal: "SIGTERM" },
    /no longer in the target/,
  ],
  [
    "a container that is older than the restored state is one that it knew to be gone",
    { target: restored(), containers: [{ ...own, startedAt: "2026-11-28T00:00:00Z" }], quarantineSinceMs: NOW },
    { do: "signal", container: "flynn-j1", signal: "SIGTERM" },
    /no longer in the target/,
  ],
  ...["2026-11-28T22:30:00Z", "2026-11-29T11:30:00Z"].map(
    (startedAt): [string, Parameters<typeof decide>[0], Step | undefined, RegExp] => [
      `a host's clock may be off by an hour and more: what it says was started at ${startedAt} runs on too`,
      { target: restored(), containers: [{ ...own, startedAt }], quarantineSinceMs: NOW },
      undefined,
      /until a person decides/,
    ],
  ),
  [
    "a container that was started after the restore is ended as any",
    { target: restored(), containers: [{ ...own, startedAt: "2026-11-29T13:00:00Z" }], quarantineSinceMs: NOW },
    { do: "signal", container: "flynn-j1", signal: "SIGTERM" },
    /no longer in the target/,
  ],
  [
    "of a state whose time is not known, all that ran before the restore is kept",
    { target: restored({ at: undefined }), containers: [{ ...own, startedAt: "2020-01-01T00:00:00Z" }] },
    undefined,
    /until a person decides/,
  ],
  ["without any target nothing is touched", { target: undefined, containers: [own] }, undefined, /no target/],
  [
    "with an engine that does not answer nothing is done",
    { engineHealthy: false, containers: [own], target: gone },
    undefined,
    /what runs goes on/,
  ],
  [
    "a container that claims to be a job's by its label alone keeps the job from nothing",
    { containers: [{ ...own, id: "c2", name: "somebody" }] },
    { do: "create", job: job(), attempt: 0 },
    /has no container/,
  ],
  [
    "one that took more of the disk than it may is killed at once",
    { containers: [own], excess: new Map([[own.id, "used 5 GiB of disk"]]) },
    { do: "signal", container: "flynn-j1", signal: "SIGKILL" },
    /used 5 GiB of disk/,
  ],
  [
    "and not again at once",
    {
      containers: [own],
      excess: new Map([[own.id, "used 5 GiB of disk"]]),
      record: { containerId: own.id, stoppingSinceMs: NOW, killedAtMs: NOW, stopReason: "used 5 GiB of disk" },
    },
    undefined,
    /used 5 GiB of disk/,
  ],
  [
    "a container made from another spec is stopped",
    { containers: [container(job({ env: { COLOUR: "red" } }))] },
    { do: "signal", container: "flynn-j1", signal: "SIGTERM" },
    /older spec/,
  ],
  [
    "a container whose spec was hashed by another hostd is adopted",
    { containers: [container(job(), { labels: { ...own.labels, [LABELS.spec]: "9:ffff" } })] },
    undefined,
    /runs/,
  ],
  [
    "a job still not healthy at its start timeout is stopped with the reason",
    {
      containers: [own],
      record: { containerId: own.id, runningSinceMs: NOW - 60_000, reason: "nothing listens on port 8080" },
    },
    { do: "signal", container: "flynn-j1", signal: "SIGTERM" },
    /^not healthy within 1m00s: nothing listens on port 8080$/,
  ],
  ["a step under way is waited for", { busy: new Map([["j1", "create"]]) }, undefined, /create is under way/],
  [
    "a start under way of a job no longer wanted is cancelled",
    { busy: new Map([["j1", "create"]]), target: gone, containers: [container(job(), { status: "created" })] },
    { do: "cancel" },
    /no longer wanted/,
  ],
];

const stopped = target([job({ desired: "stop" })]);
const sigterm = { do: "signal", container: "flynn-j1", signal: "SIGTERM" } as const;
const sigkill = { do: "signal", container: "flynn-j1", signal: "SIGKILL" } as const;
const removed = { do: "remove", container: "flynn-j1" } as const;
const stopping = (sinceMs: number, more: Partial<JobRecord> = {}) => ({
  containerId: own.id,
  stoppingSinceMs: NOW - sinceMs,
  ...more,
});

const ENDINGS: typeof TABLE = [
  [
    "an orphan has half a minute to end by itself",
    { target: gone, containers: [own], record: stopping(29_999) },
    undefined,
    /no longer in the target; has until SIGKILL/,
  ],
  ["and no longer", { target: gone, containers: [own], record: stopping(30_000) }, sigkill, /no longer in the target/],
  [
    "an orphan that ended goes",
    { target: gone, containers: [exited], captured: new Set([exited.id]) },
    removed,
    /target/,
  ],
  ["a stopped job without a container needs nothing", { target: stopped }, undefined, /stopped, as wanted/],
  [
    "a grace of nothing is a second all the same",
    { target: target([job({ desired: "stop", stopTimeoutMs: 0 })]), containers: [own], record: stopping(999) },
    undefined,
    /has until SIGKILL/,
  ],
  [
    "what was told to end is another container's past",
    { target: stopped, containers: [own], record: stopping(60_000, { containerId: "an older one" }) },
    sigterm,
    /control wants it stopped/,
  ],
  [
    "SIGKILL is sent again after ten seconds",
    { target: stopped, containers: [own], record: stopping(60_000, { killedAtMs: NOW - 10_000 }) },
    sigkill,
    /did not end within its grace/,
  ],
  [
    "a container that the engine removes is left to it",
    { target: stopped, containers: [container(job(), { status: "removing" })] },
    undefined,
    /the engine removes it/,
  ],
  [
    "a dead container is removed",
    { target: stopped, containers: [container(job(), { status: "dead" })] },
    removed,
    /./,
  ],
  [
    "one that was made and is no longer wanted never runs",
    { target: stopped, containers: [container(job(), { status: "created" })] },
    removed,
    /control wants it stopped/,
  ],
  [
    "one that could not be started is made anew, not started again",
    { containers: [container(job(), { status: "created", error: "no such program" })] },
    removed,
    /has ended/,
  ],
  [
    "one made from another spec and never started is made anew",
    { containers: [container(job({ env: { COLOUR: "red" } }), { status: "created" })] },
    removed,
    /has ended/,
  ],
  [
    "a job told to end on its own host ends, with the reason, though control wants it",
    { containers: [own], record: stopping(5_000, { stopReason: "out of memory" }) },
    sigkill,
    /^out of memory/,
  ],
  [
    "a step that is under way is not taken twice",
    { containers: [own], busy: new Map([["j1", "signal"]]) },
    undefined,
    /signal is under way/,
  ],
];

const once = (task: Partial<NonNullable<JobSpec["task"]>> = {}, more: Partial<JobSpec> = {}) =>
  target([job({ task: { kind: "run", attach: false, tty: false, createdBy: "ann", ...task }, ...more })]);
const created = container(job(), { status: "created" });
const attach = once({ attach: true });

const ONCE: typeof TABLE = [
  ["a job that runs once is made", { target: once() }, { do: "create", job: once().jobs[0]!, attempt: 0 }, /wanted/],
  ["and started", { target: once(), containers: [created] }, { do: "start", container: "flynn-j1" }, /never started/],
  ["and runs", { target: once(), containers: [own] }, undefined, /runs, once/],
  ["and is never made again", { target: once(), record: { state: "down" } }, undefined, /it has run, and runs once/],
  [
    "what is left of it is removed",
    { target: once(), containers: [exited], captured: new Set([exited.id]), record: { state: "down" } },
    removed,
    /it has run/,
  ],
  [
    "one that ended is removed, whatever its exit code",
    { target: once(), containers: [exited], captured: new Set([exited.id]) },
    removed,
    /its container has ended/,
  ],
  [
    "one that could not be started is not tried for ever",
    { target: once(), containers: [container(job(), { status: "created", error: "no such program" })] },
    removed,
    /its container has ended/,
  ],
  [
    "one with a client waits for it to come",
    { target: attach, containers: [created] },
    undefined,
    /waits for its client/,
  ],
  [
    "goes on while its client is there",
    { target: attach, containers: [own], attached: new Set(["j1"]) },
    undefined,
    /runs, once/,
  ],
  [
    "and ends when that client goes, not another's",
    { target: attach, containers: [own], attached: new Set(["j2"]) },
    sigterm,
    /its client went away/,
  ],
  [
    "nobody waits for a shell that does not hear SIGTERM: three seconds",
    { target: attach, containers: [own], record: stopping(2_999) },
    undefined,
    /has until SIGKILL/,
  ],
  ["and then SIGKILL", { target: attach, containers: [own], record: stopping(3_000) }, sigkill, /its grace/],
  [
    "a short stop time of its own is kept",
    { target: once({ attach: true }, { stopTimeoutMs: 2_000 }), containers: [own], record: stopping(2_000) },
    sigkill,
    /its grace/,
  ],
  [
    "without a client it has its own stop time",
    { target: once(), containers: [own], record: stopping(4_999) },
    undefined,
    /has until SIGKILL/,
  ],
  [
    "one that is to stop has three seconds with a client",
    { target: once({ attach: true }, { desired: "stop" }), containers: [own], record: stopping(3_000) },
    sigkill,
    /control wants it stopped/,
  ],
  [
    "one within its time runs on",
    { target: once({ timeoutMs: 2_000 }), containers: [own], record: { runningSinceMs: NOW - 1_999 } },
    undefined,
    /runs, once/,
  ],
  [
    "one past its time is ended, with the reason",
    { target: once({ timeoutMs: 2_000 }), containers: [own], record: { runningSinceMs: NOW - 2_000 } },
    sigterm,
    /ran longer than 2.0s/,
  ],
];

for (const [claim, input, step, why] of [...TABLE, ...ENDINGS, ...ONCE])
  test(claim, () => {
    const decision = decide(input);
    assert.equal(decision.step, step);
    assert.match(decision.why, why);
  });

test("the plan says when to look again", () => {
  const decisions = [
    decide({ record: { startAfterMs: NOW + 4_000, endedId: "x" } }),
    decide({ containers: [own], record: { containerId: own.id, runningSinceMs: NOW - 59_000 } }),
  ];
  assert.is(nextDueMs(decisions), NOW + 1_000);
  assert.is(nextDueMs([...decisions, { jobId: "idle", why: "it runs" }]), NOW + 1_000, "what waits for nothing");
  assert.is(nextDueMs([]), Number.POSITIVE_INFINITY);
});

test("whatever waits is looked at again when its time is over, not before and not never", () => {
  const dues: [claim: string, input: Parameters<typeof decide>[0], dueMs: number | undefined][] = [
    ["a grace", { target: stopped, containers: [own], record: stopping(2_000) }, NOW + 3_000],
    ["an orphan's grace", { target: gone, containers: [own], record: stopping(2_000) }, NOW + 28_000],
    ["a second at least", { target: once({ attach: true }), containers: [own], record: stopping(2_000) }, NOW + 1_000],
    [
      "SIGKILL",
      { target: stopped, containers: [own], record: stopping(9_000, { killedAtMs: NOW - 3_000 }) },
      NOW + 7_000,
    ],
    ["a log that is being kept", { containers: [exited] }, NOW + 1_000],
    ["a client that is to come", { target: attach, containers: [created] }, NOW + ATTACH_WAIT_MS],
    [
      "a client that did not come",
      { target: attach, containers: [created], record: { waitsSinceMs: 5 } },
      5 + ATTACH_WAIT_MS,
    ],
    [
      "a time limit",
      { target: once({ timeoutMs: 2_000 }), containers: [own], record: { runningSinceMs: NOW } },
      NOW + 2_000,
    ],
    ["nothing", { containers: [own], record: { upSinceMs: 1 } }, undefined],
  ];
  for (const [claim, input, dueMs] of dues) assert.is(decide(input).dueMs, dueMs, claim);
});

test("only what has a step is applied", () => {
  const [todo, idle] = [decide({}), decide({ containers: [own] })];
  assert.equal(steps([todo, idle]), [todo]);
});

// A world of containers that obey at once; what the engine holds is the only memory beside the records.
class World {
  containers: Container[];
  records = new Map<string, JobRecord>();
  jobs: JobSpec[];
  nowMs = NOW;
  made = 0;
  constructor(jobs: JobSpec[], containers: Container[]) {
    this.jobs = jobs;
    this.containers = containers;
  }
  look(): void {
    const ids = new Set([
      ...this.jobs.map(({ id }) => id),
      ...this.containers.map(({ labels }) => labels[LABELS.job]!),
    ]);
    for (const jobId of ids) {
      const seen = observe({
        job: this.jobs.find(({ id }) => id === jobId),
        record: this.records.get(jobId),
        container: ownContainer(
          this.containers.filter(({ labels }) => labels[LABELS.job] === jobId),
          jobId,
        ),
        health: { state: "healthy", reason: "" },
        captured: true,
        nowMs: this.nowMs,
        now: "2026-01-01T00:00:00Z",
        random: () => 0.5,
      });
      this.records.set(jobId, seen);
    }
  }
  decisions(): Decision[] {
    this.look();
    return plan({
      target: target(this.jobs),
      fresh: true,
      containers: this.containers,
      records: this.records,
      busy: new Map(),
      engineHealthy: true,
      captured: new Set(this.containers.map(({ id }) => id)),
      nowMs: this.nowMs,
    });
  }
  apply({ jobId, step, why }: Decision): void {
    const set = (name: string, fields: Partial<Container>) => {
      this.containers = this.containers.map((found) => (found.name === name ? { ...found, ...fields } : found));
    };
    if (step?.do === "create") {
      assert.not.ok(
        this.containers.some(({ name }) => name === `flynn-${jobId}`),
        "a name is never created twice",
      );
      this.containers = [...this.containers, container(step.job, { id: `made-${++this.made}` })];
      this.records.set(jobId, { ...this.records.get(jobId)!, restarts: step.attempt });
    }
    if (step?.do === "start") set(step.container, { status: "running" });
    if (step?.do === "remove") this.containers = this.containers.filter(({ name }) => name !== step.container);
    if (step?.do === "signal") {
      set(step.container, { status: "exited", exitCode: 143 });
      this.records.set(jobId, { ...this.records.get(jobId)!, stoppingSinceMs: this.nowMs, stopReason: why });
    }
  }
}

const anyStatus = fc.constantFrom<Container["status"]>("created", "running", "exited", "dead");
const anyJob = fc.record({
  id: fc.constantFrom("a", "b", "c", "d"),
  desired: fc.constantFrom<JobSpec["desired"]>("run", "stop"),
  env: fc.constantFrom<Record<string, string>>({}, { X: "1" }),
});
const anyContainer = fc.record({
  of: anyJob,
  status: anyStatus,
  name: fc.option(fc.constantFrom("stray-1", "stray-2"), { nil: undefined }),
});
const anyWorld = fc.record({
  jobs: fc.uniqueArray(anyJob, { selector: ({ id }) => id }),
  // The engine itself keeps names unique.
  containers: fc.uniqueArray(anyContainer, { selector: ({ of, name }) => name ?? of.id, maxLength: 6 }),
});

test("from any start the plan reaches the target, is empty there, and never makes two containers of a job", () => {
  fc.assert(
    fc.property(anyWorld, (start) => {
      const world = new World(
        start.jobs.map((fields) => job(fields)),
        start.containers.map(({ of, status, name }, n) =>
          container(job(of), { id: `c${n}`, status, exitCode: 0, ...(name ? { name } : {}) }),
        ),
      );
      for (let round = 0; round < 20; round++) {
        const todo = steps(world.decisions());
        for (const decision of todo) world.apply(decision);
        const alive = world.containers.filter(({ name }) => name.startsWith("flynn-"));
        assert.is(new Set(alive.map(({ name }) => name)).size, alive.length);
        if (todo.length === 0)
          world.nowMs = Math.max(world.nowMs + 1, Math.min(nextDueMs(world.decisions()), world.nowMs + 10_000));
      }
      assert.equal(steps(world.decisions()), []);
      const wanted = world.jobs.filter(({ desired }) => desired === "run").map(({ id }) => `flynn-${id}`);
      const strays: string[] = start.containers.flatMap(({ name }) => name ?? []);
      const jobs = world.containers.filter(({ name }) => !strays.includes(name));
      assert.equal(jobs.map(({ name }) => name).sort(), wanted.sort());
      assert.ok(jobs.every(({ status }) => status === "running"));
      assert.is(world.containers.length, jobs.length + strays.length, "what only claims to be a job's is left alone");
    }),
    { numRuns: 300 },
  );
});

test("a plan applied once and looked at again without time passing has no step twice", () => {
  fc.assert(
    fc.property(anyWorld, (start) => {
      const world = new World(
        start.jobs.map((fields) => job(fields)),
        start.containers.map(({ of, status, name }, n) =>
          container(job(of), { id: `c${n}`, status, exitCode: 0, ...(name ? { name } : {}) }),
        ),
      );
      const first = steps(world.decisions());
      for (const decision of first) world.apply(decision);
      const again = steps(world.decisions());
      for (const { step } of first)
        assert.not.ok(again.some((decision) => JSON.stringify(decision.step) === JSON.stringify(step)));
    }),
    { numRuns: 300 },
  );
});

test("time passing does not change a running job's container", () => {
  const world = new World([job()], [container(job())]);
  for (let day = 0; day < 30; day++) {
    for (const decision of steps(world.decisions())) world.apply(decision);
    const record = world.records.get("j1")!;
    world.records.set("j1", { ...record, state: "up", upSinceMs: record.upSinceMs ?? world.nowMs });
    world.nowMs += 86_400_000;
  }
  assert.equal(
    world.containers.map(({ id }) => id),
    ["c-j1"],
  );
});

test.run();
