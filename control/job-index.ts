// Jobs by id and by host, kept from durable records: what a host is told is always something that survives a crash.
import type { Job } from "#api/jobs.ts";
import { PREFIX } from "./keys.ts";
import type { LogRecord } from "./store/log.ts";
import type { Store } from "./store/store.ts";

export interface JobIndex {
  get(jobId: string): Job | undefined;
  onHost(hostId: string): Job[];
  /** Host ids whose jobs a record changes: those a job left, stays on, or came to. Call before `apply`. */
  touched(record: LogRecord): Set<string>;
  apply(record: LogRecord): void;
}

export function jobIndex(store: Store): JobIndex {
  const byId = new Map<string, Job>();
  const byHost = new Map<string, Map<string, Job>>();

  const drop = (id: string) => {
    const old = byId.get(id);
    if (old?.hostId) byHost.get(old.hostId)?.delete(id);
    byId.delete(id);
  };
  const put = (job: Job) => {
    drop(job.id);
    byId.set(job.id, job);
    if (job.hostId === undefined) return;
    const jobs = byHost.get(job.hostId) ?? new Map<string, Job>();
    byHost.set(job.hostId, jobs.set(job.id, job));
  };
  for (const { value } of store.list<Job>(PREFIX.jobs)) put(value);

  return {
    get: (id) => byId.get(id),
    onHost: (hostId) => [...(byHost.get(hostId)?.values() ?? [])],
    touched(record) {
      const hostIds = new Set<string>();
      for (const { key, value } of record.mutations) {
        if (!key.startsWith(PREFIX.jobs)) continue;
        for (const job of [byId.get(jobIdOf(key)), value as Job | null]) if (job?.hostId) hostIds.add(job.hostId);
      }
      return hostIds;
    },
    apply(record) {
      for (const { key, value } of record.mutations) {
        if (!key.startsWith(PREFIX.jobs)) continue;
        if (value === null) drop(jobIdOf(key));
        else put(value as unknown as Job);
      }
    },
  };
}

const jobIdOf = (key: string): string => key.slice(key.lastIndexOf("/") + 1);
