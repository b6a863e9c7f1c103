// A report of what has changed made whole again, with the report that it says it is since. Pure.
import { type HostReport, REPORTED_JOBS_MOST } from "#api/hosts.ts";

/** Undefined when `before` is another report than the one it is since, or when it would have more jobs than any host reports. */
export function wholeReport(report: HostReport, before: HostReport | undefined): HostReport | undefined {
  const { since, gone = [], ...rest } = report;
  if (since === undefined) return rest;
  if (before?.digest !== since) return undefined;
  const jobs = new Map(before.jobs.map((job) => [job.id, job]));
  for (const id of gone) jobs.delete(id);
  for (const job of report.jobs) jobs.set(job.id, job);
  return jobs.size > REPORTED_JOBS_MOST ? undefined : { ...rest, jobs: [...jobs.values()] };
}
