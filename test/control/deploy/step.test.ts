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
  comingCounts: { web: 0 },
  goingCounts: { web: 2 },
  comingJobs: [],
  goingJobs: jobsOf({ web: 2 }),
  unstableMs: {},
  routersAcknowledged: true,
  hostsBehind: [],
  sinceProgressMs: 0,
  timeoutMs: 1_000,
  timeoutsMs: {},
  endingTimeoutMs: 1_000,
  ...over,
});

test("the first step adds one job and takes none", () => {
  const step = nextStep(progress({}));
  assert.equal(step, { type: "scale", comingCounts: { web: 1 }, goingCounts: { web: 2 }, words: "web: new 1, old 2" });
});

test("a new job that is not up, or that the routers have not acknowledged, is waited for", () => {
  const one = { comingCounts: { web: 1 } };
  assert.is(nextStep(progress({ ...one, comingJobs: [job("web", { state: "starting" })] })).type, "wait");
  assert.is(nextStep(progress({ ...one, comingJobs: [job("web", { desired: "drain" })] })).type, "wait");
  assert.is(nextStep(progress({ ...one, comingJobs: [job("web")], routersAcknowledged: false })).type, "wait");
  assert.is(nextStep(progress({ ...one, comingJobs: [job("web")] })).type, "scale");
});

test("old jobs are waited for while somebody may be on them, and not while they end once they were told to", () => {
  const all = { comingCounts: { web: 2 }, comingJobs: jobsOf({ web: 2 }), goingCounts: { web: 0 } };
  const left = (...desired: Job["desired"][]) =>
    nextStep(progress({ ...all, goingJobs: desired.map((each) => job("web", { desired: each, releaseId: "old" })) }));
  assert.equal(left("drain", "drain", "stop"), { type: "wait", words: "2 old jobs end their requests" });
  assert.equal(left("run"), { type: "wait", words: "1 old jobs end their requests" });
  assert.equal(left("stop", "stop"), { type: "complete" });
  assert.equal(left(), { type: "complete" });
});

test("hosts that do not let the new jobs through yet are waited for by name, and for ten seconds at most", () => {
  const one = { comingCounts: { web: 1 }, comingJobs: [job("web")], hostsBehind: ["h2"], timeoutMs: 60_000 };
  assert.equal(nextStep(progress(one)), { type: "wait", words: "h2: the network takes in the new jobs" });
  assert.is(nextStep(progress({ ...one, sinceProgressMs: 9_999 })).type, "wait");
  assert.is(nextStep(progress({ ...one, sinceProgressMs: 10_000 })).type, "scale");
});

test("what takes too long or crashes again and again fails with the job and its reason", () => {
  const starting = job("web", { state: "starting", reason: "pulling the image" });
  const late = nextStep(progress({ comingCounts: { web: 1 }, comingJobs: [starting], sinceProgressMs: 1_000 }));
  assert.is(late.type, "fail");
  assert.match(
    late.type === "fail" ? late.reason : "",
    /0 of 1 new jobs healthy after 1 s; .* is starting: pulling the image/,
  );
  const silent = nextStep(
    progress({
      comingCounts: { web: 1 },
      comingJobs: [job("web")],
      routersAcknowledged: false,
      sinceProgressMs: 1_000,
    }),
  );
  assert.match(silent.type === "fail" ? silent.reason : "", /routers did not acknowledge/);
  const crashed = job("web", { state: "crashed", restarts: 2, exitCode: 3 });
  const crash = nextStep(progress({ comingCounts: { web: 1 }, comingJobs: [crashed] }));
  assert.equal(crash, { type: "fail", reason: `web ${crashed.id} keeps crashing: exit code 3`, jobIds: [crashed.id] });
  const once = job("web", { state: "crashed", restarts: 1 });
  assert.is(nextStep(progress({ comingCounts: { web: 1 }, comingJobs: [once] })).type, "wait");
});

test("old jobs that hold on are waited for only so long once they are out of the formation", () => {
  const done = { comingCounts: { web: 2 }, goingCounts: { web: 0 }, comingJobs: jobsOf({ web: 2 }) };
  assert.is(nextStep(progress(done)).type, "wait");
  assert.is(nextStep(progress({ ...done, sinceProgressMs: 1_000 })).type, "complete");
  assert.is(nextStep(progress({ ...done, goingJobs: [] })).type, "complete");
});

