// What of a target can be served: routes, ports and jobs, each looked at once; the rest is refused by name, the others untouched. Pure.
import { isIPv4 } from "node:net";
import type { RouterTarget } from "#api/router-agents.ts";
import {
  type Assignment,
  type Backend,
  HOST,
  printable,
  type Refusal,
  routeKey,
  type TargetRoute,
} from "./assignment.ts";
import { type MapsMemo, newMapsMemo } from "./maps.ts";
import { type Job, jobKey } from "./slots.ts";

export interface Memo extends MapsMemo {
  routes: WeakMap<TargetRoute, { key: string; problem: string | undefined }>;
  /** Routes as they are served whose canary cannot be. */
  withoutCanary: WeakMap<TargetRoute, TargetRoute>;
  jobs: WeakMap<TargetPool, { accepted: Job[]; refused: Refusal[] }>;
  /** Backends that hold this pool as it is, and nothing that leaves. */
  held: WeakMap<Backend, TargetPool>;
  /** Pools that were given their slots so far. */
  placed: number;
  /** What came of the last routes, for the same rows and the same ids of pools. */
  accepted?: { rows: RouterTarget["routes"]; ids: string[]; routes: Map<string, TargetRoute>; refused: Refusal[] };
}

export const newMemo = (): Memo => ({
  routes: new WeakMap(),
  withoutCanary: new WeakMap(),
  jobs: new WeakMap(),
  held: new WeakMap(),
  placed: 0,
  ...newMapsMemo(),
});

export type TargetPort = NonNullable<RouterTarget["tcp"]>[number];
export type TargetPool = RouterTarget["pools"][number];

const PATH = /^\/([A-Za-z0-9._~-]+\/?)*$/;
const SPARE_PORTS_MOST = 1024;

export function jobsOf(pool: TargetPool, memo: Memo): { accepted: Job[]; refused: Refusal[] } {
  const known = memo.jobs.get(pool);
  if (known !== undefined) return known;
  const refused: Refusal[] = [];
  const made = { accepted: acceptJobs(pool.backends, refused), refused };
  memo.jobs.set(pool, made);
  return made;
}

/** `host/path/` -> each route that can be served; the rest is refused by name, the others untouched. */
export function acceptRoutes(
  { routes: rows, pools }: RouterTarget,
  memo: Memo,
  refused: Refusal[],
): Map<string, TargetRoute> {
  const { accepted: last } = memo;
  const isSame =
    last?.rows === rows && last.ids.length === pools.length && pools.every(({ id }, n) => last.ids[n] === id);
  if (isSame) {
    refused.push(...last.refused);
    return last.routes;
  }
  const ids = pools.map(({ id }) => id);
  const known = new Set(ids);
  const routes = new Map<string, TargetRoute>();
  const own: Refusal[] = [];
  for (const route of rows) {
    const { domain, path, poolId } = route;
    const refuse = (why: string) => own.push({ what: `route ${printable(domain)}${printable(path)}`, why });
    const looked = memo.routes.get(route) ?? { key: routeKey(domain, path), problem: routeProblem(route) };
    memo.routes.set(route, looked);
    const { key, problem } = looked;
    const holder = routes.get(key)?.poolId;
    if (problem !== undefined) refuse(problem);
    else if (!known.has(poolId)) refuse(`there is no pool ${printable(poolId)}`);
    else if (holder !== undefined && holder !== poolId) refuse(`pool ${printable(holder)} has it already`);
    else {
      const why = canaryProblem(route, known);
      if (why !== undefined) own.push({ what: `canary of ${printable(domain)}${printable(path)}`, why });
      const hasNone = why !== undefined || route.canary?.percent === 0;
      routes.set(key, hasNone ? withoutCanary(route, memo) : route);
    }
  }
  memo.accepted = { rows, ids, routes, refused: own };
  refused.push(...own);
  return routes;
}

