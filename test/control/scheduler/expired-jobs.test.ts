// How long ended jobs are kept, to the millisecond and the last of them.
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Job } from "#api/jobs.ts";
import { expiredJobs } from "../../../control/scheduler/expired-jobs.ts";

const NOW = Date.parse("2026-01-02T00:00:00.000Z");
const DAY_MS = 86_400_000;
const job = (n: number, agoMs: number, over: Partial<Job> = {}) => ({
  key: `jobs/a/${String(n).padStart(3, "0")}`,
  value: { id: `j${n}`, state: "down", endedAt: new Date(NOW - agoMs).toISOString(), createdAt: "", ...over } as Job,
});
const expired = (...jobs: ReturnType<typeof job>[]) => expiredJobs(jobs, NOW).map((key) => Number(key.slice(7)));

test("the newest twenty are kept for a day, the rest for ten minutes", () => {
  assert.equal(expired(job(1, DAY_MS)), []);
  assert.equal(expired(job(1, DAY_MS + 1)), [1]);
  const newest = Array.from({ length: 20 }, (_, n) => job(n, 1_000));
  assert.equal(expired(...newest, job(50, 600_000)), []);
  assert.equal(expired(...newest, job(50, 600_001)), [50]);
  assert.equal(expired(...newest.slice(1), job(50, 600_001)), []);
});

test("of jobs that ended together the one made last is the newest", () => {
  const together = Array.from({ length: 22 }, (_, n) => job(n, 3_600_000));
  assert.equal(expired(...together), [1, 0]);
  assert.equal(expired(...together.toReversed()), [1, 0]);
});

test("only jobs that are over count and go; without an end the time of making counts", () => {
  for (const state of ["up", "pending", "crashed", "stopping"] as const)
    assert.equal(expired(job(1, 9 * DAY_MS, { state })), []);
  const createdAt = (agoMs: number) => ({ createdAt: new Date(NOW - agoMs).toISOString() });
  const { endedAt: _, ...open } = job(1, 0).value;
  const of = (agoMs: number) => expiredJobs([{ key: "k", value: { ...open, ...createdAt(agoMs) } as Job }], NOW);
  assert.equal([of(DAY_MS), of(DAY_MS + 1)], [[], ["k"]]);
});

test.run();
