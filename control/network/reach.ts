// What one host enforces of who may reach whom: its own apps, those they may reach, and those that may reach them; no other app
// is named to it. Pure.
import { isEnded, type Job } from "#api/jobs.ts";
import type { Reach, ReachApp } from "#api/reach.ts";

/** The same for every host: the cluster's settings, and the addresses of the platform itself. */
export type ClusterReach = Omit<Reach, "version" | "apps">;

export interface ReachView {
  cluster: ClusterReach;
  /** Apps with jobs on the host that are not over. */
  appsOn(hostId: string): Iterable<string>;
  /** Of the app's jobs that are not over, on every host; sorted. */
  addressesOf(appId: string): string[];
  /** Apps that the app may reach by a rule. */
  reachableFrom(appId: string): Iterable<string>;
  /** Apps that may reach the app by a rule. */
  reaching(appId: string): Iterable<string>;
  /** Of external services that the app may reach by a rule; sorted. */
  outsideOf(appId: string): NonNullable<ReachApp["outside"]>;
}

export function reachOf(hostId: string, view: ReachView): Omit<Reach, "version"> {
  const own = new Set(view.appsOn(hostId));
  const named = new Set(own);
  for (const appId of own) {
    for (const to of view.reachableFrom(appId)) named.add(to);
    for (const from of view.reaching(appId)) named.add(from);
  }
  const apps = [...named].sort().map((appId): ReachApp => {
    const to = [...view.reachableFrom(appId)].sort();
    // Whom a neighbour reaches besides is no business of this host.
    if (!own.has(appId)) return { appId, addresses: view.addressesOf(appId), to: to.filter((id) => own.has(id)) };
    const outside = view.outsideOf(appId);
    return { appId, addresses: view.addressesOf(appId), to, ...(outside.length === 0 ? {} : { outside }) };
  });
  return { ...view.cluster, apps };
}

/** What a job adds to its app's reach while it is not over. A build's job has a network of its own, which reaches no app. */
export function memberOf(job: Job): { appId: string; hostId: string; address?: string } | undefined {
  if (isEnded(job) || job.hostId === undefined || job.task?.kind === "build") return undefined;
  const { appId, hostId, address } = job;
  return { appId, hostId, ...(address === undefined ? {} : { address }) };
}

/** Whether both say the same. Addresses of an app are one array until they change, so this costs a look per app. */
export function isSameReach(a: Omit<Reach, "version">, b: Omit<Reach, "version">): boolean {
  return (
    a.appNetwork === b.appNetwork &&
    a.egress === b.egress &&
    isSameList(a.closed, b.closed) &&
    (a.open === b.open || JSON.stringify(a.open) === JSON.stringify(b.open)) &&
    isSameList(a.routers, b.routers) &&
    a.apps.length === b.apps.length &&
    a.apps.every((app, at) => {
      const other = b.apps[at]!;
      return (
        app.appId === other.appId &&
        app.addresses === other.addresses &&
        isSameList(app.to, other.to) &&
        (app.outside === other.outside || JSON.stringify(app.outside) === JSON.stringify(other.outside))
      );
    })
  );
}

export const isSameList = (a: readonly unknown[], b: readonly unknown[]): boolean =>
  a === b || (a.length === b.length && a.every((one, at) => one === b[at]));
