// What the routers' reports prove: that all of them serve what a job has become, and that nobody is on a draining job any more. A
// report of another term proves nothing: its generations are those of a control that may have lost its last records. Nor does the
// silence of all routers: HAProxy serves on with what it was told last.
import type { Job } from "#api/jobs.ts";
import type { RouterReport } from "#api/router-agents.ts";
import type { TargetPool } from "./router.ts";

export interface Routers {
  term: number;
  /** Newest reports of those that are alive; of several a dead one is not waited for, it must resync before it serves again. */
  live: readonly RouterReport[];
  /** Routers of the cluster, alive or not. */
  members: number;
}

export interface Drain {
  job: Job;
  /** A generation at or past it sends the job nothing new. */
  generation: number;
  routers: Routers;
  /** How long live routers have known that it drains, and the longest that open sessions are waited for, in milliseconds. */
  drainingMs: number;
  drainTimeoutMs: number;
}

/** Every live router serves this generation or a later one. True in a cluster without routers: nothing is served, nothing is cut off. */
export function isServed(generation: number, { term, live, members }: Routers): boolean {
  if (members === 0) return true;
  return live.length > 0 && live.every((router) => router.term === term && router.generation >= generation);
}

/** The job may be stopped: the routers know that it drains, and none has a request open on it or the time for those is up. */
export function isDrained({ job, generation, routers, drainingMs, drainTimeoutMs }: Drain): boolean {
  if (!isServed(generation, routers)) return false;
  if (drainingMs >= drainTimeoutMs) return true;
  return routers.live.every(
    ({ draining }) => !draining.some(({ jobId, sessions }) => jobId === job.id && sessions > 0),
  );
}

/** The job is in what routers serve, by its pool as it stands now: a change of it makes a new generation. */
export const isRouted = ({ id }: Job, pool: TargetPool | undefined): boolean =>
  pool?.backends.some(({ jobId }) => jobId === id) ?? false;
