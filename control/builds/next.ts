// What a build does next while its job is its concern. Pure: from the record and the job as they stand.
import type { Job } from "#api/jobs.ts";
import type { BuildRecord } from "./record.ts";
import { span } from "./words.ts";

export interface Seen {
  build: BuildRecord;
  /** Its current job; undefined when the cluster knows it no more. */
  job: Job | undefined;
  hostName: string | undefined;
  timeoutMs: number;
  /** Since its job was first seen without a host, or on one, in milliseconds: monotonic, as is the next. */
  standsForMs: number;
  /** Since the job was first seen to have ended. */
  endedForMs: number;
}

export type Next =
  | { type: "wait"; reason: string }
  /** Its job is on a host. */
  | { type: "building"; hostId: string }
  | { type: "store" }
  | { type: "again"; why: string }
  | { type: "fail"; reason: string };

/** Jobs a build may have: a lost host is bad luck once. */
const ATTEMPTS_MOST = 2;
/** Beyond the build's own limit, which its host keeps. */
const OVERTIME_MS = 60_000;
const HOST_WAIT_MOST_MS = 3_600_000;
/** A host's last words may come after its report that the job is down. */
const LAST_WORDS_MS = 15_000;

export function nextOf({ build, job, hostName, timeoutMs, standsForMs, endedForMs }: Seen): Next {
  const { result, product, attempt } = build;
  if (result !== undefined) {
    if (result.exitCode !== 0)
      return { type: "fail", reason: result.reason || `the build ended with code ${result.exitCode}` };
    return product === undefined ? { type: "fail", reason: "the build made no image" } : { type: "store" };
  }
  if (job === undefined || job.state === "lost") {
    const why = `host ${hostName ?? job?.hostId ?? "of the build"} was lost`;
    return attempt < ATTEMPTS_MOST ? { type: "again", why } : { type: "fail", reason: `${why}, the second one` };
  }
  if (job.state === "down") {
    if (endedForMs < LAST_WORDS_MS && job.hostId !== undefined) return { type: "wait", reason: "its job has ended" };
    const code = job.exitCode === undefined ? "" : ` with code ${job.exitCode}`;
    return { type: "fail", reason: `its job ended${code} without a result${job.reason ? `: ${job.reason}` : ""}` };
  }
  if (job.hostId === undefined) {
    if (standsForMs > HOST_WAIT_MOST_MS)
      return { type: "fail", reason: `no host had room for it within ${span(HOST_WAIT_MOST_MS)}: ${job.reason}` };
    return { type: "wait", reason: job.reason === "" ? "" : `waits for a host: ${job.reason}` };
  }
  if (build.state === "queued" || build.hostId !== job.hostId) return { type: "building", hostId: job.hostId };
  if (standsForMs > timeoutMs + OVERTIME_MS)
    return { type: "fail", reason: `it took longer than ${span(timeoutMs)}, the limit (flynn build set timeout=...)` };
  return { type: "wait", reason: "" };
}
