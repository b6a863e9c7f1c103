// What of a report makes it a new one. Left out: what a beat carries itself, and what changes all the time (memory and disk in use), which
// a whole report brings up to date every so often. Pure.
import { createHash } from "node:crypto";
import type { HostReport } from "#api/hosts.ts";

export function reportDigest({ term: _, seq: __, now: ___, reachVersion: ____, space, ...report }: HostReport): string {
  const lasting = {
    ...report,
    pressure: space?.pressure ?? null,
    jobs: report.jobs.map(({ memoryBytes: _memory, disk, ...job }) => ({ ...job, limitBytes: disk?.limitBytes })),
  };
  return createHash("sha256").update(JSON.stringify(lasting)).digest("hex").slice(0, 32);
}
