// Jobs that run once, by hostd's rules: one start, one end, and a client that holds their streams or does not.
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { JobSpec } from "#api/jobs.ts";
import { type Container, LABELS } from "../../hostd/engine/engine.ts";
import { containerSpec } from "../../hostd/job-container.ts";
import {
  ATTACH_WAIT_MS,
  type JobRecord,
  jobReport,
  newRecord,
  type Observation,
  observe,
  startFailed,
} from "../../hostd/job-record.ts";
import { type Decision, type PlanInput, plan, type Step } from "../../hostd/plan.ts";
import { container, job, target } from "./jobs.ts";

const NOW = 1_000_000;
const task = (over: Partial<NonNullable<JobSpec["task"]>> = {}) => ({
  kind: "run" as const,
  attach: false,
  tty: false,
  createdBy: "me",
  ...over,
});
const once = job({ task: task(), port: undefined });
const attached = job({ task: task({ attach: true }), port: undefined });

function decide(of: JobSpec, record: Partial<JobRecord> | undefined, fields: Partial<PlanInput> = {}): Decision {
  const records = new Map(record ? [["j1", { ...newRecord(of), ...record }]] : []);
  const base = { fresh: true, containers: [], busy: new Map(), engineHealthy: true, captured: new Set<string>() };
  return plan({ target: target([of]), records, ...base, nowMs: NOW, ...fields })[0]!;
}
const of = (spec: JobSpec, fields: Partial<Container> = {}) => ({ containers: [container(spec, fields)] });
const signal = (name: "SIGTERM" | "SIGKILL"): Step => ({ do: "signal", container: "flynn-j1", signal: name });
const remove: Step = { do: "remove", container: "flynn-j1" };
const own = { containerId: "c-j1" };

const TABLE: [claim: string, decision: Decision, step: Step | undefined, why: RegExp][] = [
  ["is created", decide(once, undefined), { do: "create", job: once, attempt: 0 }, /no container/],
  ["is not made again, whatever its exit code", decide(once, { state: "down", exitCode: 1 }), undefined, /runs once/],
  [
    "that has ended is removed",
    decide(once, { state: "down" }, { ...of(once, { status: "exited" }), captured: new Set(["c-j1"]) }),
    remove,
    /has run/,
  ],
  [
    "that has ended stays until its log is kept",
    decide(once, { state: "down", endSeenMs: NOW }, of(once, { status: "exited" })),
    undefined,
    /log is being kept/,
  ],
  [
    "runs on, however long it takes to be healthy",
    decide(once, { ...own, runningSinceMs: 0 }, of(once)),
    undefined,
    /runs, once/,
  ],
  [
    "of another spec than now is not started anew",
    decide(job({ ...once, env: { NEW: "1" } }), own, of(once)),
    undefined,
    /runs, once/,
  ],
  [
    "has its time",
    decide(job({ task: task({ timeoutMs: 5_000 }) }), { ...own, runningSinceMs: NOW - 4_999 }, of(once)),
    undefined,
    /runs, once/,
  ],
  [
    "past its time is told to end",
    decide(job({ task: task({ timeoutMs: 5_000 }) }), { ...own, runningSinceMs: NOW - 5_000 }, of(once)),
    signal("SIGTERM"),
    /ran longer than 5.0s/,
  ],
  [
    "for a client is not started before it comes",
    decide(attached, { waitsSinceMs: NOW - 10 }, of(attached, { status: "created" })),
    undefined,
    /waits for its client/,
  ],
  [
    "for nobody is started when it was only created",
    decide(once, undefined, of(once, { status: "created" })),
    { do: "start", container: "flynn-j1" },
    /never started/,
  ],
  [
    "whose client is there runs on",
    decide(attached, own, { ...of(attached), attached: new Set(["j1"]) }),
    undefined,
    /runs, once/,
  ],
  ["whose client has gone is told to end", decide(attached, own, of(attached)), signal("SIGTERM"), /client went away/],
  [
    "whose client has gone is killed soon after, whatever grace the process has",
    decide(
      job({ ...attached, stopTimeoutMs: 600_000 }),
      { ...own, stoppingSinceMs: NOW - 3_000, stopReason: "x" },
      of(attached),
    ),
    signal("SIGKILL"),
    /x/,
  ],
  [
    "without a client is told to end as every other",
    decide({ ...once, desired: "stop" }, own, of(once)),
    signal("SIGTERM"),
    /wants it stopped/,
  ],
];
for (const [claim, decision, step, why] of TABLE)
  test(`a job that runs once ${claim}`, () => {
    assert.equal(decision.step, step);
    assert.match(decision.why, why);
  });

