// The rule of a deployment's next step: it ends, it never leaves fewer healthy jobs in the routes than wanted, it gives up in time.
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Job } from "#api/jobs.ts";
import { nextStep, type Progress } from "../../../control/deploy/step.ts";
import type { Counts } from "../../../control/deploy/strategy.ts";

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
  unstableMs: {},
  routersAcknowledged: true,
  sinceProgressMs: 0,
  timeoutMs: 1_000,
  timeoutsMs: {},
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

test("the first new job of a process has to stay healthy before an old one goes; those after it need not", () => {
  const one = { newCounts: { web: 1 }, newJobs: [job("web")], unstableMs: { web: 500 } };
  const waits = nextStep(progress({ ...one, sinceProgressMs: 5_000 }));
  assert.is(waits.type, "wait", "and the time for a step does not run out meanwhile");
  assert.match(waits.type === "wait" ? waits.words : "", /has to stay so/);
  assert.is(nextStep(progress({ ...one, unstableMs: { web: 0 } })).type, "scale");
  const none = { wanted: { web: 0 }, newCounts: { web: 0 }, oldCounts: {}, oldJobs: [], unstableMs: { web: 500 } };
  assert.is(nextStep(progress(none)).type, "complete", "nothing that could be unstable is wanted");
});

test("a process with a time of its own is given that, more or less than the app's", () => {
  const starting = { newCounts: { web: 1 }, newJobs: [job("web", { state: "starting" })] };
  const after = (sinceProgressMs: number, own: number) =>
    nextStep(progress({ ...starting, sinceProgressMs, timeoutsMs: { web: own } }));
  assert.is(after(1_500, 2_000).type, "wait");
  const late = after(600, 500);
  assert.match(late.type === "fail" ? late.reason : "", /after 1 s/);
});

test("one-down-one-up: an old job has ended before the one that replaces it starts", () => {
  const at = { strategy: "one-down-one-up" as const, oldJobs: jobsOf({ web: 2 }) };
  const down = nextStep(progress(at));
  assert.equal(down.type === "scale" && [down.newCounts, down.oldCounts], [{ web: 0 }, { web: 1 }]);
  const waits = nextStep(progress({ ...at, oldCounts: { web: 1 } }));
  assert.match(waits.type === "wait" ? waits.words : "", /an old job ends before/);
  const up = nextStep(progress({ ...at, oldCounts: { web: 1 }, oldJobs: jobsOf({ web: 1 }) }));
  assert.equal(up.type === "scale" && [up.newCounts, up.oldCounts], [{ web: 1 }, { web: 1 }]);
  const hangs = nextStep(progress({ ...at, oldCounts: { web: 1 }, sinceProgressMs: 1_000, timeoutMs: 5_000 }));
  assert.is(hangs.type, "scale", "one that will not end holds the deployment up only so long");
});

test("in-batches takes a third at a time, at least one, or what the app says", () => {
  const first = (wanted: number, batchSize?: number) => {
    const step = nextStep(
      progress({ strategy: "in-batches", batchSize, wanted: { web: wanted }, oldCounts: { web: wanted } }),
    );
    return step.type === "scale" ? step.newCounts["web"] : undefined;
  };
  assert.equal([first(1), first(3), first(7), first(9)], [1, 1, 3, 3]);
  assert.equal([first(7, 2), first(1, 5)], [2, 1]);
});

const STRATEGIES = ["rolling", "all-at-once", "one-down-one-up", "in-batches"] as const;
const counts = fc.dictionary(fc.constantFrom("web", "worker", "clock"), fc.nat(7), { noNullPrototype: true });

interface Sample {
  strategy: (typeof STRATEGIES)[number];
  batchSize: number | undefined;
  wanted: Counts;
  /** What ran before the deployment began. */
  before: Counts;
  newCounts: Counts;
  oldCounts: Counts;
}