test("where all that comes is there, nobody waits for it to stay healthy: what goes is drained and kept, then it is live", () => {
  const old = (over: Partial<Job> = {}) => job("web", { releaseId: "old", port: 80, ...over });
  const all: Partial<Progress> = {
    wanted: { web: 1 },
    comingCounts: { web: 1 },
    goingCounts: { web: 1 },
    comingJobs: [job("web")],
    goingJobs: [old()],
    unstableMs: { web: 500 },
  };
  const keep = nextStep(progress(all));
  assert.equal(keep.type === "keep" && keep.processes, ["web"]);
  const kept = { ...all, goingCounts: { web: 0 }, goingJobs: [old({ desired: "drain" })], keeping: true };
  assert.equal(nextStep(progress(kept)), { type: "wait", words: "routers leave the old jobs" });
  const live = nextStep(progress({ ...kept, routersLeft: true }));
  assert.ok(live.type === "wait" && live.live);
  assert.is(nextStep(progress({ ...kept, routersLeft: true, unstableMs: { web: 0 } })).type, "release");
  const let_go = { ...kept, keeping: false, unstableMs: { web: 0 } };
  assert.is(nextStep(progress(let_go)).type, "wait", "its requests end");
  assert.is(nextStep(progress({ ...let_go, goingJobs: [old({ desired: "stop" })] })).type, "complete");
});

test("at the first sign that a new job does not serve, what was kept does; after that it has to stay healthy first", () => {
  const old = job("web", { releaseId: "old", port: 80, desired: "drain" });
  const kept: Partial<Progress> = {
    wanted: { web: 1 },
    comingCounts: { web: 1 },
    goingCounts: { web: 0 },
    goingJobs: [old],
    unstableMs: { web: 500 },
    keeping: true,
    routersLeft: true,
  };
  for (const state of ["crashed", "unhealthy", "starting"] as const) {
    const fails = job("web", { state });
    const step = nextStep(progress({ ...kept, comingJobs: [fails] }));
    assert.equal(step, { type: "recall", words: `web: ${fails.id} is ${state}; the earlier jobs serve again` });
  }
  assert.is(nextStep(progress({ ...kept, comingJobs: [] })).type, "recall");
  const after = { ...kept, comingJobs: [job("web")], goingCounts: { web: 1 }, goingJobs: [{ ...old, desired: "run" }] };
  const waits = nextStep(progress({ ...after, keeping: false, recalled: true } as Partial<Progress>));
  assert.match(waits.type === "wait" ? waits.words : waits.type, /has to stay so/);
});

test("jobs without a port work on until the new ones have stayed healthy; what does not serve, or makes room first, is not kept", () => {
  const worker = (over: Partial<Job> = {}) => job("worker", { releaseId: "old", ...over });
  const all: Partial<Progress> = {
    wanted: { worker: 1 },
    comingCounts: { worker: 1 },
    goingCounts: { worker: 1 },
    comingJobs: [job("worker")],
    goingJobs: [worker()],
    unstableMs: { worker: 500 },
  };
  const keep = nextStep(progress(all));
  assert.equal(keep.type === "keep" && keep.processes, []);
  for (const over of [
    { goingJobs: [worker({ state: "crashed" })] },
    { goingCounts: { worker: 0 }, goingJobs: [] },
    { strategy: "one-down-one-up" as const },
    { wanted: { worker: 2 } },
  ]) {
    const step = nextStep(progress({ ...all, ...over }));
    assert.match(step.type === "wait" ? step.words : step.type, /has to stay so/, JSON.stringify(over));
  }
});

test("the first new job of a process has to stay healthy before an old one goes; those after it need not", () => {
  const one = { comingCounts: { web: 1 }, comingJobs: [job("web")], unstableMs: { web: 500 } };
  const waits = nextStep(progress({ ...one, sinceProgressMs: 5_000 }));
  assert.is(waits.type, "wait", "and the time for a step does not run out meanwhile");
  assert.match(waits.type === "wait" ? waits.words : "", /has to stay so/);
  assert.is(nextStep(progress({ ...one, unstableMs: { web: 0 } })).type, "scale");
  const none = {
    wanted: { web: 0 },
    comingCounts: { web: 0 },
    goingCounts: {},
    goingJobs: [],
    unstableMs: { web: 500 },
  };
  assert.is(nextStep(progress(none)).type, "complete", "nothing that could be unstable is wanted");
});

test("a process with a time of its own is given that, more or less than the app's", () => {
  const starting = { comingCounts: { web: 1 }, comingJobs: [job("web", { state: "starting" })] };
  const after = (sinceProgressMs: number, own: number) =>
    nextStep(progress({ ...starting, sinceProgressMs, timeoutsMs: { web: own } }));
  assert.is(after(1_500, 2_000).type, "wait");
  const late = after(600, 500);
  assert.match(late.type === "fail" ? late.reason : "", /after 1 s/);
});

