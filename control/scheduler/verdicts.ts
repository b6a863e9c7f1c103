// For every host, whether one more job like this one could go there now, and why not.
import type { Job } from "#api/jobs.ts";
import { keys, PREFIX } from "../keys.ts";
import type { HostRecord, ReleaseRecord } from "../records.ts";
import type { Store } from "../store/store.ts";
import { askedTags } from "./architecture.ts";
import type { Ask } from "./feasible.ts";
import type { Fleet } from "./fleet.ts";
import { toFleet } from "./job-rules.ts";
import { whyNotHere } from "./why-not.ts";

export interface HostVerdict {
  host: string;
  fits: boolean;
  why: string | null;
}

/** What one more job like this one asks for. */
export function waitingAsk(store: Store, job: Job): Ask {
  const { appId: app, process } = job;
  const tags = askedTags(store, job.tags, app, job.releaseId);
  const release = store.get<ReleaseRecord>(keys.release(app, job.releaseId))?.value;
  const antiAffinity = job.task === undefined && release?.processes[process]?.antiAffinity === true;
  const need = toFleet(job.need);
  return { app, process, release: job.releaseId, need, tags, antiAffinity, jobs: [job.id] };
}

export function verdictsOn(store: Store, fleet: Fleet, job: Job): HostVerdict[] {
  const ask = waitingAsk(store, job);
  return store.list<HostRecord>(PREFIX.hosts).map(({ value: { id, name } }) => {
    const slot = fleet.slotOf(id);
    const why = slot === undefined ? "is not known yet" : whyNotHere(fleet, slot, ask);
    return { host: name, fits: why === undefined, why: why ?? null };
  });
}
