// What hostd remembers of a job beside its container: state, crash count, when it may start again. Kept on disk; a lost file
// costs a fresh backoff and nothing else. `Ms` times are the kernel's monotonic clock, so a clock jump fires no timer.
import { constants } from "node:os";
import type { JobReport, JobSpec } from "#api/jobs.ts";
import { backoffMs } from "#lib/retry.ts";
import { formatSize } from "#lib/units.ts";
import { type Container, LABELS } from "./engine/engine.ts";
import { containerName } from "./job-container.ts";

export interface JobRecord {
  jobId: string;
  app: string;
  /** Absent of a job from before it was kept. */
  appId?: string;
  process: string;
  state: JobReport["state"];
  reason: string;
  restarts: number;
  /** Crashes in a row; 10 minutes up clear it. */
  crashes: number;
  /** Not started again before this. */
  startAfterMs: number;
  /** The same on the wall's clock, for people. */
  nextStartAt?: string;
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
  /** When SIGTERM was decided on, and why: on disk before it is sent, so that the time to SIGKILL goes on over a restart. */
  stoppingSinceMs?: number;
  /** That it was sent is not on disk: after a restart it may have been, or not. */
  untold?: true | undefined;
  stopReason?: string;
  killedAtMs?: number;
  /** When its container was first seen to have ended. */
  endSeenMs?: number;
  /** Since when its container waits for the client whose streams it is to have. */
  waitsSinceMs?: number;
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
  /** A client holds its streams, or is about to. */
  attached?: boolean;
  /** For how long it is known that no process of it is left, though the engine says that it runs. */
  emptyForMs?: number;
  nowMs: number;
  now: string;
  random?: () => number;
}

export const RESTART_BASE_MS = 1_000;
export const RESTART_MAX_MS = 300_000;
export const STEADY_MS = 600_000;
/** An end is told without its last log line when the log has not ended after this. */
export const CAPTURE_GRACE_MS = 5_000;
/** An engine that says for so long that a container without processes runs has lost sight of it. */
export const LOST_SIGHT_MS = 5_000;
export const LOST_SIGHT =
  "its processes have ended, and Docker does not notice: the container hangs (its containerd-shim does not answer). Nothing else waits for it";
/** A job that is to have a client's streams waits for that client no longer. */
export const ATTACH_WAIT_MS = 60_000;

export function newRecord(
  job: { id: string; app: string; appId?: string | undefined; process: string },
  container?: Container,
): JobRecord {
  const attempt = Number(container?.labels[LABELS.attempt] ?? 0) || 0;
  const { id, app, appId, process } = job;
  return {
    jobId: id,
    app,
    ...(appId ? { appId } : {}),
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
    id: container?.labels[LABELS.job] ?? "",
    app: container?.labels[LABELS.app] ?? "",
    appId: container?.labels[LABELS.appId],
    process: container?.labels[LABELS.process] ?? "",
  };
  let record = seen.record ?? newRecord(about, container);
  if (container === undefined) return observeNone(record, seen);
  if (container.id === record.endedId) return record;
  if (container.id !== record.containerId) {
    const { upAt: _, ...rest } = withoutItsStop(record);
    record = { ...rest, containerId: container.id, runningSinceMs: undefined, endSeenMs: undefined };
    record = { ...record, state: "starting", reason: "", exitCode: undefined };
  }
  if (container.status === "running") return observeRunning(record, container, seen);
  if (container.status === "created" && container.error === undefined)
    return job?.task?.attach ? observeWaiting(record, container, seen) : record;
  const endSeenMs = record.endSeenMs ?? nowMs;
  if (!seen.captured && nowMs - endSeenMs < CAPTURE_GRACE_MS) return { ...record, endSeenMs };
  return observeEnd({ ...record, endSeenMs }, container, seen);
}

function observeNone(record: JobRecord, seen: Observation): JobRecord {
  const { containerId, ...rest } = record;
  if (seen.job?.task !== undefined && record.state === "down") return rest;
  if (seen.job?.desired === "stop" || seen.job === undefined)
    return { ...rest, state: "down", reason: "", stoppingSinceMs: undefined, address: undefined };
  if (containerId === undefined && seen.job.started)
    return over(rest, "its host lost it: neither its container nor its end is known");
  if (containerId === undefined || containerId === record.endedId) return rest;
  const ended = { ...rest, endedId: containerId };
  if (record.stoppingSinceMs !== undefined) return failed(ended, record.stopReason ?? "stopped", seen);
  return failed(ended, "its container was removed from outside", seen);
}

