// What of a report makes it a new one. Left out: what a beat carries itself, and what changes all the time (memory and disk in use), which
// a whole report brings up to date every so often. Pure.
import { createHash } from "node:crypto";
import type { HostReport } from "#api/host-agents.ts";

export function reportDigest({ term: _, seq: __, now: ___, reachVersion: ____, space, ...report }: HostReport): string {
  const lasting = { ...report, pressure: space?.pressure ?? null, jobs: report.jobs.map(lastingJob) };
  return createHash("sha256").update(JSON.stringify(lasting)).digest("hex").slice(0, 32);
}

const lastingJob = ({ memoryBytes: _, disk, ...job }: HostReport["jobs"][number]) => ({
  ...job,
  limitBytes: disk?.limitBytes,
});

/** What of each job makes its row a new one, by its id. */
export type Rows = ReadonlyMap<string, string>;

export const rowsOf = ({ jobs }: HostReport): Rows =>
  new Map(jobs.map((job) => [job.id, JSON.stringify(lastingJob(job))]));

/** The jobs that are new or other than those rows, and the ids of rows that are no more. */
export function changedSince(rows: Rows, report: HostReport): Required<Pick<HostReport, "jobs" | "gone">> {
  const now = rowsOf(report);
  return {
    jobs: report.jobs.filter(({ id }) => now.get(id) !== rows.get(id)),
    gone: [...rows.keys()].filter((id) => !now.has(id)),
  };
}
