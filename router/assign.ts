// Which backend serves a pool and which slot a job has. Pure: the target and the assignment so far give the next one.
// A pool and a job never move while they are wanted, so a change touches only what changed; what leaves is drained first
// and its slot is free again only when HAProxy has no session on it (reference: haproxy management.txt, "set server").
import { isIPv4 } from "node:net";
import type { RouterTarget } from "#api/router-agents.ts";
import {
  type Assignment,
  type Backend,
  backendName,
  HOST,
  poolKey,
  printable,
  printableApp,
  type Refusal,
  routeKey,
  type Slot,
  slotName,
  type TargetRoute,
  type TcpBackend,
  tcpName,
} from "./assignment.ts";
import { type Maps, type MapsMemo, mapsOf, newMapsMemo } from "./maps.ts";
import { atOnce } from "./slices.ts";

export interface Assigned {
  assignment: Assignment;
  /** What HAProxy looks up for each request. */
  maps: Maps;
  refused: Refusal[];
}
export interface AssignOptions {
  /** True while HAProxy has a request on that slot (`be_0001/s1`), or its count is not known. */
  isBusy: (slot: string) => boolean;
  /** Why a port cannot be listened on here; undefined when it can. */
  portProblem?: (port: number) => string | undefined;
  /** Free capacity at the first start; each grows by doubling. */
  backends: number;
  slots: number;
  /** What earlier turns worked out; a row of the target that is the same object is not looked at again. */
  memo?: Memo;
}

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

type TargetPort = NonNullable<RouterTarget["tcp"]>[number];
type TargetPool = RouterTarget["pools"][number];
type Job = TargetPool["backends"][number];

const PATH = /^\/([A-Za-z0-9._~-]+\/?)*$/;
const MAX_SLOTS = 4096;
/** Pools between two looks at the clock. */
const STEP = 50;
/** A slot costs HAProxy about 7 KB whether it is used or not: from so many backends on, room grows by half, with fewer slots each. */
const MANY_BACKENDS = 2048;
const SLOTS_OF_MANY = 4;
/** A port without a route costs HAProxy about 50 KB; the jobs of one that gets a route rarely need more room than this. */
const SPARE_SLOTS = 4;
const SPARE_PORTS_MOST = 1024;
/** The first route of another protocol than HTTP/1.1 makes room for so many pools: it is a reload. */
const FIRST_OF_PROTOCOL = 4;

export const assign = (current: Assignment, target: RouterTarget, options: AssignOptions): Assigned =>
  atOnce(assignment(current, target, options));

