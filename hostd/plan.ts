// The plan: what must be done so that this host's containers equal its target. Pure; every job gets a decision with its reason,
// also when there is nothing to do, and a decision carries at most one step.
import type { HostTarget } from "#api/host-agents.ts";
import type { JobSpec, Task } from "#api/jobs.ts";
import { formatDuration } from "#lib/units.ts";
import { type Container, LABELS } from "./engine/engine.ts";
import { isJobContainer, isOutdated } from "./job-container.ts";
import { ATTACH_WAIT_MS, type JobRecord } from "./job-record.ts";

export type Step =
  /** Pull, create and start. `attempt` counts the starts before. */
  | { do: "create"; job: JobSpec; attempt: number }
  | { do: "start"; container: string }
  | { do: "signal"; container: string; signal: "SIGTERM" | "SIGKILL" }
  | { do: "remove"; container: string }
  /** Give up a start under way. */
  | { do: "cancel" };

export interface Decision {
  jobId: string;
  step?: Step;
  why: string;
  /** When to look again though nothing has changed. */
  dueMs?: number;
  /** It runs on though the target does not know it, since control's state was restored. */
  quarantined?: boolean;
}

export interface PlanInput {
  target?: HostTarget;
  /** The target was received from control since this hostd started; a copy from disk ends no unknown container. */
  fresh: boolean;
  containers: readonly Container[];
  records: ReadonlyMap<string, JobRecord>;
  /** Steps under way, by job. */
  busy: ReadonlyMap<string, Step["do"]>;
  engineHealthy: boolean;
  /** Containers whose log has been kept to its end. */
  captured: ReadonlySet<string>;
  /** Jobs whose streams a client holds now. */
  attached?: ReadonlySet<string>;
  /** Containers that took more of the disk than they may, with the reason in full. */
  excess?: ReadonlyMap<string, string>;
  nowMs: number;
  /** When the target first said that control's state was restored, on this host's monotonic clock. */
  quarantineSinceMs?: number;
}

/** A person has so long to say what becomes of containers that a restored state does not know. */
export const QUARANTINE_MS = 600_000;
/** Clocks of hosts and control may differ by this much. */
const CLOCKS_MS = 7_200_000;
const SHORTEST_STOP_MS = 1_000;
const ATTACHED_GRACE_MS = 3_000;
/** Before SIGKILL; a quarter of the time where that is less. */
const LAST_CALL_MS = 5_000;
/** SIGKILL is sent again this often to a process that does not die of it. */
export const KILL_AGAIN_MS = 10_000;
/** A log that cannot be read to its end keeps an ended container no longer than this. */
const UNCAPTURED_MS = 60_000;

export function plan(input: PlanInput): Decision[] {
  const { target, containers } = input;
  const byJob = new Map(containers.filter(isJobContainer).map((own) => [own.labels[LABELS.job]!, own]));
  const wanted = new Map(target?.jobs.map((job) => [job.id, job]));
  const ids = new Set([...wanted.keys(), ...byJob.keys()]);
  return [...ids].map((jobId) => {
    if (!input.engineHealthy) return { jobId, why: "the container engine does not answer; what runs goes on" };
    if (target === undefined) return { jobId, why: "no target was ever received" };
    const own = byJob.get(jobId);
    const job = wanted.get(jobId);
    const doing = input.busy.get(jobId);
    if (doing === "create" && job?.desired !== "run")
      return { jobId, step: { do: "cancel" }, why: "its start is under way and it is no longer wanted" };
    if (doing !== undefined) return { jobId, why: `${doing} is under way` };
    if (job === undefined) return unknown(input, jobId, own);
    return job.desired === "stop" ? stop(input, job, own) : run(input, job, own);
  });
}

export const steps = (decisions: readonly Decision[]): Decision[] => decisions.filter(({ step }) => step !== undefined);

/** The earliest time at which a decision changes by itself. */
export function nextDueMs(decisions: readonly Decision[]): number {
  return Math.min(...decisions.map(({ dueMs }) => dueMs ?? Number.POSITIVE_INFINITY));
}

function unknown(input: PlanInput, jobId: string, own: Container | undefined): Decision {
  if (own === undefined) return { jobId, why: "nothing is left of it" };
  if (!input.fresh)
    return { jobId, why: "not in the target kept on disk; it runs on until control has said so itself" };
  return quarantine(input, jobId, own) ?? end(input, jobId, own, 30_000, "no longer in the target");
}