test("one-down-one-up: an old job has ended before the one that replaces it starts", () => {
  const at = { strategy: "one-down-one-up" as const, goingJobs: jobsOf({ web: 2 }) };
  const down = nextStep(progress(at));
  assert.equal(down.type === "scale" && [down.comingCounts, down.goingCounts], [{ web: 0 }, { web: 1 }]);
  const waits = nextStep(progress({ ...at, goingCounts: { web: 1 } }));
  assert.match(waits.type === "wait" ? waits.words : "", /an old job ends before/);
  const up = nextStep(progress({ ...at, goingCounts: { web: 1 }, goingJobs: jobsOf({ web: 1 }) }));
  assert.equal(up.type === "scale" && [up.comingCounts, up.goingCounts], [{ web: 1 }, { web: 1 }]);
  const hangs = nextStep(progress({ ...at, goingCounts: { web: 1 }, sinceProgressMs: 1_000, timeoutMs: 5_000 }));
  assert.is(hangs.type, "scale", "one that will not end holds the deployment up only so long");
});

test("in-batches takes a third at a time, at least one, or what the app says", () => {
  const first = (wanted: number, batchSize?: number) => {
    const step = nextStep(
      progress({ strategy: "in-batches", batchSize, wanted: { web: wanted }, goingCounts: { web: wanted } }),
    );
    return step.type === "scale" ? step.comingCounts["web"] : undefined;
  };
  assert.equal([first(1), first(3), first(7), first(9)], [1, 1, 3, 3]);
  assert.equal([first(7, 2), first(1, 5)], [2, 1]);
});

test("it pauses once as many came as it is to, takes no more at a time, and lets nothing go of a process that is so far", () => {
  const scaled = (over: Partial<Progress>) => {
    const step = nextStep(progress(over));
    return step.type === "scale" ? [step.comingCounts, step.goingCounts] : step.type;
  };
  const all = { strategy: "all-at-once" as const, wanted: { web: 5 }, goingCounts: { web: 5 }, pauseAfter: 1 };
  assert.equal(scaled(all), [{ web: 1 }, { web: 5 }]);
  assert.is(scaled({ ...all, comingCounts: { web: 1 }, comingJobs: jobsOf({ web: 1 }) }), "pause");
  const two = {
    wanted: { web: 3, worker: 1 },
    comingCounts: { web: 1, worker: 1 },
    goingCounts: { web: 3, worker: 1 },
    comingJobs: jobsOf({ web: 1, worker: 1 }),
    pauseAfter: 2,
  };
  assert.equal(scaled(two), [
    { web: 2, worker: 1 },
    { web: 2, worker: 1 },
  ]);
  const first = nextStep(progress({ ...all, pauseAfter: 9, comingCounts: { web: 5 }, comingJobs: jobsOf({ web: 5 }) }));
  assert.is(first.type, "pause", "more than there are: when all are there");
});

test("while it is paused a new job that fails still fails it, and what is not there yet is waited for", () => {
  const at = { paused: true, wanted: { web: 2 }, comingCounts: { web: 1 }, goingCounts: { web: 2 } };
  const waits = nextStep(progress({ ...at, comingJobs: jobsOf({ web: 1 }) }));
  assert.ok(waits.type === "wait" && waits.paused, waits.type);
  const starts = nextStep(progress({ ...at, comingJobs: [job("web", { state: "starting" })] }));
  assert.ok(starts.type === "wait" && !starts.paused);
  assert.is(nextStep(progress({ ...at, comingJobs: [job("web", { state: "crashed", restarts: 2 })] })).type, "fail");
});

const STRATEGIES = ["rolling", "all-at-once", "one-down-one-up", "in-batches"] as const;
const counts = fc.dictionary(fc.constantFrom("web", "worker", "clock"), fc.nat(7), { noNullPrototype: true });

interface Sample {
  strategy: (typeof STRATEGIES)[number];
  batchSize: number | undefined;
  wanted: Counts;
  /** What ran before the deployment began. */
  before: Counts;
  comingCounts: Counts;
  goingCounts: Counts;
}

