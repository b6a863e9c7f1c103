// Apps and what belongs to them, by id or name. Absence becomes `not-found` here, once.
import type { App, Formation } from "#api/apps.ts";
import { Fault } from "#api/fault.ts";
import { isEnded, type Job } from "#api/jobs.ts";
import { keys } from "../keys.ts";
import type { ReleaseRecord } from "../records.ts";
import type { Entry } from "../store/entry.ts";
import type { Store } from "../store/store.ts";

export function findApp(store: Store, idOrName: string): Entry<App> {
  const id = store.get<string>(keys.appName(idOrName))?.value ?? idOrName;
  const entry = store.get<App>(keys.app(id));
  if (entry === undefined || entry.value.deleting) throw new Fault("not-found", `no app ${idOrName}`);
  return entry;
}

/** A release of the app by id, by `v3`, or by `3`. */
export function findRelease(store: Store, appId: string, text: string): ReleaseRecord {
  const version = /^v?(\d{1,9})$/.exec(text)?.[1];
  const release =
    store.get<ReleaseRecord>(keys.release(appId, text))?.value ??
    releasesOf(store, appId).find((candidate) => String(candidate.version) === version);
  if (release === undefined) throw missing(releasesOf(store, appId), text, version);
  return release;
}

function missing(there: readonly ReleaseRecord[], text: string, version: string | undefined): Fault {
  const [oldest, newest] = [there[0]?.version, there.at(-1)?.version];
  if (version === undefined || oldest === undefined || newest === undefined || Number(version) > newest)
    return new Fault("not-found", `no release ${text}`);
  const list = there.map((one) => `v${one.version}`).join(", ");
  return new Fault(
    "gone",
    `v${version} was collected: the last 10 releases are kept, and those in use; there are ${list.slice(0, 200)}`,
  );
}

/** Oldest first. */
export function releasesOf(store: Store, appId: string): ReleaseRecord[] {
  return store
    .list<ReleaseRecord>(keys.releasesOf(appId))
    .map(({ value }) => value)
    .sort((a, b) => a.version - b.version);
}

export function currentRelease(store: Store, app: App): ReleaseRecord | undefined {
  return app.releaseId === undefined ? undefined : store.get<ReleaseRecord>(keys.release(app.id, app.releaseId))?.value;
}

export function formationOf(store: Store, appId: string, releaseId: string): Entry<Formation> | undefined {
  return store.get<Formation>(keys.formation(appId, releaseId));
}

/** Jobs that are not over. */
export function liveJobs(store: Store, appId: string): Job[] {
  return store
    .list<Job>(keys.jobsOf(appId))
    .map(({ value }) => value)
    .filter((job) => !isEnded(job));
}
