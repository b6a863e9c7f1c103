// Which backend serves a pool and which slot a job has. Pure: the target and the assignment so far give the next one.
// A pool and a job never move while they are wanted, so a change touches only what changed; what leaves is drained first
// and its slot is free again only when HAProxy has no session on it (reference: haproxy management.txt, "set server").
import type { RouterTarget } from "#api/router-agents.ts";
import { acceptPorts, acceptRoutes, jobsOf, type Memo, newMemo, sparePorts, type TargetPool } from "./accept.ts";
import {
  type Assignment,
  type Backend,
  backendName,
  poolKey,
  printableApp,
  type Refusal,
  slotName,
  type TcpBackend,
  tcpName,
} from "./assignment.ts";
import { type Maps, mapsOf } from "./maps.ts";
import { atOnce } from "./slices.ts";
import { freeBackend, freeBackends, keepOrDrain, placeJobs } from "./slots.ts";

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

/** Pools between two looks at the clock. */
const STEP = 50;
/** A port without a route costs HAProxy about 50 KB; the jobs of one that gets a route rarely need more room than this. */
const SPARE_SLOTS = 4;
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

/** Those with a pool that is new last, in the order of the pools. */
function* inOrderOf<T>(pools: ReadonlyMap<string, unknown>, routed: ReadonlyMap<string, T>): Generator<[string, T]> {
  for (const id of pools.keys())
    for (const key of [id, poolKey(id, "h2c")]) {
      const found = routed.get(key);
      if (found !== undefined) yield [key, found];
    }
}
