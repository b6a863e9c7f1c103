// When a record last changed anything that a host's report is compared with, so that a report which says what the one before said is
// looked at again only after such a change.
import type { JobChange } from "./job-index.ts";
import { PREFIX } from "./keys.ts";
import type { MachineRecord } from "./records.ts";
import type { LogRecord } from "./store/log.ts";

export interface HostChanges {
  apply(record: LogRecord, jobs: readonly JobChange[]): void;
  /** Seq of that record; 0 when there was none since the start. Also of one by which changes were taken back. */
  seqOf(hostId: string): number;
}

export function hostChanges(): HostChanges {
  const seqs = new Map<string, number>();
  let takenBackSeq = 0;
  return {
    apply({ seq, mutations }, jobs) {
      // Takes the number of a record that was refused after it was applied: what was found while it stood does not hold.
      if (mutations.length === 0) takenBackSeq = seq;
      for (const { before, after } of jobs)
        for (const job of [before, after]) if (job?.hostId !== undefined) seqs.set(job.hostId, seq);
      for (const { key, value } of mutations) {
        if (key.startsWith(PREFIX.hosts)) {
          const hostId = key.slice(PREFIX.hosts.length);
          if (value === null) seqs.delete(hostId);
          else seqs.set(hostId, seq);
        } else if (key.startsWith(PREFIX.machines)) {
          const { hostId } = (value as unknown as MachineRecord | null) ?? {};
          if (hostId !== undefined) seqs.set(hostId, seq);
        }
      }
    },
    seqOf: (hostId) => Math.max(seqs.get(hostId) ?? 0, takenBackSeq),
  };
}