test("a waiting job is looked at again when its client is late", () => {
  assert.is(
    decide(attached, { waitsSinceMs: NOW - 10 }, of(attached, { status: "created" })).dueMs,
    NOW - 10 + ATTACH_WAIT_MS,
  );
});

const see = (spec: JobSpec, record: Partial<JobRecord> | undefined, fields: Partial<Observation>): JobRecord =>
  observe({
    job: spec,
    record: record && { ...newRecord(spec), ...record },
    captured: true,
    nowMs: NOW,
    now: "t",
    ...fields,
  });

for (const [claim, fields, exitCode, reason] of [
  ["success, in no words", { exitCode: 0 }, 0, ""],
  ["failure, with its code", { exitCode: 3 }, 3, "exited 3"],
  ["a signal, by its name", { exitCode: 143 }, 143, "ended by SIGTERM"],
  ["memory, as memory", { exitCode: 137, oomKilled: true }, 137, "out of memory (limit 512 MiB)"],
] as const)
  test(`an end is told once and for all: ${claim}`, () => {
    const ended = see(once, own, { container: container(once, { status: "exited", ...fields }) });
    assert.equal([ended.state, ended.exitCode, ended.reason], ["down", exitCode, reason]);
    const later = see(once, ended, {});
    assert.equal(jobReport(later), jobReport(ended), "and the same when its container is gone");
  });

test("who stopped it is said before how it exited", () => {
  const ended = see(
    once,
    { ...own, stoppingSinceMs: 1, stopReason: "its client went away" },
    { container: container(once, { status: "exited", exitCode: 143 }) },
  );
  assert.equal([ended.state, ended.reason, ended.exitCode], ["down", "its client went away", 143]);
});

test("a client that does not come within a minute ends it; one on its way does not", () => {
  const created = container(attached, { status: "created" });
  const first = see(attached, undefined, { container: created });
  assert.equal([first.state, first.reason], ["starting", "waits for its client"]);
  const late = { container: created, nowMs: NOW + ATTACH_WAIT_MS };
  assert.is(see(attached, first, { ...late, attached: true }).state, "starting");
  const over = see(attached, first, late);
  assert.equal([over.state, over.reason], ["down", "no client came within 60 s"]);
});

test("a container that is gone, and a host that lost it, are ends and no reason to run it twice", () => {
  assert.match(see(once, own, {}).reason, "removed from outside");
  assert.is(see(once, own, {}).state, "down");
  assert.is(see({ ...once, started: true }, undefined, {}).state, "down");
  assert.is(see(once, undefined, {}).state, "starting");
});

for (const [reason, exitCode] of [
  ['cannot run "nope": executable file not found in $PATH', 127],
  ['cannot run "/etc/passwd": permission denied', 126],
  ["pull failed 5 times: no such image", undefined],
] as const)
  test(`a start that failed is an end with the code of a shell: ${reason}`, () => {
    const over = startFailed(newRecord(once), reason, { nowMs: NOW, now: "2026-01-01T00:00:00Z", job: once });
    assert.equal([over.state, over.exitCode, over.reason], ["down", exitCode, reason]);
  });

test("only a job with a client has its stdin open, and no log", () => {
  assert.is(containerSpec(once, target([]), [], 0).interactive, undefined);
  const spec = containerSpec(job({ task: task({ attach: true, tty: true }) }), target([]), [], 0);
  assert.equal(spec.interactive, { tty: true });
  assert.is(spec.labels[LABELS.attach], "1");
});

test.run();
