// The rule of a deployment's next step: it ends, it never leaves fewer healthy jobs in the routes than wanted, it gives up in time.
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Job } from "#api/jobs.ts";
import { type Counts, nextStep, type Progress } from "../../../control/deploy/step.ts";

let made = 0;
const job = (process: string, over: Partial<Job> = {}): Job => ({
  id: `job-${++made}`,
  appId: "app",
  app: "hello",
  releaseId: "r",
  version: 1,
  process,
  desired: "run",
  state: "up",
  reason: "",
  need: { cpuMillis: 1, memoryBytes: 1, diskBytes: 0 },
  tags: {},
  restarts: 0,
  createdAt: "2026-01-01T00:00:00Z",
  ...over,
});
const jobsOf = (counts: Counts, over: Partial<Job> = {}) =>
  Object.entries(counts).flatMap(([process, count]) => Array.from({ length: count }, () => job(process, over)));
const progress = (over: Partial<Progress>): Progress => ({
  strategy: "rolling",
  wanted: { web: 2 },
  newCounts: { web: 0 },
  oldCounts: { web: 2 },
  newJobs: [],
  oldJobs: jobsOf({ web: 2 }),
  routersAcknowledged: true,
  sinceProgressMs: 0,
  timeoutMs: 1_000,
  endingTimeoutMs: 1_000,
  ...over,
});

test("the first step adds one job and takes none", () => {
  const step = nextStep(progress({}));
  assert.equal(step, { type: "scale", newCounts: { web: 1 }, oldCounts: { web: 2 }, words: "web: new 1, old 2" });
});

test("a new job that is not up, or that the routers have not acknowledged, is waited for", () => {
  const one = { newCounts: { web: 1 } };
  assert.is(nextStep(progress({ ...one, newJobs: [job("web", { state: "starting" })] })).type, "wait");
  assert.is(nextStep(progress({ ...one, newJobs: [job("web", { desired: "drain" })] })).type, "wait");
  assert.is(nextStep(progress({ ...one, newJobs: [job("web")], routersAcknowledged: false })).type, "wait");
  assert.is(nextStep(progress({ ...one, newJobs: [job("web")] })).type, "scale");
});

test("what takes too long or crashes again and again fails with the job and its reason", () => {
  const starting = job("web", { state: "starting", reason: "pulling the image" });
  const late = nextStep(progress({ newCounts: { web: 1 }, newJobs: [starting], sinceProgressMs: 1_000 }));
  assert.is(late.type, "fail");
  assert.match(
    late.type === "fail" ? late.reason : "",
    /0 of 1 new jobs healthy after 1 s; .* is starting: pulling the image/,
  );
  const silent = nextStep(
    progress({ newCounts: { web: 1 }, newJobs: [job("web")], routersAcknowledged: false, sinceProgressMs: 1_000 }),
  );
  assert.match(silent.type === "fail" ? silent.reason : "", /routers did not acknowledge/);
  const crashed = job("web", { state: "crashed", restarts: 2, exitCode: 3 });
  const crash = nextStep(progress({ newCounts: { web: 1 }, newJobs: [crashed] }));
  assert.equal(crash, { type: "fail", reason: `web ${crashed.id} keeps crashing: exit code 3`, jobIds: [crashed.id] });
  const once = job("web", { state: "crashed", restarts: 1 });
  assert.is(nextStep(progress({ newCounts: { web: 1 }, newJobs: [once] })).type, "wait");
});

test("old jobs that hold on are waited for only so long once they are out of the formation", () => {
  const done = { newCounts: { web: 2 }, oldCounts: { web: 0 }, newJobs: jobsOf({ web: 2 }) };
  assert.is(nextStep(progress(done)).type, "wait");
  assert.is(nextStep(progress({ ...done, sinceProgressMs: 1_000 })).type, "complete");
  assert.is(nextStep(progress({ ...done, oldJobs: [] })).type, "complete");
});

const counts = fc.dictionary(fc.constantFrom("web", "worker", "clock"), fc.nat(6), { noNullPrototype: true });

test("property: from any formations it ends, with what was wanted, and on the way never serves less than both allow", () => {
  const check = fc.property(
    counts,
    counts,
    fc.constantFrom("rolling" as const, "all-at-once" as const),
    (old, wanted, strategy) => {
      let oldCounts = { ...old };
      let newCounts: Counts = Object.fromEntries(Object.keys(wanted).map((process) => [process, 0]));
      for (let turn = 0; turn < 100; turn++) {
        const [newJobs, oldJobs] = [jobsOf(newCounts), jobsOf(oldCounts)];
        const step = nextStep(progress({ strategy, wanted, newCounts, oldCounts, newJobs, oldJobs }));
        if (step.type === "complete") {
          assert.equal(newCounts, wanted);
          assert.ok(Object.values(oldCounts).every((count) => count === 0));
          return;
        }
        assert.is(step.type, "scale");
        if (step.type !== "scale") return;
        for (const [process, count] of Object.entries(wanted)) {
          // Healthy now, and still there after the step: the new ones that are up, and the old ones that stay.
          const serving = (newCounts[process] ?? 0) + (step.oldCounts[process] ?? 0);
          const before = old[process] ?? 0;
          assert.ok(serving >= Math.min(count, before), `${process}: ${serving} of ${count}, had ${before}`);
          assert.ok(step.newCounts[process]! <= count && step.newCounts[process]! >= newCounts[process]!);
          if (strategy === "rolling") assert.ok(step.newCounts[process]! - newCounts[process]! <= 1);
        }
        ({ newCounts, oldCounts } = step);
      }
      throw new Error("it does not end");
    },
  );
  fc.assert(check, { numRuns: 500 });
});

test.run();
