// What every router is told to serve: pure, from the store's view. A backend is there while its job is up or drains.

import type { Static } from "typebox";
import type { Job } from "#api/jobs.ts";
import type { AppPages } from "#api/pages.ts";
import type { Backend, RouterTarget } from "#api/router-agents.ts";
import type { HttpRoute, Route, TcpRoute } from "#api/routes.ts";
import { keys, PREFIX } from "../keys.ts";
import type { ClusterSettings } from "../records.ts";
import { asciiHtml } from "../routing/ascii-html.ts";
import { allCertificates, type CertificateRecord } from "../routing/certificates.ts";
import { maintenancePage } from "../routing/pages.ts";
import type { Store } from "../store/store.ts";
import { peersOf } from "./host.ts";

type BackendEntry = Static<typeof Backend>;
export type TargetPool = RouterTarget["pools"][number];
export type TargetCertificate = NonNullable<RouterTarget["certificates"]>[number];

/** A certificate's private key; undefined when it cannot be opened: that one is left out, the others are served. */
export type OpenKey = (sealedKey: string, certificateId: string) => string | undefined;

export interface RouterTargetOptions {
  openKey?: OpenKey;
  tcpPorts?: RouterTarget["tcpPorts"];
  controlUrls?: string[];
}

/** All of it at once, as of a generation. Who follows it change by change has `routingRows`. */
export function routerTargetOf(newest: Store, generation: number, options: RouterTargetOptions = {}): RouterTarget {
  const store = newest.durable;
  const routes = store.list<Route>(PREFIX.routes).map(({ value }) => value);
  const pools = new Map<string, TargetPool>();
  for (const [id, those] of Map.groupBy(routes, ({ appId, process }) => poolId(appId, process)))
    if (!pools.has(id)) for (const pool of poolsOf(store, those)) pools.set(pool.id, pool);
  return {
    ...settingsOf(store, options),
    generation,
    peers: peersOf(store),
    pools: [...pools.values()],
    routes: routes.flatMap((route) => (route.type === "http" ? [targetRoute(route, pools)] : [])),
    tcp: routes.flatMap((route) => (route.type === "tcp" ? [targetPort(route)] : [])),
    certificates: allCertificates(store).flatMap(({ value }) => certificateRow(value, options) ?? []),
  };
}

/** What changes with the cluster and not with its apps. */
export function settingsOf(store: Store, { tcpPorts, controlUrls = [] }: RouterTargetOptions) {
  return {
    term: store.term,
    clusterRange: store.get<ClusterSettings>(keys.cluster)!.value.clusterRange,
    controlUrls,
    ...(tcpPorts ? { tcpPorts } : {}),
  };
}

/**
 * The pools that these routes of one process lead to, the one of all jobs first. Where a route is a release's canary, that release's
 * jobs are a pool of their own and not in the first one, unless that had nobody up without them.
 */
export function poolsOf(store: Store, routes: readonly Route[]): TargetPool[] {
  const [{ appId, app, process }] = routes as [Route];
  const id = poolId(appId, process);
  const pages = pagesOf(app, store.get<AppPages>(keys.pages(appId))?.value);
  const every = backendsOf(store, appId, process);
  const releaseIds = [...new Set(routes.flatMap((route) => (route.type === "http" && route.canary?.releaseId) || []))];
  const others = every.filter(({ releaseId }) => !releaseIds.includes(releaseId));
  const pool = (poolOfId: string, backends: readonly Released[]): TargetPool => ({
    ...{ id: poolOfId, app, process },
    backends: backends.map(({ releaseId: _, ...backend }) => backend),
    ...pages,
  });
  const canaries = releaseIds.map((releaseId) =>
    pool(
      canaryPoolId(id, releaseId),
      every.filter((backend) => backend.releaseId === releaseId),
    ),
  );
  return [pool(id, others.some(isUp) ? others : every), ...canaries.filter(({ backends }) => backends.length > 0)];
}

const isUp = ({ state }: BackendEntry): boolean => state === "up";

/** Undefined when its key cannot be opened: it is left out, the others are served. */
export function certificateRow(
  { id, names, chain, sealedKey }: CertificateRecord,
  { openKey = () => undefined }: RouterTargetOptions,
): TargetCertificate | undefined {
  const key = openKey(sealedKey, id);
  return key === undefined ? undefined : { id, names, pem: chain + key };
}

export const poolId = (appId: string, process: string): string => `${appId}/${process}`;

export const canaryPoolId = (id: string, releaseId: string): string => `${id}@${releaseId}`;

export function targetPort({ port, appId, process, proxyProtocol }: TcpRoute) {
  return { port, poolId: poolId(appId, process), ...(proxyProtocol ? { proxyProtocol } : {}) };
}

/** `pools`: by id, those of its canary among them; without one that is up there it has no share to give. */
export function targetRoute(
  { domain, path, appId, process, tls, sticky, hstsSeconds, protocol, rate, canary }: HttpRoute,
  pools: ReadonlyMap<string, TargetPool>,
) {
  const pool = canary && pools.get(canaryPoolId(poolId(appId, process), canary.releaseId));
  const share = pool?.backends.some(isUp) && canary?.percent ? { poolId: pool.id, percent: canary.percent } : undefined;
  return {
    domain,
    path,
    poolId: poolId(appId, process),
    ...(tls === "redirect" ? { tls } : {}),
    ...(sticky ? { sticky } : {}),
    ...(hstsSeconds === undefined ? {} : { hstsSeconds }),
    ...(protocol === undefined ? {} : { protocol }),
    ...(rate === undefined ? {} : { rate }),
    ...(share ? { canary: share } : {}),
  };
}

function pagesOf(app: string, pages: AppPages | undefined): Pick<TargetPool, "maintenance" | "errorPage"> {
  return {
    ...(pages?.maintenance ? { maintenance: asciiHtml(maintenancePage(app, pages)) } : {}),
    ...(pages?.errorPage ? { errorPage: asciiHtml(pages.errorPage) } : {}),
  };
}

type Released = BackendEntry & { releaseId: string };

function backendsOf(store: Store, appId: string, process: string): Released[] {
  return store.list<Job>(keys.jobsOf(appId)).flatMap(({ value: job }) => {
    const state = job.process === process && job.task === undefined ? backendState(job) : undefined;
    if (!state || !job.address || !job.port) return [];
    return [{ jobId: job.id, address: job.address, port: job.port, state, releaseId: job.releaseId }];
  });
}

/** In the routes while healthy; in drain while its open requests end; out once it stops, fails or is lost. */
export function backendState(job: Pick<Job, "state" | "desired" | "upAt">): BackendEntry["state"] | undefined {
  if (job.desired === "stop") return undefined;
  if (job.state === "up") return job.desired === "drain" ? "drain" : "up";
  return job.desired === "drain" && job.state === "unhealthy" ? "drain" : undefined;
}