function routeProblem({ domain, path }: TargetRoute): string | undefined {
  if (domain.length > 253 || !HOST.test(domain)) return "the domain is not a host name in lower case";
  return path.length > 200 || !PATH.test(path) ? "the path is not a plain path" : undefined;
}

function canaryProblem({ canary, poolId }: TargetRoute, pools: ReadonlySet<string>): string | undefined {
  if (canary === undefined) return undefined;
  if (!Number.isInteger(canary.percent) || canary.percent < 0 || canary.percent > 100)
    return "its percent is not a whole number from 0 to 100";
  if (canary.poolId === poolId) return "it is the route's own pool";
  return pools.has(canary.poolId) ? undefined : `there is no pool ${printable(canary.poolId)}`;
}

function withoutCanary(route: TargetRoute, memo: Memo): TargetRoute {
  const { canary: _, ...rest } = route;
  const made = memo.withoutCanary.get(route) ?? rest;
  memo.withoutCanary.set(route, made);
  return made;
}

/** TCP routes that can be served, by port, ascending. */
export function acceptPorts(
  target: RouterTarget,
  { portProblem }: { portProblem?: ((port: number) => string | undefined) | undefined },
  refused: Refusal[],
): TargetPort[] {
  const pools = new Set(target.pools.map((pool) => pool.id));
  const accepted = new Map<number, TargetPort>();
  for (const route of target.tcp ?? []) {
    const { port, poolId, proxyProtocol } = route;
    const refuse = (why: string) => refused.push({ what: `port ${printable(String(port)).slice(0, 20)}`, why });
    const problem = portProblem?.(port);
    if (!Number.isInteger(port) || port < 1 || port > 65_535) refuse("it is not a port");
    else if (proxyProtocol !== undefined && proxyProtocol !== "v1" && proxyProtocol !== "v2")
      refuse("there is no such version of the PROXY protocol");
    else if (!pools.has(poolId)) refuse(`there is no pool ${printable(poolId)}`);
    else if (accepted.has(port)) refuse(`pool ${printable(accepted.get(port)!.poolId)} has it already`);
    else if (problem !== undefined) refuse(problem);
    else accepted.set(port, route);
  }
  return [...accepted.values()].sort((a, b) => a.port - b.port);
}

/**
 * Ports listened on without a route: the first of the cluster's range, once there is a TCP route at all, so that the next
 * one needs no reload; and those whose route is gone, until a reload is made for another reason.
 */
export function sparePorts(
  { tcp = [], tcpPorts }: Pick<RouterTarget, "tcp" | "tcpPorts">,
  current: Pick<Assignment, "tcp">,
  { isWithoutGone = false }: { isWithoutGone?: boolean } = {},
): number[] {
  const listening = current.tcp?.map(({ port }) => port) ?? [];
  const routed = new Set(tcp.map(({ port }) => port));
  const isWanted = tcp.length > 0 || listening.length > 0;
  return [...new Set([...(isWithoutGone ? [] : listening), ...(isWanted ? firstOf(tcpPorts) : [])])].filter(
    (port) => !routed.has(port),
  );
}

function firstOf(range: RouterTarget["tcpPorts"]): number[] {
  if (range === undefined || !Number.isInteger(range.first) || !(range.first >= 1)) return [];
  const count = Math.min(range.last, 65_535, range.first + SPARE_PORTS_MOST - 1) - range.first + 1;
  return Array.from({ length: Math.max(0, count) }, (_, n) => range.first + n);
}

function acceptJobs(jobs: readonly Job[], refused: Refusal[]): Job[] {
  const accepted = new Map<string, Job>();
  for (const job of jobs) {
    const valid = isIPv4(job.address) && Number.isInteger(job.port) && job.port >= 1 && job.port <= 65_535;
    if (valid) accepted.set(jobKey(job), job);
    else refused.push({ what: `job ${printable(job.jobId)}`, why: "its address is not an IPv4 address and a port" });
  }
  return [...accepted.values()];
}
