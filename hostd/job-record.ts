// What hostd remembers of a job beside its container: state, crash count, when it may start again. Kept on disk; a lost file
// costs a fresh backoff and nothing else. `Ms` times are the kernel's monotonic clock, so a clock jump fires no timer.
import type { JobReport, JobSpec } from "#api/jobs.ts";
import { backoffMs } from "#lib/retry.ts";
import { formatSize } from "#lib/units.ts";
import { type Container, LABELS } from "./engine/engine.ts";
import { containerName } from "./job-container.ts";

export interface JobRecord {
  jobId: string;
  app: string;
  process: string;
  state: JobReport["state"];
  reason: string;
  restarts: number;
  /** Crashes in a row; 10 minutes up clear it. */
  crashes: number;
  /** Not started again before this. */
  startAfterMs: number;
  /** The container whose life this record tells of. */
  containerId?: string;
  /** The container whose end is already counted. */
  endedId?: string;
  address?: string;
  exitCode?: number;
  startedAt?: string;
  upAt?: string;
  /** Since when its container runs, as far as this hostd or the one before saw. */
  runningSinceMs?: number;
  upSinceMs?: number;
  /** When SIGTERM was sent, and why. */
  stoppingSinceMs?: number;
  stopReason?: string;
  killedAtMs?: number;
  /** When its container was first seen to have ended. */
  endSeenMs?: number;
}

export type HealthState = "starting" | "healthy" | "unhealthy";
export interface JobHealth {
  state: HealthState;
  /** Why the last probe failed. */
  reason: string;
}

export interface Observation {
  job?: JobSpec;
  record?: JobRecord;
  /** The container of the job's own name, if there is one. */
  container?: Container;
  health?: JobHealth;
  /** True once the ended container's log has been kept to its last line. */
  captured: boolean;
  lastLine?: string;
  nowMs: number;
  now: string;
  random?: () => number;
}

export const RESTART_BASE_MS = 1_000;
export const RESTART_MAX_MS = 300_000;
export const STEADY_MS = 600_000;
/** An end is told without its last log line when the log has not ended after this. */
export const CAPTURE_GRACE_MS = 5_000;

export function newRecord(job: { id: string; app: string; process: string }, container?: Container): JobRecord {
  const attempt = Number(container?.labels[LABELS.attempt] ?? 0) || 0;
  const { id, app, process } = job;
  return {
    jobId: id,
    app,
    process,
    state: "starting",
    reason: "",
    restarts: attempt,
    crashes: attempt,
    startAfterMs: 0,
  };
}

/** The record after one look at the job; pure, so a whole life of a job is a fold over looks. */
export function observe(seen: Observation): JobRecord {
  const { job, container, nowMs } = seen;
  const about = job ?? {
    id: container?.labels[LABELS.job] ?? seen.record?.jobId ?? "",
    app: container?.labels[LABELS.app] ?? seen.record?.app ?? "",
    process: container?.labels[LABELS.process] ?? seen.record?.process ?? "",
  };
  let record = seen.record ?? newRecord(about, container);
  if (container === undefined) return observeNone(record, seen);
  if (container.id === record.endedId) return record;
  if (container.id !== record.containerId) {
    const { stoppingSinceMs: _, stopReason: __, killedAtMs: ___, upSinceMs: ____, upAt: _____, ...rest } = record;
    record = { ...rest, containerId: container.id, runningSinceMs: undefined, endSeenMs: undefined };
    record = { ...record, state: "starting", reason: "", exitCode: undefined };
  }
  if (container.status === "running") return observeRunning(record, container, seen);
  if (container.status === "created" && container.error === undefined) return record;
  const endSeenMs = record.endSeenMs ?? nowMs;
  if (!seen.captured && nowMs - endSeenMs < CAPTURE_GRACE_MS) return { ...record, endSeenMs };
  return observeEnd({ ...record, endSeenMs }, container, seen);
}

function observeNone(record: JobRecord, seen: Observation): JobRecord {
  const { containerId, ...rest } = record;
  if (seen.job?.desired === "stop" || seen.job === undefined)
    return { ...rest, state: "down", reason: "", stoppingSinceMs: undefined, address: undefined };
  if (containerId === undefined || containerId === record.endedId) return rest;
  const ended = { ...rest, endedId: containerId };
  if (record.stoppingSinceMs !== undefined) return crashed(ended, record.stopReason ?? "stopped", seen);
  return crashed(ended, "its container was removed from outside", seen);
}