/** Plays a deployment to its end, everything going well; `each` sees every step with what served before it. */
function play(sample: Sample, each: (now: Sample, next: { comingCounts: Counts; goingCounts: Counts }) => void) {
  let { comingCounts, goingCounts } = sample;
  const { strategy, wanted } = sample;
  for (let turn = 0; turn < 200; turn++) {
    const [comingJobs, goingJobs] = [jobsOf(comingCounts), jobsOf(goingCounts)];
    const batch = sample.batchSize === undefined ? {} : { batchSize: sample.batchSize };
    const step = nextStep(progress({ strategy, ...batch, wanted, comingCounts, goingCounts, comingJobs, goingJobs }));
    if (step.type === "complete") {
      for (const [process, count] of Object.entries(wanted)) assert.is(comingCounts[process], count);
      assert.ok(Object.values(goingCounts).every((count) => count === 0));
      return;
    }
    assert.is(step.type, "scale");
    if (step.type !== "scale") return;
    each({ ...sample, comingCounts, goingCounts }, step);
    ({ comingCounts, goingCounts } = step);
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
    comingCounts: Object.fromEntries(Object.keys(sample.wanted).map((process) => [process, 0])),
    goingCounts: { ...sample.before },
  }));

test("property: every strategy ends with what was wanted and never serves less than it promises, nor starts more than it may", () => {
  fc.assert(
    fc.property(fresh, (sample) => {
      const { strategy, batchSize, before } = sample;
      play(sample, (now, next) => {
        for (const [process, count] of Object.entries(sample.wanted)) {
          const had = before[process] ?? 0;
          // Healthy now, and still there after the step: the new ones that are up, and the old ones that stay.
          const serving = (now.comingCounts[process] ?? 0) + (next.goingCounts[process] ?? 0);
          const promised = Math.min(count, had) - (strategy === "one-down-one-up" ? 1 : 0);
          assert.ok(serving >= promised, `${strategy} ${process}: ${serving} serve, ${promised} promised`);
          const [from, to] = [now.comingCounts[process] ?? 0, next.comingCounts[process] ?? 0];
          assert.ok(to >= from && to <= count);
          const most = { rolling: 1, "one-down-one-up": 1, "all-at-once": count };
          assert.ok(
            to - from <=
              (strategy === "in-batches" ? (batchSize ?? Math.max(1, Math.ceil(count / 3))) : most[strategy]),
          );
          if (strategy === "one-down-one-up")
            assert.ok(to + (next.goingCounts[process] ?? 0) <= Math.max(count, had), "it needs no room for one more");
        }
        for (const [process, left] of Object.entries(next.goingCounts))
          assert.ok(left <= (now.goingCounts[process] ?? 0) && left >= 0, "an old one never comes back");
      });
    }),
    { numRuns: 1_000 },
  );
});

test("property: stopped at any counts in between, by any strategy, it goes on and ends", () => {
  const between = fc.tuple(fresh, counts, counts).map(
    ([sample, some, others]): Sample => ({
      ...sample,
      comingCounts: Object.fromEntries(
        Object.entries(sample.wanted).map(([process, count]) => [process, Math.min(count, some[process] ?? 0)]),
      ),
      goingCounts: Object.fromEntries(
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
          const serving = (now.comingCounts[process] ?? 0) + (next.goingCounts[process] ?? 0);
          const could = Math.min(
            sample.wanted[process]!,
            (now.comingCounts[process] ?? 0) + (now.goingCounts[process] ?? 0),
          );
          assert.ok(serving >= could - (sample.strategy === "one-down-one-up" ? 1 : 0));
        }
      });
      assert.ok(steps <= 50, `${steps} steps`);
    }),
    { numRuns: 1_000 },
  );
});

test("property: whatever the strategy and the counts, a staged deployment comes to its pause, and never to an end before it", () => {
  fc.assert(
    fc.property(fresh, fc.integer({ min: 1, max: 4 }), (sample, pauseAfter) => {
      let { comingCounts, goingCounts } = sample;
      const { strategy, wanted } = sample;
      if (Object.values(wanted).every((count) => count === 0)) return;
      for (let turn = 0; turn < 200; turn++) {
        const [comingJobs, goingJobs] = [jobsOf(comingCounts), jobsOf(goingCounts)];
        const batch = sample.batchSize === undefined ? {} : { batchSize: sample.batchSize };
        const now = { strategy, ...batch, wanted, comingCounts, goingCounts, comingJobs, goingJobs, pauseAfter };
        const step = nextStep(progress(now));
        if (step.type === "pause") {
          for (const [process, count] of Object.entries(wanted))
            assert.ok((comingCounts[process] ?? 0) >= Math.min(count, pauseAfter), process);
          return;
        }
        assert.is(step.type, "scale");
        if (step.type !== "scale") return;
        ({ comingCounts, goingCounts } = step);
      }
      throw new Error("it comes to no pause");
    }),
  );
});

test.run();
