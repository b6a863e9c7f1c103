// What a deployment measures: time without a step forward, and how long new jobs have been healthy. By a clock of the test's own.
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Job } from "#api/jobs.ts";
import { deploymentClocks, forwardClock, stabilityClock } from "../../../control/deploy/clocks.ts";

const job = (id: string, over: Partial<Job> = {}): Job =>
  ({ id, process: "web", state: "up", desired: "run", restarts: 0, ...over }) as Job;
const seen = (up: number, starting: number, comingCounts = { web: 1 }, goingCounts = { web: 1 }) => ({
  comingCounts,
  goingCounts,
  comingJobs: [
    ...Array.from({ length: up }, (_, n) => job(`up-${n}`)),
    ...Array.from({ length: starting }, (_, n) => job(`starting-${n}`, { state: "starting" })),
  ],
});

test("another formation or one healthy job more is a step forward; a job that comes and goes, or one that only starts, is none", () => {
  let now = 1_000;
  const forward = forwardClock(() => now);
  const after = (ms: number, what: ReturnType<typeof seen>) => {
    now += ms;
    return forward(what);
  };
  assert.is(after(100, seen(0, 0)), 0, "the first look");
  assert.is(after(100, seen(0, 1)), 100, "a start is no step");
  assert.is(after(100, seen(1, 0)), 0, "healthy");
  assert.is(after(100, seen(1, 1)), 100);
  assert.is(after(100, seen(0, 2)), 200, "it went");
  assert.is(after(100, seen(1, 1)), 300, "and came again");
  assert.is(after(100, seen(2, 0)), 0, "more than ever");
  assert.is(after(100, seen(2, 0, { web: 2 })), 0, "another formation of the new release");
  assert.is(after(100, seen(2, 0, { web: 2 }, { web: 0 })), 0, "another of the old one");
  assert.is(after(50, seen(2, 0, { web: 2 }, { web: 0 })), 50);
});

test("a process is stable once its longest healthy job stayed so; a restart, another state or another wish begins again", () => {
  let now = 1_000;
  const stability = stabilityClock(() => now);
  const left = (...jobs: Job[]) => stability(jobs, (process) => (process === "web" ? 500 : 100));
  assert.equal(left(), {});
  assert.equal(left(job("a"), job("w", { process: "worker" })), { web: 500, worker: 100 });
  now += 200;
  assert.equal(left(job("a"), job("b")), { web: 300 }, "the longest counts");
  now += 400;
  assert.equal(left(job("a")), { web: 0 }, "no less than nothing");
  assert.equal(left(job("a", { restarts: 1 })), { web: 500 }, "it restarted");
  now += 100;
  assert.equal(left(job("a", { restarts: 1, state: "unhealthy" })), {});
  assert.equal(left(job("a", { restarts: 1 })), { web: 500 }, "it was unhealthy between");
  assert.equal(left(job("a", { restarts: 1, desired: "drain" })), {});
});

test("turning back begins anew, and so does turning forward again", () => {
  let now = 1_000;
  const clocks = deploymentClocks(() => now);
  const after = (ms: number, goingBack: boolean) => {
    now += ms;
    return clocks.forwardMs(seen(1, 0), goingBack);
  };
  assert.equal([after(0, false), after(100, false), after(100, false)], [0, 100, 200]);
  assert.equal([after(100, true), after(100, true)], [0, 100]);
  assert.equal([after(100, false), after(100, false)], [0, 100]);
});

test("the clocks of a deployment that does not turn run from when they were made", () => {
  let now = 1_000;
  const clocks = deploymentClocks(() => now);
  const nothing = { comingCounts: {}, goingCounts: {}, comingJobs: [] };
  clocks.forwardMs(nothing, false);
  now += 70;
  assert.is(clocks.forwardMs(nothing, false), 70);
  assert.is(clocks.sinceMs("j1"), 0);
  now += 30;
  assert.equal([clocks.sinceMs("j1"), clocks.sinceMs("j2")], [30, 0]);
  now += 5;
  assert.equal([clocks.sinceMs("j1"), clocks.sinceMs("j2")], [35, 5]);
});

test("jobs that go have been healthy all the while when they come back", () => {
  let now = 1_000;
  const clocks = deploymentClocks(() => now);
  const jobs = [job("old", { releaseId: "r1" }), job("new", { releaseId: "r2" })];
  const left = (coming: string, which = jobs) => clocks.unstableMs({ jobs: which, coming, stableMs: () => 500 });
  assert.equal(left("r2"), { web: 500 });
  now += 200;
  assert.equal(left("r2"), { web: 300 });
  now += 400;
  assert.equal([left("r2"), left("r1"), left("r3")], [{ web: 0 }, { web: 0 }, {}]);
  assert.equal(left("r2", jobs.slice(0, 1)), {}, "what comes is gone");
  now += 1;
  assert.equal([left("r1"), left("r2")], [{ web: 0 }, { web: 500 }]);
});

test.run();
