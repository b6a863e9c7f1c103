import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { JobSpec } from "#api/jobs.ts";
import { type Container, LABELS } from "../../hostd/engine/engine.ts";
import { type JobRecord, newRecord, observe, ownContainer } from "../../hostd/job-record.ts";
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
  ["without any target nothing is touched", { target: undefined, containers: [own] }, undefined, /no target/],
  [
    "with an engine that does not answer nothing is done",
    { engineHealthy: false, containers: [own], target: gone },
    undefined,
    /what runs goes on/,
  ],
  [
    "a second container of one job is removed before anything else",
    { containers: [own, { ...own, id: "c2", name: "somebody" }] },
    { do: "remove", container: "somebody" },
    /is not the container of job j1/,
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

for (const [claim, input, step, why] of TABLE)
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
  assert.is(nextDueMs([]), Number.POSITIVE_INFINITY);
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
      assert.equal(world.containers.map(({ name }) => name).sort(), wanted.sort());
      assert.ok(world.containers.every(({ status }) => status === "running"));
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