function observeRunning(record: JobRecord, container: Container, seen: Observation): JobRecord {
  const { nowMs, now, health } = seen;
  const runningSinceMs = record.runningSinceMs ?? nowMs;
  const running = { ...record, runningSinceMs, address: container.address, startedAt: container.startedAt };
  if (record.stoppingSinceMs !== undefined) return { ...running, state: "stopping" };
  if (health === undefined) return running;
  if (health.state === "healthy") {
    const upSinceMs = record.upSinceMs ?? nowMs;
    const crashes = nowMs - upSinceMs >= STEADY_MS ? 0 : record.crashes;
    return { ...running, state: "up", reason: "", upSinceMs, upAt: record.upAt ?? now, crashes };
  }
  // One that was healthy before is unhealthy, never `starting` again.
  if (health.state === "unhealthy" && record.upSinceMs !== undefined)
    return { ...running, state: "unhealthy", reason: health.reason };
  return { ...running, state: record.upSinceMs === undefined ? "starting" : record.state, reason: health.reason };
}

function observeEnd(record: JobRecord, container: Container, seen: Observation): JobRecord {
  const { exitCode } = container;
  const ended = { ...record, endedId: container.id, ...(exitCode === undefined ? {} : { exitCode }) };
  const wanted = seen.job?.desired === "run";
  if (!wanted) return { ...ended, state: "down", reason: "", stoppingSinceMs: undefined };
  return crashed(ended, record.stopReason ?? endReason(container, seen), seen);
}

function crashed(record: JobRecord, reason: string, { nowMs, random }: Observation): JobRecord {
  const { stoppingSinceMs: _, stopReason: __, killedAtMs: ___, upSinceMs, address: ____, ...rest } = record;
  const steady = upSinceMs !== undefined && nowMs - upSinceMs >= STEADY_MS;
  const crashes = (steady ? 0 : record.crashes) + 1;
  const startAfterMs = nowMs + backoffMs(crashes, RESTART_BASE_MS, RESTART_MAX_MS, random);
  return { ...rest, state: "crashed", reason, crashes, startAfterMs, runningSinceMs: undefined, upAt: undefined };
}

function endReason(container: Container, { job, lastLine }: Observation): string {
  if (container.error) return `could not be started: ${container.error.slice(0, 300)}`;
  if (container.oomKilled) return `out of memory${job ? ` (limit ${formatSize(job.memoryBytes)})` : ""}`;
  const line = lastLine?.trim().slice(0, 200);
  // Docker's init found nothing to run: its words, without its own name.
  const init = /^\[FATAL tini \(\d+\)\] exec (.+) failed: (.+)$/.exec(line ?? "");
  if (init) return `cannot run ${init[1]}: ${init[2]}${/format/.test(init[2]!) ? " (another architecture?)" : ""}`;
  return `exited ${container.exitCode ?? "?"}${line ? `: ${line}` : ""}`;
}

/** A start that failed before there was a process: pull, create or start refused. */
export function startFailed(record: JobRecord, reason: string, seen: Pick<Observation, "nowMs" | "random">): JobRecord {
  return crashed(record, reason, { ...seen, captured: true, now: "" });
}

export function jobReport(record: JobRecord): JobReport {
  const { jobId: id, state, reason, address, restarts, exitCode, startedAt, upAt } = record;
  const alive = state === "up" || state === "unhealthy" || state === "starting" || state === "stopping";
  return { id, state, reason, restarts, exitCode, startedAt, upAt, ...(alive && address ? { address } : {}) };
}

/** What the platform writes into the app's log when a job moves. */
export function changeLines(before: JobRecord | undefined, after: JobRecord): string[] {
  if (before?.state === after.state) return [];
  const lines = before ? [`State changed from ${before.state} to ${after.state}`] : [];
  const ended = after.endedId !== undefined && after.endedId !== before?.endedId;
  if (ended && after.reason.startsWith("out of memory")) lines.unshift(`Process was killed: ${after.reason}`);
  else if (ended && after.exitCode !== undefined) lines.unshift(`Process exited with status ${after.exitCode}`);
  else if (after.state === "crashed") lines.unshift(`Start failed: ${after.reason}`);
  return lines;
}

export const ownContainer = (containers: readonly Container[], jobId: string): Container | undefined =>
  containers.find((container) => container.name === containerName(jobId));