export function* assignment(
  current: Assignment,
  target: RouterTarget,
  options: AssignOptions,
): Generator<void, Assigned> {
  const { memo = newMemo() } = options;
  const refused: Refusal[] = [];
  const routes = acceptRoutes(target, memo, refused);
  yield;
  const ports = acceptPorts(target, options, refused);
  /** Key -> what the backend is for. */
  const routed = new Map<string, { poolId: string; protocol: Backend["protocol"] }>();
  const used = new Set(ports.map(({ poolId }) => poolId));
  for (const { poolId, canary, protocol } of routes.values())
    for (const id of canary === undefined ? [poolId] : [poolId, canary.poolId]) {
      const key = poolKey(id, protocol);
      if (routed.has(key)) continue;
      routed.set(key, { poolId: id, protocol: protocol === "h2c" ? protocol : undefined });
      used.add(id);
    }
  /** Those that are used, by id. */
  const pools = new Map<string, TargetPool>();
  for (const [n, pool] of target.pools.entries()) {
    if (n % STEP === 0) yield;
    if (!used.has(pool.id)) continue;
    pools.set(pool.id, pool);
    refused.push(...jobsOf(pool, memo).refused);
  }
  /** The same object while it holds its pool as it is. */
  const place = (before: Backend, pool: TargetPool, name: string): Backend => {
    if (memo.held.get(before) === pool) return before;
    memo.placed++;
    const { accepted } = jobsOf(pool, memo);
    const kept = keepOrDrain(before, accepted, (s) => options.isBusy(`${name}/${slotName(s)}`));
    const of = before.protocol === undefined ? {} : { protocol: before.protocol };
    // Always in this order: what is on disk already is not written again.
    const backend: Backend = { pool: { id: pool.id, app: printableApp(pool.app) }, ...of, slots: [...kept.slots] };
    const refusedBefore = refused.length;
    placeJobs(backend, accepted, refused);
    const isSettled = refused.length === refusedBefore && backend.slots.every((slot) => slot?.state !== "leaving");
    if (isSettled) memo.held.set(backend, pool);
    return backend;
  };

  const backends: Backend[] = [];
  const byPool = new Map<string, number>();
  for (const [b, backend] of current.backends.entries()) {
    if (b % STEP === 0) yield;
    const key = backend.pool && poolKey(backend.pool.id, backend.protocol);
    const pool = key !== undefined && routed.has(key) && !byPool.has(key) ? pools.get(backend.pool!.id) : undefined;
    if (key === undefined || pool === undefined)
      backends.push(keepOrDrain(backend, undefined, (s) => options.isBusy(`${backendName(b)}/${slotName(s)}`)));
    else {
      byPool.set(key, b);
      backends.push(place(backend, pool, backendName(b)));
    }
  }
  while (backends.length < options.backends) backends.push(freeBackend(options.slots));
  const free = { h1: freeBackends(backends, options.slots), h2c: freeBackends(backends, options.slots, "h2c") };
  let n = 0;
  for (const [key, { poolId, protocol }] of inOrderOf(pools, routed)) {
    if (n++ % STEP === 0) yield;
    if (byPool.has(key)) continue;
    const pool = pools.get(poolId)!;
    const b = free[protocol ?? "h1"].take(jobsOf(pool, memo).accepted.length);
    byPool.set(key, b);
    backends[b] = place(backends[b]!, pool, backendName(b));
  }
  const before = new Map(current.tcp?.map((each) => [each.port, each]));
  const routedPorts = ports.map(({ port, poolId, proxyProtocol }): TcpBackend => {
    const pool = pools.get(poolId)!;
    const kept = before.get(port);
    const backend = place(kept ?? freeBackend(options.slots), pool, tcpName(port));
    if (kept !== undefined && backend === kept && kept.proxyProtocol === proxyProtocol) return kept;
    const made = { port, ...(proxyProtocol ? { proxyProtocol } : {}), pool: backend.pool!, slots: backend.slots };
    if (memo.held.get(backend) === pool) memo.held.set(made, pool);
    return made;
  });
  const spare = sparePorts(target, current).filter((port) => options.portProblem?.(port) === undefined);
  const tcp = [
    ...routedPorts,
    ...spare.map((port): TcpBackend => {
      const kept = before.get(port);
      const isBusy = (s: number) => options.isBusy(`${tcpName(port)}/${slotName(s)}`);
      const backend = keepOrDrain(kept ?? freeBackend(Math.min(SPARE_SLOTS, options.slots)), undefined, isBusy);
      if (backend === kept) return kept;
      return { port, ...(kept?.proxyProtocol ? { proxyProtocol: kept.proxyProtocol } : {}), ...backend };
    }),
  ].sort((a, b) => a.port - b.port);
  const { maps, refused: pages } = yield* mapsOf({ backends, byPool, routes, pools, memo });
  refused.push(...pages);
  return { assignment: tcp.length > 0 ? { backends, tcp } : { backends }, maps, refused };
}

function jobsOf(pool: TargetPool, memo: Memo): { accepted: Job[]; refused: Refusal[] } {
  const known = memo.jobs.get(pool);
  if (known !== undefined) return known;
  const refused: Refusal[] = [];
  const made = { accepted: acceptJobs(pool.backends, refused), refused };
  memo.jobs.set(pool, made);
  return made;
}