/** Started after what the restored state is of, and before it was restored: its record may be among those that are lost. */
function quarantine(input: PlanInput, jobId: string, own: Container): Decision | undefined {
  const { target, nowMs, quarantineSinceMs = nowMs } = input;
  const restored = target?.quarantine;
  if (restored === undefined || restored.decision === "end" || own.status !== "running") return undefined;
  const startedMs = Date.parse(own.startedAt ?? "");
  if (startedMs > Date.parse(restored.restoredAt) + CLOCKS_MS) return undefined;
  if (startedMs < Date.parse(restored.at ?? "") - CLOCKS_MS) return undefined;
  const why = "control's state was restored and does not know it";
  if (restored.decision === "keep") return { jobId, quarantined: true, why: `${why}; it is kept, as a person decided` };
  const dueMs = quarantineSinceMs + QUARANTINE_MS;
  if (nowMs >= dueMs) return undefined;
  return { jobId, quarantined: true, dueMs, why: `${why}; it runs on until a person decides, or ten minutes passed` };
}

function stop(input: PlanInput, job: JobSpec, own: Container | undefined): Decision {
  if (own === undefined) return { jobId: job.id, why: "stopped, as wanted" };
  const graceMs = job.task === undefined ? job.stopTimeoutMs : graceOf(job, job.task);
  return end(input, job.id, own, graceMs, "control wants it stopped");
}

function run(input: PlanInput, job: JobSpec, own: Container | undefined): Decision {
  if (job.task !== undefined) return runOnce(input, job, job.task, own);
  const jobId = job.id;
  const record = input.records.get(jobId);
  if (own === undefined) {
    const startAfterMs = record?.startAfterMs ?? 0;
    if (startAfterMs > input.nowMs)
      return {
        jobId,
        dueMs: startAfterMs,
        why: `starts again in ${formatDuration(startAfterMs - input.nowMs)} after ${record?.crashes} crashes in a row`,
      };
    const attempt = (record?.endedId === undefined ? record?.restarts : record.restarts + 1) ?? 0;
    return { jobId, step: { do: "create", job, attempt }, why: "wanted, and has no container" };
  }
  if (own.status === "created" && own.error === undefined && !isOutdated(own, job))
    return { jobId, step: { do: "start", container: own.name }, why: "its container was created and never started" };
  if (own.status !== "running") return end(input, jobId, own, 0, "its container has ended");
  const excess = input.excess?.get(own.id);
  if (excess !== undefined && record?.killedAtMs === undefined) return kill(jobId, own, excess);
  if (isOutdated(own, job)) return end(input, jobId, own, job.stopTimeoutMs, "its container is of an older spec");
  if (record?.stoppingSinceMs !== undefined)
    return end(input, jobId, own, job.stopTimeoutMs, record.stopReason ?? "it was told to end");
  const { runningSinceMs, upSinceMs } = record ?? {};
  if (runningSinceMs === undefined || upSinceMs !== undefined) return { jobId, why: "runs, as wanted" };
  const dueMs = runningSinceMs + job.health.startTimeoutMs;
  if (dueMs > input.nowMs) return { jobId, dueMs, why: "runs, not yet healthy" };
  return end(input, jobId, own, job.stopTimeoutMs, startTimeoutReason(job, record));
}

