// When a draining job may be stopped: every live router serves a generation that knows of it, and none has a request open on it.
import type { Job } from "#api/jobs.ts";
import type { RouterReport, RouterTarget } from "#api/routes.ts";
import { poolId } from "./router.ts";

export interface Drain {
  job: Job;
  /** Seq at which the job was first in drain: a generation at or past it sends the job nothing new. */
  drainSeq: number;
  target: RouterTarget;
  /** Newest reports of the routers that are alive; a dead one is not waited for, it must resync before it serves again. */
  routers: readonly RouterReport[];
  /** How long it drains already, and the most it may, in milliseconds. */
  drainingMs: number;
  drainTimeoutMs: number;
}

export function isDrained({ job, drainSeq, target, routers, drainingMs, drainTimeoutMs }: Drain): boolean {
  if (drainingMs >= drainTimeoutMs) return true;
  const pool = target.pools.find(({ id }) => id === poolId(job.appId, job.process));
  const routed = pool?.backends.some(({ jobId }) => jobId === job.id) ?? false;
  const known = routed ? drainSeq : target.generation;
  return routers.every(
    ({ generation, draining }) =>
      generation >= known && !draining.some(({ jobId, sessions }) => jobId === job.id && sessions > 0),
  );
}
