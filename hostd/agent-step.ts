// What an agent does in one turn, as rules: whom it follows, what of a look is out of date, what is watched of a host's containers, and
// what the look makes of the records. The agent (agent.ts) looks, asks these, and acts.
import type { HostTarget } from "#api/host-agents.ts";
import type { JobSpec } from "#api/jobs.ts";
import { type Container, LABELS } from "./engine/engine.ts";
import type { Watched } from "./health.ts";
import { type JobRecord, type Observation, observe, ownContainer } from "./job-record.ts";

/** `nothing`: no target yet. `kept`: the copy on disk, control was not heard since the start. `fresh`: control's own. `quarantine`: control's own, made of a state that was restored. */
export type Following =
  | { state: "nothing" }
  | { state: "kept" | "fresh"; target: HostTarget }
  | { state: "quarantine"; target: HostTarget; restoredAt: string; sinceMs: number };

export const followingKept = (target: HostTarget | undefined): Following =>
  target === undefined ? { state: "nothing" } : { state: "kept", target };

/** Of the same restoration the time goes on. */
export function followingNext(now: Following, target: HostTarget, nowMs: number): Following {
  const restoredAt = target.quarantine?.restoredAt;
  if (restoredAt === undefined) return { state: "fresh", target };
  const isSame = now.state === "quarantine" && now.restoredAt === restoredAt;
  return { state: "quarantine", target, restoredAt, sinceMs: isSame ? now.sinceMs : nowMs };
}

export const targetOf = (following: Following): HostTarget | undefined =>
  following.state === "nothing" ? undefined : following.target;

const jobIdOf = ({ labels }: Container): string => labels[LABELS.job] ?? "";

/** Jobs of which it is asked how they ended, and not known yet: nothing is said or done of them meanwhile. */
export const unansweredJobs = (containers: readonly Container[]): string[] =>
  containers
    .filter(({ status, unanswered }) => unanswered === "asked" && status !== "running" && status !== "created")
    .map(jobIdOf);

/** Ids of containers that were told to end, and that nobody is at work on. */
export const stoppingContainers = (
  records: Iterable<JobRecord>,
  isBusy: (jobId: string) => boolean,
): ReadonlySet<string> =>
  new Set(
    [...records].flatMap(({ jobId, containerId, stoppingSinceMs }) =>
      stoppingSinceMs === undefined || containerId === undefined || isBusy(jobId) ? [] : [containerId],
    ),
  );

type Records = ReadonlyMap<string, JobRecord>;
type Jobs = ReadonlyMap<string, JobSpec>;

/** Running containers of jobs that the target has, each with the job's check. */
export const watchedContainers = (running: readonly Container[], jobs: Jobs, records: Records): Watched[] =>
  running.flatMap((container) => {
    const job = jobs.get(jobIdOf(container));
    const record = job && records.get(job.id);
    const wasHealthy = record?.containerId === container.id && record.upSinceMs !== undefined;
    const { id, address } = container;
    return job ? [{ containerId: id, check: job.health, address, port: job.port, wasHealthy }] : [];
  });

/** What is known of a job and its container beside the look itself. */
export type Beside = Omit<Observation, "job" | "record" | "container">;

export interface Look {
  jobs: Jobs;
  records: Records;
  containers: readonly Container[];
  /** Jobs that this look may be out of date for (nomad #14850): their records stay as they are. */
  stale: ReadonlySet<string>;
  besideOf: (jobId: string, container: Container | undefined) => Beside;
}

/** Records as the look leaves them, and jobs of which nothing is left. */
export function recordsAfterLook({ jobs, records, containers, stale, besideOf }: Look): {
  seen: JobRecord[];
  gone: string[];
} {
  const found = Map.groupBy(containers, jobIdOf);
  const seen: JobRecord[] = [];
  const gone: string[] = [];
  for (const jobId of new Set([...jobs.keys(), ...found.keys(), ...records.keys()])) {
    if (stale.has(jobId)) continue;
    const container = ownContainer(found.get(jobId) ?? [], jobId);
    const job = jobs.get(jobId);
    if (job === undefined && container === undefined) gone.push(jobId);
    else seen.push(observe({ job, record: records.get(jobId), container, ...besideOf(jobId, container) }));
  }
  return { seen, gone };
}
