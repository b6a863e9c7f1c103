// Canaries: a share of a route's requests for the jobs of one release. Who asks for one is checked here, and when it ends.
import type { App } from "#api/apps.ts";
import { Fault } from "#api/fault.ts";
import type { Canary, HttpRoute, Route } from "#api/routes.ts";
import { findRelease } from "../apps/find.ts";
import type { DeploymentRecord } from "../deploy/record.ts";
import { PREFIX } from "../keys.ts";
import type { Entry } from "../store/entry.ts";
import type { Change, Store } from "../store/store.ts";

type Routes = Pick<Store, "list">;
type Asked = { release?: string | undefined; percent: number };

/**
 * The canary that somebody asks for. Faults: `not-found`, `gone` (the release), `conflict` (nothing is paused, or all jobs are of that
 * release and it has no other to share with).
 */
export function canaryOf(
  store: Store,
  app: App,
  { release, percent }: Asked,
  running: DeploymentRecord | undefined,
): Canary {
  const coming = running?.goingBack === undefined ? running?.toReleaseId : undefined;
  if (release === undefined && coming === undefined)
    throw new Fault(
      "conflict",
      `no deployment of ${app.name} is under way; name the release: flynn route update ROUTE --canary ${percent}% --release vN`,
    );
  const found = findRelease(store, app.id, release ?? coming!);
  if (found.id === app.releaseId && found.id !== coming)
    throw new Fault(
      "conflict",
      `v${found.version} is what ${app.name} runs, so there is nothing to share with; name a release that is to come`,
    );
  return { releaseId: found.id, version: found.version, percent };
}

/** Every http route of the app that gives the release a share. */
const withCanary = (store: Routes, appId: string, releaseId: string): Entry<HttpRoute>[] =>
  store
    .list<Route>(PREFIX.routes)
    .filter(
      (entry): entry is Entry<HttpRoute> =>
        entry.value.appId === appId && entry.value.type === "http" && entry.value.canary?.releaseId === releaseId,
    );

/** The release gets nothing more while it goes: the app's other jobs take all. */
export function canariesHeld(store: Routes, appId: string, releaseId: string): Change[] {
  return withCanary(store, appId, releaseId).map(({ key, value }) => ({
    key,
    value: { ...value, canary: { ...value.canary, releaseId, percent: 0 } },
  }));
}

/** From now on requests go to every job alike. */
export function canariesEnded(store: Routes, appId: string, releaseId: string): Change[] {
  return withCanary(store, appId, releaseId).map(({ key, value: { canary: _, ...value } }) => ({ key, value }));
}

/**
 * When a deployment begins: what other releases had is over. A staged one begins with the share that it was given, or that routes gave its
 * release before; any other has none.
 */
export function canariesAtStart(
  store: Routes,
  appId: string,
  {
    toReleaseId: releaseId,
    toVersion: version,
    isStaged,
    percent,
    processes,
  }: { toReleaseId: string; toVersion: number; isStaged: boolean; percent?: number; processes: readonly string[] },
): Change[] {
  return store.list<Route>(PREFIX.routes).flatMap(({ key, value }) => {
    if (value.appId !== appId || value.type !== "http") return [];
    if (percent !== undefined && processes.includes(value.process))
      return [{ key, value: { ...value, canary: { releaseId, version, percent } } }];
    const { canary, ...plain } = value;
    if (canary === undefined || (isStaged && canary.releaseId === releaseId)) return [];
    return [{ key, value: plain }];
  });
}
