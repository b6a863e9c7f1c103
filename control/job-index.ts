// Jobs by id and by host, kept from durable records: what a host is told is always something that survives a crash.
import type { Job } from "#api/jobs.ts";
import { PREFIX } from "./keys.ts";
import type { LogRecord } from "./store/log.ts";
import type { Store } from "./store/store.ts";

/** One job as it was and as it is. */
export interface JobChange {
  before?: Job;
  after?: Job;
}

export interface JobIndex {
  get(jobId: string): Job | undefined;
  onHost(hostId: string): Job[];
  ofApp(appId: string): Job[];
  /** Takes a record in, and says what of it changed jobs. */
  apply(record: LogRecord): JobChange[];
}

export function jobIndex(store: Store): JobIndex {
  const byId = new Map<string, Job>();
  const byHost = new Map<string, Map<string, Job>>();
  const byApp = new Map<string, Map<string, Job>>();

  const drop = (id: string) => {
    const old = byId.get(id);
    if (old === undefined) return;
    byId.delete(id);
    if (old.hostId !== undefined) takeOut(byHost, old.hostId, id);
    takeOut(byApp, old.appId, id);
  };
  const put = (job: Job) => {
    drop(job.id);
    byId.set(job.id, job);
    putIn(byApp, job.appId, job);
    if (job.hostId !== undefined) putIn(byHost, job.hostId, job);
  };
  for (const { value } of store.list<Job>(PREFIX.jobs)) put(value);

  return {
    get: (id) => byId.get(id),
    onHost: (hostId) => [...(byHost.get(hostId)?.values() ?? [])],
    ofApp: (appId) => [...(byApp.get(appId)?.values() ?? [])],
    apply(record) {
      const changes: JobChange[] = [];
      for (const { key, value } of record.mutations) {
        if (!key.startsWith(PREFIX.jobs)) continue;
        const before = byId.get(jobIdOf(key));
        const after = value === null ? undefined : (value as unknown as Job);
        if (after === undefined) drop(jobIdOf(key));
        else put(after);
        changes.push({ ...(before ? { before } : {}), ...(after ? { after } : {}) });
      }
      return changes;
    },
  };
}

type Groups = Map<string, Map<string, Job>>;

function putIn(groups: Groups, group: string, job: Job): void {
  const jobs = groups.get(group) ?? new Map<string, Job>();
  groups.set(group, jobs.set(job.id, job));
}

function takeOut(groups: Groups, group: string, jobId: string): void {
  const jobs = groups.get(group);
  jobs?.delete(jobId);
  if (jobs?.size === 0) groups.delete(group);
}

const jobIdOf = (key: string): string => key.slice(key.lastIndexOf("/") + 1);
