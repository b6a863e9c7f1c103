// The indexes that the rest of control reads, kept from durable records. Each takes every record in, in this order, for the later ones
// tell of what the earlier ones hold. One that throws on a record passes that record over, and harms neither the others nor what comes.

import type { Job } from "#api/jobs.ts";
import type { Log } from "#lib/log.ts";
import { causeChain } from "#lib/run.ts";
import type { HostChanges } from "./host-changes.ts";
import type { JobChange, JobIndex } from "./job-index.ts";
import { PREFIX } from "./keys.ts";
import type { Reaches } from "./network/reaches.ts";
import type { LogRecord } from "./store/log.ts";
import type { HostFeeds } from "./targets/host-feeds.ts";

export interface Indexes {
  jobs: Pick<JobIndex, "apply">;
  hostChanges: Pick<HostChanges, "apply">;
  feeds: Pick<HostFeeds, "apply">;
  reach: Pick<Reaches, "apply">;
}

export function takeIn({ jobs, hostChanges, feeds, reach }: Indexes, log: Log): (record: LogRecord) => void {
  const attempt = <T>(index: keyof Indexes, { seq }: LogRecord, take: () => T): T | undefined => {
    try {
      return take();
    } catch (error) {
      // Not tried again: it would fail again, with all that came since behind it.
      log.error({ index, seq, causes: causeChain(error) }, "a record is passed over by an index");
      return undefined;
    }
  };
  return (record) => {
    const changes = attempt("jobs", record, () => jobs.apply(record)) ?? asWritten(record);
    attempt("hostChanges", record, () => hostChanges.apply(record, changes));
    attempt("feeds", record, () => feeds.apply(record, changes));
    attempt("reach", record, () => reach.apply(record));
  };
}

/** The jobs of a record as it has them: what they were before is not known. */
const asWritten = ({ mutations }: LogRecord): JobChange[] =>
  mutations.flatMap(({ key, value }) =>
    key.startsWith(PREFIX.jobs) && value !== null ? [{ after: value as unknown as Job }] : [],
  );
