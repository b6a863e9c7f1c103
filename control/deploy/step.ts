// What a deployment does next. Pure: from the formations and jobs as they stand, so it goes on after a restart of control
// as if nothing had been. A new job counts once it is up, the first one of a process has stayed so, and the routers have
// acknowledged; only then an old one goes (one-down-one-up, for hosts without room to spare, takes the old one first).
import type { Strategy } from "#api/apps.ts";
import type { Job } from "#api/jobs.ts";
import { type Counts, type Moved, nextCounts } from "./strategy.ts";

export interface Progress {
  strategy: Strategy;
  /** Jobs replaced at a time by in-batches; a third when left out. */
  batchSize?: number;
  /** Jobs of each process the new release is to have in the end. */
  wanted: Counts;
  /** What the formations ask for now. */
  newCounts: Counts;
  oldCounts: Counts;
  /** Jobs of both releases that are not over, those that run once left out. */
  newJobs: readonly Job[];
  oldJobs: readonly Job[];
  /** Milliseconds that the longest healthy new job of each process must still stay so. */
  unstableMs: Counts;
  /** Every live router serves what the jobs are now. */
  routersAcknowledged: boolean;
  /** Time since the last step forward, and the longest it may be, in milliseconds; single processes may have their own. */
  sinceProgressMs: number;
  timeoutMs: number;
  timeoutsMs: Counts;
  /** Longest wait for old jobs to end once they are out of the routes, in milliseconds. */
  endingTimeoutMs: number;
}

export type Step =
  | { type: "wait"; words: string }
  | { type: "scale"; newCounts: Counts; oldCounts: Counts; words: string }
  | { type: "complete" }
  | { type: "fail"; reason: string; jobIds: string[] };

/** Restarts after which a new job is taken to be broken, not unlucky. */
const CRASHES_MOST = 2;

export function nextStep(progress: Progress): Step {
  return crashing(progress) ?? arriving(progress) ?? moving(progress) ?? leaving(progress) ?? { type: "complete" };
}

function crashing({ newJobs }: Progress): Step | undefined {
  const crashed = newJobs.filter(
    ({ desired, state, restarts }) => desired === "run" && state === "crashed" && restarts >= CRASHES_MOST,
  );
  const [first] = crashed;
  if (first === undefined) return undefined;
  return {
    type: "fail",
    reason: `${first.process} ${first.id} keeps crashing: ${first.reason || `exit code ${first.exitCode}`}`,
    jobIds: crashed.map(({ id }) => id),
  };
}

/** Until what the new formation asks for is healthy, has stayed so, and is in the routes. */
function arriving(progress: Progress): Step | undefined {
  const { wanted, newCounts, newJobs, timeoutMs, timeoutsMs, unstableMs, sinceProgressMs } = progress;
  for (const [process, count] of Object.entries(newCounts)) {
    const jobs = newJobs.filter((job) => job.process === process && job.desired === "run");
    const healthy = jobs.filter(({ state }) => state === "up").length;
    if (healthy >= count && count > 0 && (unstableMs[process] ?? 0) > 0)
      return { type: "wait", words: `${process}: the first new job is healthy; it has to stay so for a while` };
    if (healthy >= count) continue;
    const held = jobs.find(({ state }) => state !== "up");
    const why =
      held === undefined
        ? "waiting for the scheduler"
        : `${held.id} is ${held.state}${held.reason ? `: ${held.reason}` : ""}`;
    const mostMs = timeoutsMs[process] ?? timeoutMs;
    if (sinceProgressMs >= mostMs)
      return {
        type: "fail",
        reason: `${process}: ${healthy} of ${count} new jobs healthy after ${Math.round(mostMs / 1000)} s; ${why}`,
        jobIds: jobs.filter(({ state }) => state !== "up").map(({ id }) => id),
      };
    return { type: "wait", words: `${process}: ${healthy} of ${wanted[process] ?? count} new jobs healthy; ${why}` };
  }
  if (progress.routersAcknowledged) return undefined;
  if (sinceProgressMs >= timeoutMs)
    return {
      type: "fail",
      reason: `the routers did not acknowledge the new jobs within ${Math.round(timeoutMs / 1000)} s`,
      jobIds: [],
    };
  return { type: "wait", words: "routers take in the new jobs" };
}

function moving(progress: Progress): Step | undefined {
  const { strategy, batchSize, wanted, newCounts, oldCounts, oldJobs, sinceProgressMs, endingTimeoutMs } = progress;
  const next: Moved = nextCounts({ strategy, batchSize, wanted, newCounts, oldCounts });
  if (next.afterOldEnded.length > 0 && sinceProgressMs < endingTimeoutMs) {
    const process = next.afterOldEnded.find(
      (name) => oldJobs.filter((job) => job.process === name).length > (oldCounts[name] ?? 0),
    );
    if (process !== undefined)
      return { type: "wait", words: `${process}: an old job ends before the one that replaces it starts` };
  }
  const differs =
    Object.keys(next.newCounts).some((process) => next.newCounts[process] !== (newCounts[process] ?? 0)) ||
    Object.keys(next.oldCounts).some((process) => next.oldCounts[process] !== oldCounts[process]);
  if (!differs) return undefined;
  const words = Object.keys(next.newCounts)
    .map((process) => `${process}: new ${next.newCounts[process]}, old ${next.oldCounts[process] ?? 0}`)
    .join("; ");
  return { type: "scale", newCounts: next.newCounts, oldCounts: next.oldCounts, words };
}

function leaving({ oldJobs, sinceProgressMs, endingTimeoutMs }: Progress): Step | undefined {
  if (oldJobs.length === 0 || sinceProgressMs >= endingTimeoutMs) return undefined;
  return { type: "wait", words: `${oldJobs.length} old jobs end their requests` };
}
