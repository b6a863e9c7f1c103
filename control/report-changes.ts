// A report of what has changed made whole again, with the report that it says it is since. Pure.
import { type HostReport, REPORTED_JOBS_MOST, REPORTED_REASONS_MOST } from "#api/host-agents.ts";

/** Undefined when `before` is another report than the one it is since, or when it would be larger than any report that comes whole. */
export function wholeReport(report: HostReport, before: HostReport | undefined): HostReport | undefined {
  const { since, gone = [], ...rest } = report;
  if (since === undefined) return rest;
  if (before?.digest !== since) return undefined;
  const jobs = new Map(before.jobs.map((job) => [job.id, job]));
  for (const id of gone) jobs.delete(id);
  for (const job of report.jobs) jobs.set(job.id, job);
  let reasons = 0;
  for (const { reason } of jobs.values()) reasons += reason.length;
  if (jobs.size > REPORTED_JOBS_MOST || reasons > REPORTED_REASONS_MOST) return undefined;
  return { ...rest, jobs: [...jobs.values()] };
}
