// What a deployment does next. Pure: from the formations and jobs as they stand, so it goes on after a restart of control
// as if nothing had been. A job that comes counts once it is up, the first one of a process has stayed so, and the routers have
// acknowledged; only then one goes (one-down-one-up, for hosts without room to spare, takes that one first). A deployment that failed
// or was cancelled goes back the same way: the earlier release comes, and what goes meanwhile serves as long as it can.
// A deployment that is paused, or is to pause at a count of new jobs, takes no further step once what it began is done; what came is
// watched on, and may still fail it.
// Where all that comes is there beside all that goes, nobody waits for it to stay healthy: it is live, and what goes is drained and kept
// for so long, ready to serve at the first sign that what came does not.
import type { Strategy } from "#api/apps.ts";
import type { Job } from "#api/jobs.ts";
import { type Counts, type Moved, nextCounts, refilled } from "./strategy.ts";

export interface Progress {
  strategy: Strategy;
  /** Jobs replaced at a time by in-batches; a third when left out. */
  batchSize?: number;
  /** The earlier release is what comes; what failed or was called off is what goes. */
  goingBack?: boolean;
  /** Jobs of each process there are to be in the end, of the release that comes. */
  wanted: Counts;
  /** On the way back: of each process so many were healthy before it all began. No more is waited for. */
  hadHealthy?: Counts;
  /** What the formations ask for now: that of the release that comes, and all others together. */
  comingCounts: Counts;
  goingCounts: Counts;
  /** Jobs that are not over, those that run once left out. */
  comingJobs: readonly Job[];
  goingJobs: readonly Job[];
  /** Milliseconds that the longest healthy job that comes of each process must still stay so. */
  unstableMs: Counts;
  /** Somebody asked it to wait: nothing further is begun. */
  paused?: boolean;
  /** It is to pause once so many of each process came. */
  pauseAfter?: number;
  /** Those that go are kept, drained, while those that came show that they stay healthy. */
  keeping?: boolean;
  /** That was so, and they had to serve again: what comes has to stay healthy first now. */
  recalled?: boolean;
  /** Every live router sends the jobs that go nothing new. */
  routersLeft?: boolean;
  /** Every live router serves the jobs that came. */
  routersAcknowledged: boolean;
  /** Hosts that do not let the jobs that come through to those they may reach, and back, yet. */
  hostsBehind: readonly string[];
  /** Time since the last step forward, and the longest it may be, in milliseconds; single processes may have their own. */
  sinceProgressMs: number;
  timeoutMs: number;
  timeoutsMs: Counts;
  /** Longest wait for jobs that go to end once they are out of the routes, in milliseconds. */
  endingTimeoutMs: number;
}

export type Step =
  /** `live`: what comes serves alone. `paused`: all is in order, and it waits to be resumed. */
  | { type: "wait"; words: string; live?: boolean; paused?: boolean }
  /** As many came as it is to pause at. */
  | { type: "pause"; words: string }
  /** Those of these processes that go are drained, and stay. */
  | { type: "keep"; processes: string[]; words: string }
  /** They serve again. */
  | { type: "recall"; words: string }
  /** They are not needed any more. */
  | { type: "release"; words: string }
  | { type: "scale"; comingCounts: Counts; goingCounts: Counts; words: string }
  | { type: "complete" }
  | { type: "fail"; reason: string; jobIds: string[] };

/** Restarts after which a new job is taken to be broken, not unlucky. */
const CRASHES_MOST = 2;
/** A host that is slower than this to take in who the new jobs are holds up no deployment: routers reach them all the same. */
const HOSTS_BEHIND_MOST_MS = 10_000;

export function nextStep(progress: Progress): Step {
  const step = progress.goingBack
    ? (falling(progress) ?? arriving(progress) ?? moving(progress))
    : (crashing(progress) ??
      recalling(progress) ??
      arriving(progress) ??
      pausing(progress) ??
      keeping(progress) ??
      moving(progress) ??
      leaving(progress));
  return step ?? (hasArrived(progress) ? { type: "complete" } : lost(progress));
}

/** No rule has a next step though not all came: it is not taken for the end, and not waited on for ever. */
function lost({ sinceProgressMs, timeoutMs }: Progress): Step {
  const words = "there is no next step, and not all jobs were asked for";
  return sinceProgressMs < timeoutMs ? { type: "wait", words } : { type: "fail", reason: words, jobIds: [] };
}

/** All that is to come was asked for; nothing is complete before that. */
const hasArrived = ({ wanted, comingCounts }: Progress): boolean =>
  Object.entries(wanted).every(([process, count]) => (comingCounts[process] ?? 0) >= count);

