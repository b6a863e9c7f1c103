// What the routers' reports prove: that all of them serve what is wanted now, and that nobody is on a draining job any more. A
// report of another term proves nothing: its generations are those of a control that may have lost its last records.
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

/** Every live router serves the target, or a newer one. True when there is none: nothing is served, nothing is cut off. */
export function isAcknowledged(target: RouterTarget, routers: readonly RouterReport[]): boolean {
  return routers.every(({ term, generation }) => term === target.term && generation >= target.generation);
}

/** The job may be stopped: every live router knows that it drains, and none has a request open on it; or its time is up. */
export function isDrained({ job, drainSeq, target, routers, drainingMs, drainTimeoutMs }: Drain): boolean {
  if (!(drainingMs < drainTimeoutMs)) return true;
  const pool = target.pools.find(({ id }) => id === poolId(job.appId, job.process));
  const routed = pool?.backends.some(({ jobId }) => jobId === job.id) ?? false;
  const known = routed ? drainSeq : target.generation;
  return routers.every(
    ({ term, generation, draining }) =>
      term === target.term &&
      generation >= known &&
      !draining.some(({ jobId, sessions }) => jobId === job.id && sessions > 0),
  );
}
