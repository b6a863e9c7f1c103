// What every router is told to serve: pure, from the store's view. A backend is there while its job is up or drains.

import type { Static } from "typebox";
import type { Job } from "#api/jobs.ts";
import type { Backend, Route, RouterTarget } from "#api/routes.ts";
import { keys, PREFIX } from "../keys.ts";
import type { ClusterSettings } from "../records.ts";
import type { Store } from "../store/store.ts";
import { peersOf } from "./host.ts";

type BackendEntry = Static<typeof Backend>;

export function routerTargetOf(store: Store, generation: number): RouterTarget {
  const routes = store.list<Route>(PREFIX.routes).map(({ value }) => value);
  const pools = new Map<string, RouterTarget["pools"][number]>();
  for (const { appId, app, process } of routes) {
    const id = poolId(appId, process);
    if (!pools.has(id)) pools.set(id, { id, app, process, backends: backendsOf(store, appId, process) });
  }
  return {
    term: store.term,
    generation,
    clusterRange: store.get<ClusterSettings>(keys.cluster)!.value.clusterRange,
    peers: peersOf(store),
    pools: [...pools.values()],
    routes: routes.map(({ domain, path, appId, process }) => ({ domain, path, poolId: poolId(appId, process) })),
  };
}

export const poolId = (appId: string, process: string): string => `${appId}/${process}`;

function backendsOf(store: Store, appId: string, process: string): BackendEntry[] {
  return store.list<Job>(keys.jobsOf(appId)).flatMap(({ value: job }) => {
    const state = job.process === process && job.task === undefined ? backendState(job) : undefined;
    return state && job.address && job.port ? [{ jobId: job.id, address: job.address, port: job.port, state }] : [];
  });
}

/** In the routes while healthy; in drain while its open requests end; out once it stops, fails or is lost. */
export function backendState(job: Pick<Job, "state" | "desired" | "upAt">): BackendEntry["state"] | undefined {
  if (job.desired === "stop") return undefined;
  if (job.state === "up") return job.desired === "drain" ? "drain" : "up";
  return job.desired === "drain" && job.state === "unhealthy" ? "drain" : undefined;
}

/** True for a record that may change what routers serve. */
export function changesRouting(mutatedKey: string): boolean {
  return (
    mutatedKey.startsWith(PREFIX.routes) || mutatedKey.startsWith(PREFIX.jobs) || mutatedKey.startsWith(PREFIX.hosts)
  );
}
