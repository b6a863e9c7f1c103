// What a deployment does next. Pure: from the formations and jobs as they stand, so it goes on after a restart of control
// as if nothing had been. A new job counts once it is up and the routers have acknowledged; only then an old one goes.
import type { Strategy } from "#api/apps.ts";
import type { Job } from "#api/jobs.ts";

export type Counts = Record<string, number>;

export interface Progress {
  strategy: Strategy;
  /** Jobs of each process the new release is to have in the end. */
  wanted: Counts;
  /** What the formations ask for now. */
  newCounts: Counts;
  oldCounts: Counts;
  /** Jobs of both releases that are not over. */
  newJobs: readonly Job[];
  oldJobs: readonly Job[];
  /** Every live router serves what the jobs are now. */
  routersAcknowledged: boolean;
  /** Time since the last step forward, and the longest it may be, in milliseconds. */
  sinceProgressMs: number;
  timeoutMs: number;
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
  const { wanted, newCounts, oldCounts, newJobs, oldJobs, strategy } = progress;
  const crashed = newJobs.filter(
    ({ desired, state, restarts }) => desired === "run" && state === "crashed" && restarts >= CRASHES_MOST,
  );
  if (crashed.length > 0)
    return {
      type: "fail",
      reason: `${crashed[0]!.process} ${crashed[0]!.id} keeps crashing: ${crashed[0]!.reason || `exit code ${crashed[0]!.exitCode}`}`,
      jobIds: crashed.map(({ id }) => id),
    };

  const late = progress.sinceProgressMs >= progress.timeoutMs;
  for (const [process, count] of Object.entries(newCounts)) {
    const jobs = newJobs.filter((job) => job.process === process && job.desired === "run");
    const healthy = jobs.filter(({ state }) => state === "up").length;
    if (healthy >= count) continue;
    const held = jobs.find(({ state }) => state !== "up");
    const why =
      held === undefined
        ? "waiting for the scheduler"
        : `${held.id} is ${held.state}${held.reason ? `: ${held.reason}` : ""}`;
    if (late)
      return {
        type: "fail",
        reason: `${process}: ${healthy} of ${count} new jobs healthy after ${Math.round(progress.timeoutMs / 1000)} s; ${why}`,
        jobIds: jobs.filter(({ state }) => state !== "up").map(({ id }) => id),
      };
    return { type: "wait", words: `${process}: ${healthy} of ${wanted[process] ?? count} new jobs healthy; ${why}` };
  }
  if (!progress.routersAcknowledged) {
    if (late)
      return {
        type: "fail",
        reason: `the routers did not acknowledge the new jobs within ${Math.round(progress.timeoutMs / 1000)} s`,
        jobIds: [],
      };
    return { type: "wait", words: "routers take in the new jobs" };
  }

  const nextNew: Counts = {};
  const nextOld: Counts = { ...oldCounts };
  for (const [process, count] of Object.entries(wanted)) {
    const now = newCounts[process] ?? 0;
    nextNew[process] = strategy === "all-at-once" ? count : Math.min(count, now + 1);
    if (oldCounts[process] !== undefined) nextOld[process] = Math.min(oldCounts[process], Math.max(0, count - now));
  }
  const arrived = Object.entries(wanted).every(([process, count]) => (newCounts[process] ?? 0) >= count);
  if (arrived) for (const process of Object.keys(nextOld)) nextOld[process] = 0;
  const differs =
    Object.keys(nextNew).some((process) => nextNew[process] !== (newCounts[process] ?? 0)) ||
    Object.keys(nextOld).some((process) => nextOld[process] !== oldCounts[process]);
  if (differs) {
    const words = Object.keys(nextNew)
      .map((process) => `${process}: new ${nextNew[process]}, old ${nextOld[process] ?? 0}`)
      .join("; ");
    return { type: "scale", newCounts: nextNew, oldCounts: nextOld, words };
  }
  if (oldJobs.length > 0 && progress.sinceProgressMs < progress.endingTimeoutMs)
    return { type: "wait", words: `${oldJobs.length} old jobs end their requests` };
  return { type: "complete" };
}
