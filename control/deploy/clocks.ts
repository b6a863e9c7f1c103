// What a deployment measures while it is driven: time since the last step forward, and how long new jobs have stayed healthy. By
// the monotonic clock, in memory: after a restart of control both begin anew, which only ever waits longer.
import type { Job } from "#api/jobs.ts";
import type { Progress } from "./step.ts";
import type { Counts } from "./strategy.ts";

export type Forward = (seen: Pick<Progress, "newCounts" | "oldCounts" | "newJobs">) => number;

/** Milliseconds since the last step forward: another formation, or more healthy jobs than ever. One that comes and goes is neither. */
export function forwardClock(now: () => number = () => performance.now()): Forward {
  let atMs = now();
  let formations = "";
  let mostUp = 0;
  return ({ newCounts, oldCounts, newJobs }) => {
    const next = JSON.stringify([newCounts, oldCounts]);
    const up = newJobs.filter(({ state }) => state === "up").length;
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