function observeWaiting(record: JobRecord, container: Container, { attached, nowMs }: Observation): JobRecord {
  const waitsSinceMs = record.waitsSinceMs ?? nowMs;
  const waiting = { ...record, waitsSinceMs, reason: "waits for its client" };
  if (attached || nowMs - waitsSinceMs < ATTACH_WAIT_MS) return waiting;
  return over({ ...waiting, endedId: container.id }, `no client came within ${ATTACH_WAIT_MS / 1000} s`);
}

function observeRunning(record: JobRecord, container: Container, seen: Observation): JobRecord {
  const { nowMs, now, health } = seen;
  const runningSinceMs = record.runningSinceMs ?? nowMs;
  const running = { ...record, runningSinceMs, address: container.address, startedAt: container.startedAt };
  if (record.stoppingSinceMs !== undefined) {
    const isLost = (seen.emptyForMs ?? 0) >= LOST_SIGHT_MS;
    return { ...running, state: "stopping", ...(isLost ? { reason: LOST_SIGHT } : {}) };
  }
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
  if (seen.job?.task !== undefined) return over(ended, record.stopReason ?? onceReason(container, seen));
  return crashed(ended, record.stopReason ?? endReason(container, seen), seen);
}

/** Without what is of one run of it and its stop alone. */
function withoutItsStop(record: JobRecord) {
  const { stoppingSinceMs: _, untold: __, stopReason: ___, killedAtMs: ____, upSinceMs: _____, ...rest } = record;
  return rest;
}

/** The end of a job that runs once. */
function over(record: JobRecord, reason: string): JobRecord {
  const { address: _, ...rest } = withoutItsStop(record);
  return { ...rest, state: "down", reason, runningSinceMs: undefined, waitsSinceMs: undefined };
}

function failed(record: JobRecord, reason: string, seen: Observation): JobRecord {
  return seen.job?.task === undefined ? crashed(record, reason, seen) : over(record, reason);
}

/** Success needs no words; a signal is said by its name. */
function onceReason(container: Container, seen: Observation): string {
  const { exitCode = 0, error, oomKilled } = container;
  const signal = Object.entries(constants.signals).find(([, number]) => number === exitCode - 128)?.[0];
  if (error === undefined && !oomKilled && exitCode === 0) return "";
  if (error === undefined && !oomKilled && signal !== undefined) return `ended by ${signal}`;
  return endReason(container, seen);
}

function crashed(
  record: JobRecord,
  reason: string,
  { nowMs, now, random }: Pick<Observation, "nowMs" | "now" | "random">,
): JobRecord {
  const {
    stoppingSinceMs: _,
    untold: _____,
    stopReason: __,
    killedAtMs: ___,
    upSinceMs,
    address: ____,
    ...rest
  } = record;
  const steady = upSinceMs !== undefined && nowMs - upSinceMs >= STEADY_MS;
  const crashes = (steady ? 0 : record.crashes) + 1;
  const delayMs = Math.round(backoffMs(crashes, RESTART_BASE_MS, RESTART_MAX_MS, random));
  const next = { startAfterMs: nowMs + delayMs, nextStartAt: new Date(Date.parse(now) + delayMs).toISOString() };
  return { ...rest, state: "crashed", reason, crashes, ...next, runningSinceMs: undefined, upAt: undefined };
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
export function startFailed(
  record: JobRecord,
  reason: string,
  seen: Pick<Observation, "nowMs" | "now" | "random" | "job">,
): JobRecord {
  if (seen.job?.task === undefined) return crashed(record, reason, seen);
  const unfit = /^cannot run /.test(reason);
  // As a shell says it: 127, no such program; 126, it cannot be run.
  const exitCode = unfit ? (/not found|no such file/i.test(reason) ? 127 : 126) : record.exitCode;
  return over({ ...record, endedId: record.containerId, exitCode }, reason);
}

export function jobReport(record: JobRecord): JobReport {
  const { jobId: id, state, reason, address, restarts, exitCode, startedAt, upAt, nextStartAt } = record;
  const alive = state === "up" || state === "unhealthy" || state === "starting" || state === "stopping";
  return {
    ...{ id, state, reason, restarts, exitCode, startedAt, upAt },
    ...(alive && address ? { address } : {}),
    ...(state === "crashed" && nextStartAt !== undefined ? { nextStartAt } : {}),
  };
}

export const ownContainer = (containers: readonly Container[], jobId: string): Container | undefined =>
  containers.find((container) => container.name === containerName(jobId));
