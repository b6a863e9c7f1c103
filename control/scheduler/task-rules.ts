// Jobs that run once, as the scheduler sees them: they belong to no formation, so they are never surplus, never counted as
// one of its jobs, and never made again. Placed as asked, ended when over; a lost host is the end of them.
import type { App } from "#api/apps.ts";
import { isEnded, type Job } from "#api/jobs.ts";
import type { Ask } from "./feasible.ts";
import { type Ending, isWanted, spreadName, toFleet, waitsForHost } from "./job-rules.ts";
import type { Tags } from "./tag-classes.ts";

export interface TaskView {
  app: App | undefined;
  isGone: (hostId: string) => boolean;
}

/** How the job is to end now, if it is. */
export function taskEnding(job: Job, { app, isGone }: TaskView): Ending | undefined {
  if (isEnded(job)) return undefined;
  if (job.hostId !== undefined && isGone(job.hostId)) return { job, to: "lost" };
  const orphan = app === undefined || app.deleting === true;
  if (job.hostId === undefined) return orphan || !isWanted(job) ? { job, to: "down" } : undefined;
  return orphan && isWanted(job) ? { job, to: "stop" } : undefined;
}

export function taskWaits(job: Job, app: App | undefined): boolean {
  return job.task !== undefined && waitsForHost(job) && app !== undefined && app.deleting !== true;
}

/** `tags`: what its host must have (architecture.ts). */
export function taskAsk(job: Job, tags: Tags): Ask {
  return {
    app: job.appId,
    process: spreadName(job),
    release: job.releaseId,
    need: toFleet(job.need),
    tags,
    jobs: [job.id],
  };
}
