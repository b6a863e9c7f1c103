// One turn of the agent as rules: whom it follows, and what a look makes of the records.
import { test } from "uvu";
import * as assert from "uvu/assert";
import {
  type Following,
  followingKept,
  followingNext,
  recordsAfterLook,
  stoppingContainers,
  targetOf,
  unansweredJobs,
  watchedContainers,
} from "../../hostd/agent-step.ts";
import { type JobRecord, newRecord } from "../../hostd/job-record.ts";
import { container, job, target } from "./jobs.ts";

const A = job({ id: "a" });
const B = job({ id: "b" });
const record = (of: typeof A, fields: Partial<JobRecord> = {}): JobRecord => ({ ...newRecord(of), ...fields });
const restored = (restoredAt: string) => target([A], { quarantine: { restoredAt } } as never);

test("without a target it follows nothing, with the copy on disk that, and with control's own no copy any more", () => {
  assert.equal(followingKept(undefined), { state: "nothing" });
  assert.is(targetOf({ state: "nothing" }), undefined);
  const kept = followingKept(target([A]));
  assert.is(kept.state, "kept");
  for (const before of [kept, followingKept(undefined)]) {
    const next = target([B]);
    assert.equal(followingNext(before, next, 5), { state: "fresh", target: next });
    assert.is(targetOf(followingNext(before, next, 5)), next);
  }
});

test("a quarantine lasts from the first target that names it, a later restoration begins another, and none ends it", () => {
  const ROWS: [restoredAt: string | undefined, atMs: number, state: string, sinceMs?: number][] = [
    ["monday", 10, "quarantine", 10],
    ["monday", 20, "quarantine", 10],
    ["tuesday", 30, "quarantine", 30],
    [undefined, 40, "fresh"],
    ["tuesday", 50, "quarantine", 50],
  ];
  let now: Following = followingKept(target([A]));
  for (const [restoredAt, atMs, state, sinceMs] of ROWS) {
    now = followingNext(now, restoredAt === undefined ? target([A]) : restored(restoredAt), atMs);
    assert.is(now.state, state);
    assert.is(now.state === "quarantine" ? now.sinceMs : undefined, sinceMs);
  }
});

const look = (fields: Partial<Parameters<typeof recordsAfterLook>[0]>) =>
  recordsAfterLook({
    jobs: new Map(),
    records: new Map(),
    containers: [],
    stale: new Set(),
    besideOf: () => ({
      health: undefined,
      captured: false,
      attached: false,
      nowMs: 1_000,
      now: "2026-01-01T00:00:00Z",
    }),
    ...fields,
  } as Parameters<typeof recordsAfterLook>[0]);

test("a look has a record of each job that is wanted, runs or was known, and names those of which nothing is left", () => {
  const { seen, gone } = look({
    jobs: new Map([["a", A]]),
    containers: [container(B)],
    records: new Map([["c", record(job({ id: "c" }))]]),
  });
  assert.equal(
    seen.map(({ jobId }) => jobId),
    ["a", "b"],
  );
  assert.equal(gone, ["c"]);
});

test("of a job that a step is at work on, or whose end is asked, the record stays as it is", () => {
  const stale = new Set(["a", "b", "c"]);
  const records = new Map([["c", record(job({ id: "c" }))]]);
  assert.equal(look({ jobs: new Map([["a", A]]), containers: [container(B)], records, stale }), { seen: [], gone: [] });
  const ROWS: [Parameters<typeof container>[1], isUnanswered: boolean][] = [
    [{ status: "exited", unanswered: "asked" }, true],
    [{ status: "exited", unanswered: "failed" }, false],
    [{ status: "exited" }, false],
    [{ status: "running", unanswered: "asked" }, false],
    [{ status: "created", unanswered: "asked" }, false],
  ];
  for (const [fields, isUnanswered] of ROWS)
    assert.equal(unansweredJobs([container(A, fields)]), isUnanswered ? ["a"] : [], JSON.stringify(fields));
});

test("a container is watched with its job's check while the target has the job, and was healthy only as the same container", () => {
  const running = container(A, { id: "c1", status: "running" });
  const watched = (of: Partial<JobRecord> | undefined) =>
    watchedContainers(
      [running, container(B, { status: "running" })],
      new Map([["a", A]]),
      new Map(of === undefined ? [] : [["a", record(A, of)]]),
    ).map(({ containerId, wasHealthy, port }) => ({ containerId, wasHealthy, port }));
  const seen = (wasHealthy: boolean) => [{ containerId: "c1", wasHealthy, port: A.port }];
  assert.equal(watched(undefined), seen(false));
  assert.equal(watched({ containerId: "c1", upSinceMs: 5 }), seen(true));
  assert.equal(watched({ containerId: "c0", upSinceMs: 5 }), seen(false));
  assert.equal(watched({ containerId: "c1" }), seen(false));
});

test("told to end are the containers of records that say so, but for those somebody is at work on", () => {
  const records = [
    record(A, { containerId: "c1", stoppingSinceMs: 1 }),
    record(B, { containerId: "c2", stoppingSinceMs: 1 }),
    record(job({ id: "c" }), { containerId: "c3" }),
    record(job({ id: "d" }), { stoppingSinceMs: 1 }),
  ];
  assert.equal([...stoppingContainers(records, (jobId) => jobId === "b")], ["c1"]);
});

test.run();