/** Plays a deployment to its end, everything going well; `each` sees every step with what served before it. */
function play(sample: Sample, each: (now: Sample, next: { newCounts: Counts; oldCounts: Counts }) => void) {
  let { newCounts, oldCounts } = sample;
  const { strategy, wanted } = sample;
  for (let turn = 0; turn < 200; turn++) {
    const [newJobs, oldJobs] = [jobsOf(newCounts), jobsOf(oldCounts)];
    const batch = sample.batchSize === undefined ? {} : { batchSize: sample.batchSize };
    const step = nextStep(progress({ strategy, ...batch, wanted, newCounts, oldCounts, newJobs, oldJobs }));
    if (step.type === "complete") {
      for (const [process, count] of Object.entries(wanted)) assert.is(newCounts[process], count);
      assert.ok(Object.values(oldCounts).every((count) => count === 0));
      return;
    }
    assert.is(step.type, "scale");
    if (step.type !== "scale") return;
    each({ ...sample, newCounts, oldCounts }, step);
    ({ newCounts, oldCounts } = step);
  }
  throw new Error("it does not end");
}

const fresh: fc.Arbitrary<Sample> = fc
  .record({
    strategy: fc.constantFrom(...STRATEGIES),
    batchSize: fc.option(fc.integer({ min: 1, max: 9 }), { nil: undefined }),
    wanted: counts,
    before: counts,
  })
  .map((sample) => ({
    ...sample,
    newCounts: Object.fromEntries(Object.keys(sample.wanted).map((process) => [process, 0])),
    oldCounts: { ...sample.before },
  }));

test("property: every strategy ends with what was wanted and never serves less than it promises, nor starts more than it may", () => {
  fc.assert(
    fc.property(fresh, (sample) => {
      const { strategy, batchSize, before } = sample;
      play(sample, (now, next) => {
        for (const [process, count] of Object.entries(sample.wanted)) {
          const had = before[process] ?? 0;
          // Healthy now, and still there after the step: the new ones that are up, and the old ones that stay.
          const serving = (now.newCounts[process] ?? 0) + (next.oldCounts[process] ?? 0);
          const promised = Math.min(count, had) - (strategy === "one-down-one-up" ? 1 : 0);
          assert.ok(serving >= promised, `${strategy} ${process}: ${serving} serve, ${promised} promised`);
          const [from, to] = [now.newCounts[process] ?? 0, next.newCounts[process] ?? 0];
          assert.ok(to >= from && to <= count);
          const most = { rolling: 1, "one-down-one-up": 1, "all-at-once": count };
          assert.ok(
            to - from <=
              (strategy === "in-batches" ? (batchSize ?? Math.max(1, Math.ceil(count / 3))) : most[strategy]),
          );
          if (strategy === "one-down-one-up")
            assert.ok(to + (next.oldCounts[process] ?? 0) <= Math.max(count, had), "it needs no room for one more");
        }
        for (const [process, left] of Object.entries(next.oldCounts))
          assert.ok(left <= (now.oldCounts[process] ?? 0) && left >= 0, "an old one never comes back");
      });
    }),
    { numRuns: 1_000 },
  );
});

test("property: stopped at any counts in between, by any strategy, it goes on and ends", () => {
  const between = fc.tuple(fresh, counts, counts).map(
    ([sample, some, others]): Sample => ({
      ...sample,
      newCounts: Object.fromEntries(
        Object.entries(sample.wanted).map(([process, count]) => [process, Math.min(count, some[process] ?? 0)]),
      ),
      oldCounts: Object.fromEntries(
        Object.entries(sample.before).map(([process, count]) => [process, Math.min(count, others[process] ?? 0)]),
      ),
    }),
  );
  fc.assert(
    fc.property(between, (sample) => {
      let steps = 0;
      play(sample, (now, next) => {
        steps++;
        for (const process of Object.keys(sample.wanted)) {
          const serving = (now.newCounts[process] ?? 0) + (next.oldCounts[process] ?? 0);
          const could = Math.min(
            sample.wanted[process]!,
            (now.newCounts[process] ?? 0) + (now.oldCounts[process] ?? 0),
          );
          assert.ok(serving >= could - (sample.strategy === "one-down-one-up" ? 1 : 0));
        }
      });
      assert.ok(steps <= 50, `${steps} steps`);
    }),
    { numRuns: 1_000 },
  );
});

test.run();
