// What every router is told to serve: pure, from the store's view. A backend is there while its job is up or drains.

import type { Static } from "typebox";
import type { Job } from "#api/jobs.ts";
import type { AppPages } from "#api/pages.ts";
import type { Backend, HttpRoute, Route, RouterTarget } from "#api/routes.ts";
import { keys, PREFIX } from "../keys.ts";
import type { ClusterSettings } from "../records.ts";
import { asciiHtml } from "../routing/ascii-html.ts";
import { allCertificates } from "../routing/certificates.ts";
import { maintenancePage } from "../routing/pages.ts";
import type { Store } from "../store/store.ts";
import { peersOf } from "./host.ts";

type BackendEntry = Static<typeof Backend>;
type TargetPool = RouterTarget["pools"][number];

/** A certificate's private key; undefined when it cannot be opened: that one is left out, the others are served. */
export type OpenKey = (sealedKey: string, certificateId: string) => string | undefined;

export function routerTargetOf(store: Store, generation: number, openKey: OpenKey = () => undefined): RouterTarget {
  const routes = store.list<Route>(PREFIX.routes).map(({ value }) => value);
  const pools = new Map<string, TargetPool>();
  for (const { appId, app, process } of routes) {
    const id = poolId(appId, process);
    if (!pools.has(id))
      pools.set(id, {
        id,
        app,
        process,
        backends: backendsOf(store, appId, process),
        ...pagesOf(app, store.get<AppPages>(keys.pages(appId))?.value),
      });
  }
  return {
    term: store.term,
    generation,
    clusterRange: store.get<ClusterSettings>(keys.cluster)!.value.clusterRange,
    peers: peersOf(store),
    pools: [...pools.values()],
    routes: routes.flatMap((route) => (route.type === "http" ? [targetRoute(route)] : [])),
    tcp: routes.flatMap((route) => {
      if (route.type !== "tcp") return [];
      const { port, appId, process, proxyProtocol } = route;
      return [{ port, poolId: poolId(appId, process), ...(proxyProtocol ? { proxyProtocol } : {}) }];
    }),
    certificates: allCertificates(store).flatMap(({ value: { id, names, chain, sealedKey } }) => {
      const key = openKey(sealedKey, id);
      return key === undefined ? [] : [{ id, names, pem: chain + key }];
    }),
  };
}

export const poolId = (appId: string, process: string): string => `${appId}/${process}`;

function targetRoute({ domain, path, appId, process, tls, sticky, hstsSeconds }: HttpRoute) {
  return {
    domain,
    path,
    poolId: poolId(appId, process),
    ...(tls === "redirect" ? { tls } : {}),
    ...(sticky ? { sticky } : {}),
    ...(hstsSeconds === undefined ? {} : { hstsSeconds }),
  };
}

function pagesOf(app: string, pages: AppPages | undefined): Pick<TargetPool, "maintenance" | "errorPage"> {
  return {
    ...(pages?.maintenance ? { maintenance: asciiHtml(maintenancePage(app, pages)) } : {}),
    ...(pages?.errorPage ? { errorPage: asciiHtml(pages.errorPage) } : {}),
  };
}

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

const ROUTING = [PREFIX.routes, PREFIX.jobs, PREFIX.hosts, PREFIX.certificates, PREFIX.appPages];

/** True for a record that may change what routers serve. */
export function changesRouting(mutatedKey: string): boolean {
  return ROUTING.some((prefix) => mutatedKey.startsWith(prefix));
}
