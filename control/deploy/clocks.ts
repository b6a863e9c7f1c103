// What a deployment measures while it is driven: time since the last step forward, and how long new jobs have stayed healthy. By
// the monotonic clock, in memory: after a restart of control both begin anew, which only ever waits longer.
import type { Job } from "#api/jobs.ts";
import type { Progress } from "./step.ts";
import type { Counts } from "./strategy.ts";

export type Forward = (seen: Pick<Progress, "comingCounts" | "goingCounts" | "comingJobs">) => number;

/** Milliseconds since the last step forward: another formation, or more healthy jobs than ever. One that comes and goes is neither. */
export function forwardClock(now: () => number = () => performance.now()): Forward {
  let atMs = now();
  let formations = "";
  let mostUp = 0;
  return ({ comingCounts, goingCounts, comingJobs }) => {
    const next = JSON.stringify([comingCounts, goingCounts]);
    const up = comingJobs.filter(({ state }) => state === "up").length;
    if (next !== formations || up > mostUp) {
      formations = next;
      mostUp = up;
      atMs = now();
    }
    return now() - atMs;
  };
}

/** Per process, how long its longest healthy job must still stay so. A job that restarted begins again. */
export type Stability = (jobs: readonly Job[], stableMs: (process: string) => number) => Counts;

export function stabilityClock(now: () => number = () => performance.now()): Stability {
  let healthySince = new Map<string, number>();
  return (jobs, stableMs) => {
    const at = now();
    const next = new Map<string, number>();
    const left: Counts = {};
    for (const { id, process, state, desired, restarts } of jobs) {
      if (state !== "up" || desired !== "run") continue;
      const run = `${id} ${restarts}`;
      const since = healthySince.get(run) ?? at;
      next.set(run, since);
      const remains = Math.max(0, stableMs(process) - (at - since));
      left[process] = Math.min(left[process] ?? remains, remains);
    }
    healthySince = next;
    return left;
  };
}

/** Of one deployment, as long as it is driven. */
export interface Clocks {
  /** Since the last step forward; turning back begins anew. */
  forwardMs(seen: Parameters<Forward>[0], goingBack: boolean): number;
  /** Of the jobs that come. Those that go are watched too: on the way back they have been healthy all the while. */
  unstableMs(seen: { jobs: readonly Job[]; coming: string; stableMs: (process: string) => number }): Counts;
  /** It is paused with all in order: time without a step forward begins anew. */
  rest(): void;
  /** Since this was first asked for the job. */
  sinceMs(jobId: string): number;
}

export function deploymentClocks(now: () => number = () => performance.now()): Clocks {
  let forward = forwardClock(now);
  let wasBack = false;
  const stability = new Map<string, Stability>();
  const since = new Map<string, number>();
  return {
    forwardMs(seen, goingBack) {
      if (goingBack !== wasBack) forward = forwardClock(now);
      wasBack = goingBack;
      return forward(seen);
    },
    rest() {
      forward = forwardClock(now);
    },
    unstableMs({ jobs, coming, stableMs }) {
      let left: Counts = {};
      for (const releaseId of new Set([coming, ...jobs.map((job) => job.releaseId)])) {
        const clock = stability.get(releaseId) ?? stabilityClock(now);
        stability.set(releaseId, clock);
        const ofRelease = clock(
          jobs.filter((job) => job.releaseId === releaseId),
          stableMs,
        );
        if (releaseId === coming) left = ofRelease;
      }
      return left;
    },
    sinceMs(jobId) {
      const at = since.get(jobId) ?? now();
      since.set(jobId, at);
      return now() - at;
    },
  };
}