/** `host/path/` -> each route that can be served; the rest is refused by name, the others untouched. */
function acceptRoutes({ routes: rows, pools }: RouterTarget, memo: Memo, refused: Refusal[]): Map<string, TargetRoute> {
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

/** Those with a pool that is new last, in the order of the pools. */
function* inOrderOf<T>(pools: ReadonlyMap<string, unknown>, routed: ReadonlyMap<string, T>): Generator<[string, T]> {
  for (const id of pools.keys())
    for (const key of [id, poolKey(id, "h2c")]) {
      const found = routed.get(key);
      if (found !== undefined) yield [key, found];
    }
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
function acceptPorts(target: RouterTarget, { portProblem }: AssignOptions, refused: Refusal[]): TargetPort[] {
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

const jobKey = (job: { jobId: string; address: string; port: number }) => `${job.jobId} ${job.address}:${job.port}`;

function keepOrDrain(backend: Backend, jobs: Job[] | undefined, isBusy: (slot: number) => boolean): Backend {
  if (backend.pool === undefined && jobs === undefined && backend.slots.every((slot) => slot === null)) return backend;
  const states = new Map((jobs ?? []).map((job) => [jobKey(job), job.state]));
  const slots = backend.slots.map((slot, s): Slot | null => {
    if (slot === null) return null;
    const state = states.get(jobKey(slot));
    if (state !== undefined) return { ...slot, state };
    return slot.state === "up" || isBusy(s) ? { ...slot, state: "leaving" } : null;
  });
  const inUse = jobs !== undefined || slots.some((slot) => slot !== null);
  const { pool, protocol } = backend;
  return { ...(inUse && pool ? { pool } : {}), ...(protocol ? { protocol } : {}), slots };
}

const freeBackend = (slots: number, protocol?: Backend["protocol"]): Backend => ({
  ...(protocol ? { protocol } : {}),
  slots: new Array<Slot | null>(slots).fill(null),
});

/** Free backends by how many slots they have, the first of each size first: taking one looks through none. */
function freeBackends(
  backends: Backend[],
  slots: number,
  protocol?: Backend["protocol"],
): { take(jobs: number): number } {
  const bySize = new Map<number, number[]>();
  const add = (b: number) => {
    const size = backends[b]!.slots.length;
    const same = bySize.get(size);
    if (same) same.push(b);
    else bySize.set(size, [b]);
  };
  let count = 0;
  for (let b = backends.length - 1; b >= 0; b--)
    if (backends[b]!.protocol === protocol) {
      count++;
      if (!backends[b]!.pool) add(b);
    }
  return {
    /** The smallest with room for a rolling deploy of `jobs`, else the largest; there are more of them when none is free. */
    take(jobs) {
      if (bySize.size === 0) {
        const before = backends.length;
        const isMany = count >= MANY_BACKENDS;
        const least = protocol === undefined ? 1 : FIRST_OF_PROTOCOL;
        for (let more = Math.max(least, isMany ? count / 2 : count); more > 0; more--)
          backends.push(freeBackend(isMany ? Math.min(slots, SLOTS_OF_MANY) : slots, protocol));
        count += backends.length - before;
        for (let b = backends.length - 1; b >= before; b--) add(b);
      }
      const sizes = [...bySize.keys()].sort((a, b) => a - b);
      const size = sizes.find((each) => each >= jobs * 2) ?? sizes.at(-1)!;
      const same = bySize.get(size)!;
      const b = same.pop()!;
      if (same.length === 0) bySize.delete(size);
      return b;
    },
  };
}

/** Gives each job without one a slot; a job that is only draining was never served here and needs none. */
function placeJobs(backend: Backend, jobs: Job[], refused: Refusal[]): void {
  const placed = new Set(backend.slots.filter((slot) => slot !== null).map(jobKey));
  for (const job of jobs) {
    if (job.state !== "up" || placed.has(jobKey(job))) continue;
    let s = backend.slots.indexOf(null);
    if (s < 0) {
      s = backend.slots.length;
      if (s >= MAX_SLOTS) {
        refused.push({ what: `job ${printable(job.jobId)}`, why: `a pool has at most ${MAX_SLOTS} jobs on a router` });
        continue;
      }
      backend.slots.push(...freeBackend(Math.max(1, s)).slots);
    }
    backend.slots[s] = { jobId: job.jobId, address: job.address, port: job.port, state: "up" };
  }
}
