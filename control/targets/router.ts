// What every router is told to serve: pure, from the store's view. A backend is there while its job is up or drains.

import type { Static } from "typebox";
import type { Job } from "#api/jobs.ts";
import type { AppPages } from "#api/pages.ts";
import type { Backend, HttpRoute, Route, RouterTarget, TcpRoute } from "#api/routes.ts";
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
  for (const route of routes) {
    const id = poolId(route.appId, route.process);
    if (!pools.has(id)) pools.set(id, poolOf(store, route));
  }
  return {
    ...settingsOf(store, options),
    generation,
    peers: peersOf(store),
    pools: [...pools.values()],
    routes: routes.flatMap((route) => (route.type === "http" ? [targetRoute(route)] : [])),
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

export function poolOf(store: Store, { appId, app, process }: Pick<Route, "appId" | "app" | "process">): TargetPool {
  return {
    id: poolId(appId, process),
    app,
    process,
    backends: backendsOf(store, appId, process),
    ...pagesOf(app, store.get<AppPages>(keys.pages(appId))?.value),
  };
}

/** Undefined when its key cannot be opened: it is left out, the others are served. */
export function certificateRow(
  { id, names, chain, sealedKey }: CertificateRecord,
  { openKey = () => undefined }: RouterTargetOptions,
): TargetCertificate | undefined {
  const key = openKey(sealedKey, id);
  return key === undefined ? undefined : { id, names, pem: chain + key };
}

export const poolId = (appId: string, process: string): string => `${appId}/${process}`;

export function targetPort({ port, appId, process, proxyProtocol }: TcpRoute) {
  return { port, poolId: poolId(appId, process), ...(proxyProtocol ? { proxyProtocol } : {}) };
}

export function targetRoute({ domain, path, appId, process, tls, sticky, hstsSeconds }: HttpRoute) {
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