/** One start, one end: whatever its exit code, it is not made again. */
function runOnce(input: PlanInput, job: JobSpec, task: Task, own: Container | undefined): Decision {
  const jobId = job.id;
  const record = input.records.get(jobId);
  if (record?.state === "down")
    return own ? end(input, jobId, own, 0, "it has run") : { jobId, why: "it has run, and runs once" };
  if (own === undefined) return { jobId, step: { do: "create", job, attempt: 0 }, why: "wanted, and has no container" };
  if (own.status === "created" && own.error === undefined) {
    const waiting = {
      jobId,
      why: "waits for its client",
      dueMs: (record?.waitsSinceMs ?? input.nowMs) + ATTACH_WAIT_MS,
    };
    const start = {
      jobId,
      step: { do: "start", container: own.name },
      why: "its container was never started",
    } as const;
    return task.attach ? waiting : start;
  }
  if (own.status !== "running") return end(input, jobId, own, 0, "its container has ended");
  const excess = input.excess?.get(own.id);
  if (excess !== undefined && record?.killedAtMs === undefined) return kill(jobId, own, excess);
  if (record?.stoppingSinceMs !== undefined)
    return end(input, jobId, own, graceOf(job, task), record.stopReason ?? "it was told to end");
  if (task.attach && !input.attached?.has(jobId))
    return end(input, jobId, own, graceOf(job, task), "its client went away");
  const { runningSinceMs } = record ?? {};
  if (task.timeoutMs === undefined || runningSinceMs === undefined) return { jobId, why: "runs, once" };
  const dueMs = runningSinceMs + task.timeoutMs;
  if (input.nowMs < dueMs) return { jobId, dueMs, why: "runs, once" };
  return end(input, jobId, own, graceOf(job, task), `ran longer than ${formatDuration(task.timeoutMs)}`);
}

/** At once: what it writes meanwhile is others' room. */
const kill = (jobId: string, { name }: Container, why: string): Decision => ({
  jobId,
  step: { do: "signal", container: name, signal: "SIGKILL" },
  why,
});

/** Nobody waits for an attached job that is told to end, and an interactive shell does not hear SIGTERM at all. */
const graceOf = ({ stopTimeoutMs }: JobSpec, { attach }: Task): number =>
  attach ? Math.min(stopTimeoutMs, ATTACHED_GRACE_MS) : stopTimeoutMs;

function startTimeoutReason(job: JobSpec, record: JobRecord | undefined): string {
  const detail = record?.reason ? `: ${record.reason}` : "";
  return `not healthy within ${formatDuration(job.health.startTimeoutMs)}${detail}`;
}

/**
 * The way out of any container: SIGTERM, SIGKILL after the grace, log kept, removed. SIGTERM comes once: many programs take a second one
 * for "now". Where hostd ended between writing that it sends it and writing that it was sent, nobody knows whether it was; such a job
 * has its time undisturbed, and hears it shortly before SIGKILL, when a second one cuts little short and a first one is better than none.
 */
function end(input: PlanInput, jobId: string, container: Container, graceMs: number, why: string): Decision {
  const { nowMs, captured } = input;
  const record = input.records.get(jobId);
  const name = container.name;
  if (container.status === "removing") return { jobId, why: `${why}; the engine removes it` };
  if (container.status === "created" || container.status === "dead")
    return { jobId, step: { do: "remove", container: name }, why };
  if (container.status === "exited") {
    const waitedMs = nowMs - (record?.endSeenMs ?? nowMs);
    if (captured.has(container.id) || waitedMs >= UNCAPTURED_MS)
      return { jobId, step: { do: "remove", container: name }, why };
    return { jobId, dueMs: nowMs + 1_000, why: `${why}; its log is being kept` };
  }
  const since = record?.containerId === container.id ? record.stoppingSinceMs : undefined;
  if (since === undefined) return { jobId, step: { do: "signal", container: name, signal: "SIGTERM" }, why };
  const stopMs = Math.max(graceMs, SHORTEST_STOP_MS);
  const killAtMs = since + stopMs;
  const lastCallMs = killAtMs - Math.min(LAST_CALL_MS, stopMs / 4);
  const untold = record?.untold && record.killedAtMs === undefined;
  if (untold && nowMs >= lastCallMs)
    return {
      jobId,
      step: { do: "signal", container: name, signal: "SIGTERM" },
      why: `${why}; hostd ended while it was being told, and it may not have heard`,
    };
  if (untold) return { jobId, dueMs: lastCallMs, why: `${why}; has until SIGKILL to end` };
  if (nowMs < killAtMs) return { jobId, dueMs: killAtMs, why: `${why}; has until SIGKILL to end` };
  const againMs = (record?.killedAtMs ?? Number.NEGATIVE_INFINITY) + KILL_AGAIN_MS;
  if (nowMs < againMs) return { jobId, dueMs: againMs, why: `${why}; SIGKILL was sent` };
  return {
    jobId,
    step: { do: "signal", container: name, signal: "SIGKILL" },
    why: `${why}; did not end within its grace`,
  };
}