/** On the way back what goes and serves nobody goes at once, and what comes takes its place. */
function falling(progress: Progress): Step | undefined {
  const { goingCounts, goingJobs, comingCounts, wanted } = progress;
  const serving = (process: string): number =>
    goingJobs.filter(
      (job) => job.process === process && job.desired === "run" && (job.state === "up" || job.state === "unhealthy"),
    ).length;
  const left = Object.fromEntries(
    Object.entries(goingCounts).map(([process, count]) => [process, Math.min(count, serving(process))]),
  );
  if (Object.keys(left).every((process) => left[process] === goingCounts[process])) return undefined;
  const refill = Object.keys(wanted).map((process) => [process, refilled(progress, process, left[process] ?? 0)]);
  return scaleTo({ ...comingCounts, ...Object.fromEntries(refill) }, left, progress);
}

function crashing({ comingJobs }: Progress): Step | undefined {
  const crashed = comingJobs.filter(
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

/** At the first sign that what came does not serve, what was kept does. */
function recalling({ keeping, comingCounts, comingJobs }: Progress): Step | undefined {
  if (!keeping) return undefined;
  for (const [process, count] of Object.entries(comingCounts)) {
    const jobs = comingJobs.filter((job) => job.process === process && job.desired === "run");
    if (jobs.filter(({ state }) => state === "up").length >= count) continue;
    const failed = jobs.find(({ state }) => state !== "up");
    const why = failed === undefined ? "a new job is gone" : `${failed.id} is ${failed.state}`;
    return { type: "recall", words: `${process}: ${why}; the earlier jobs serve again` };
  }
  return undefined;
}

/** Between two steps: what was begun is done. What serves alone already is past pausing. */
function pausing({ keeping, paused, pauseAfter, wanted, comingCounts }: Progress): Step | undefined {
  if (keeping) return undefined;
  const count = (process: string) => comingCounts[process] ?? 0;
  const words = `paused: ${Object.entries(wanted)
    .map(([process, most]) => `${process}: new ${count(process)} of ${most}`)
    .join("; ")}`;
  if (paused) return { type: "wait", words, paused };
  if (pauseAfter === undefined) return undefined;
  const isReached = Object.entries(wanted).every(([process, most]) => count(process) >= Math.min(pauseAfter, most));
  return isReached ? { type: "pause", words } : undefined;
}

/** All that comes is there, and so is all that goes of each process that has yet to show that it stays healthy. */
function mayKeep(progress: Progress): boolean {
  const { strategy, goingBack, keeping, recalled, wanted, comingCounts, goingCounts, goingJobs, unstableMs } = progress;
  if (keeping) return true;
  if (goingBack || recalled || strategy === "one-down-one-up") return false;
  if (Object.entries(wanted).some(([process, count]) => (comingCounts[process] ?? 0) < count)) return false;
  const going = Object.entries(goingCounts).filter(([, count]) => count > 0);
  const serve = (process: string): number =>
    goingJobs.filter((job) => job.process === process && job.desired === "run" && job.state === "up").length;
  return going.length > 0 && going.every(([process, count]) => !isOpen(unstableMs[process]) || serve(process) >= count);
}

const isOpen = (unstableMs = 0): boolean => unstableMs > 0;

/** A job without a port has nothing to be drained of: it works on beside the new one until that has shown itself. */
function keeping(progress: Progress): Step | undefined {
  const { keeping: kept, unstableMs, goingCounts, goingJobs, routersLeft } = progress;
  const open = Object.values(unstableMs).some(isOpen);
  if (!kept && (!open || !mayKeep(progress))) return undefined;
  if (!open) return { type: "release", words: "the new jobs stayed healthy; the old ones end" };
  if (!kept) {
    const routed = (process: string) =>
      goingJobs.some((job) => job.process === process) &&
      goingJobs.every((job) => job.process !== process || job.port !== undefined);
    const processes = Object.keys(goingCounts).filter((process) => goingCounts[process]! > 0 && routed(process));
    return { type: "keep", processes, words: "the new jobs serve; the old ones are kept for a while" };
  }
  if (!routersLeft) return { type: "wait", words: "routers leave the old jobs" };
  return { type: "wait", words: "live; the old jobs are kept until the new ones have stayed healthy", live: true };
}

/** Until what the new formation asks for is healthy, has stayed so, and is in the routes. */
function arriving(progress: Progress): Step | undefined {
  const { wanted, hadHealthy, comingCounts, comingJobs, timeoutMs, timeoutsMs, unstableMs, sinceProgressMs } = progress;
  const which = progress.goingBack ? "earlier" : "new";
  for (const [process, count] of Object.entries(comingCounts)) {
    const jobs = comingJobs.filter((job) => job.process === process && job.desired === "run");
    const healthy = jobs.filter(({ state }) => state === "up").length;
    const enough = Math.min(count, hadHealthy?.[process] ?? count);
    if (healthy >= enough && count > 0 && isOpen(unstableMs[process]) && !mayKeep(progress))
      return { type: "wait", words: `${process}: the first ${which} job is healthy; it has to stay so for a while` };
    if (healthy >= enough) continue;
    const held = jobs.find(({ state }) => state !== "up");
    const why =
      held === undefined
        ? "waiting for the scheduler"
        : `${held.id} is ${held.state}${held.reason ? `: ${held.reason}` : ""}`;
    const mostMs = timeoutsMs[process] ?? timeoutMs;
    if (sinceProgressMs >= mostMs)
      return {
        type: "fail",
        reason: `${process}: ${healthy} of ${count} ${which} jobs healthy after ${Math.round(mostMs / 1000)} s; ${why}`,
        jobIds: jobs.filter(({ state }) => state !== "up").map(({ id }) => id),
      };
    return {
      type: "wait",
      words: `${process}: ${healthy} of ${wanted[process] ?? count} ${which} jobs healthy; ${why}`,
    };
  }
  if (progress.hostsBehind.length > 0 && sinceProgressMs < HOSTS_BEHIND_MOST_MS)
    return { type: "wait", words: `${progress.hostsBehind.join(", ")}: the network takes in the ${which} jobs` };
  if (progress.routersAcknowledged) return undefined;
  if (sinceProgressMs >= timeoutMs)
    return {
      type: "fail",
      reason: `the routers did not acknowledge the ${which} jobs within ${Math.round(timeoutMs / 1000)} s`,
      jobIds: [],
    };
  return { type: "wait", words: `routers take in the ${which} jobs` };
}

function moving(progress: Progress): Step | undefined {
  const { comingCounts, goingCounts, goingJobs, sinceProgressMs, endingTimeoutMs } = progress;
  const next: Moved = cappedAt(nextCounts(progress), progress);
  if (next.afterEnded.length > 0 && sinceProgressMs < endingTimeoutMs) {
    const process = next.afterEnded.find(
      (name) => goingJobs.filter((job) => job.process === name).length > (goingCounts[name] ?? 0),
    );
    const which = progress.goingBack ? "a job that goes" : "an old job";
    if (process !== undefined)
      return { type: "wait", words: `${process}: ${which} ends before the one that replaces it starts` };
  }
  const differs =
    Object.keys(next.comingCounts).some((process) => next.comingCounts[process] !== (comingCounts[process] ?? 0)) ||
    Object.keys(next.goingCounts).some((process) => next.goingCounts[process] !== goingCounts[process]);
  return differs ? scaleTo(next.comingCounts, next.goingCounts, progress) : undefined;
}

/** No more comes than it is to pause at, whatever the strategy takes at a time; of a process that is so far nothing goes before the pause. */
function cappedAt(next: Moved, { pauseAfter, wanted, comingCounts, goingCounts }: Progress): Moved {
  if (pauseAfter === undefined) return next;
  const capped: Moved = { ...next, comingCounts: {}, goingCounts: { ...next.goingCounts } };
  for (const [process, count] of Object.entries(next.comingCounts)) {
    const there = comingCounts[process] ?? 0;
    capped.comingCounts[process] = Math.min(count, Math.max(pauseAfter, there));
    const going = goingCounts[process];
    if (
      capped.comingCounts[process] === there &&
      going !== undefined &&
      there >= Math.min(pauseAfter, wanted[process] ?? count)
    )
      capped.goingCounts[process] = going;
  }
  return capped;
}

function scaleTo(comingCounts: Counts, goingCounts: Counts, { goingBack }: Progress): Step {
  const [comes, goes] = goingBack ? ["earlier", "later"] : ["new", "old"];
  const words = Object.keys(comingCounts)
    .map((process) => `${process}: ${comes} ${comingCounts[process]}, ${goes} ${goingCounts[process] ?? 0}`)
    .join("; ");
  return { type: "scale", comingCounts, goingCounts, words };
}

/** Until nobody is on an old job any more, or it serves no longer: only then it is told to stop. How long it takes over that is its own affair. */
function leaving({ goingJobs, sinceProgressMs, endingTimeoutMs }: Progress): Step | undefined {
  const serving = goingJobs.filter(({ desired }) => desired !== "stop");
  if (serving.length === 0 || sinceProgressMs >= endingTimeoutMs) return undefined;
  return { type: "wait", words: `${serving.length} old jobs end their requests` };
}
