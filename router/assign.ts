// Which backend serves a pool and which slot a job has. Pure: the target and the assignment so far give the next one.
// A pool and a job never move while they are wanted, so a change touches only what changed; what leaves is drained first
// and its slot is free again only when HAProxy has no session on it (reference: haproxy management.txt, "set server").
import { isIPv4 } from "node:net";
import type { RouterTarget } from "#api/routes.ts";
import {
  type Assignment,
  type Backend,
  backendName,
  HOST,
  printable,
  type Refusal,
  routeKey,
  type Slot,
  slotName,
  type TargetRoute,
  type TcpBackend,
  tcpName,
} from "./assignment.ts";
import { type Maps, mapsOf } from "./maps.ts";

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
}

type TargetPort = NonNullable<RouterTarget["tcp"]>[number];

const PATH = /^\/([A-Za-z0-9._~-]+\/?)*$/;
const APP = /^[a-z][a-z0-9-]{0,29}$/;
const MAX_SLOTS = 4096;

export function assign(current: Assignment, target: RouterTarget, options: AssignOptions): Assigned {
  const refused: Refusal[] = [];
  const routes = acceptRoutes(target, refused);
  const ports = acceptPorts(target, options, refused);
  const routed = new Set([...routes.values()].map(({ poolId }) => poolId));
  const used = new Set([...routed, ...ports.map(({ poolId }) => poolId)]);
  const jobsOf = new Map(
    target.pools.filter(({ id }) => used.has(id)).map((pool) => [pool.id, acceptJobs(pool.backends, refused)]),
  );
  const pools = target.pools.filter(({ id }) => routed.has(id));
  const wanted = new Map(pools.map(({ id }) => [id, jobsOf.get(id)!]));

  const backends = current.backends.map((backend, b) =>
    keepOrDrain(backend, backend.pool ? wanted.get(backend.pool.id) : undefined, (s) =>
      options.isBusy(`${backendName(b)}/${slotName(s)}`),
    ),
  );
  while (backends.length < options.backends) backends.push(freeBackend(options.slots));
  const byPool = new Map<string, number>();
  for (const [b, { pool }] of backends.entries()) if (pool && wanted.has(pool.id)) byPool.set(pool.id, b);
  for (const { id, app } of pools) {
    const jobs = wanted.get(id)!;
    const b = byPool.get(id) ?? takeBackend(backends, jobs.length, options.slots);
    byPool.set(id, b);
    const backend = backends[b]!;
    backend.pool = { id, app: printableApp(app) };
    placeJobs(backend, jobs, refused);
  }
  const tcp = ports.map((port): TcpBackend => {
    const before = current.tcp?.find((each) => each.port === port.port);
    const jobs = jobsOf.get(port.poolId)!;
    const name = tcpName(port.port);
    const kept = keepOrDrain(before ?? freeBackend(options.slots), jobs, (s) =>
      options.isBusy(`${name}/${slotName(s)}`),
    );
    const { id, app } = target.pools.find((pool) => pool.id === port.poolId)!;
    const { proxyProtocol } = port;
    const backend = {
      port: port.port,
      ...(proxyProtocol ? { proxyProtocol } : {}),
      ...kept,
      pool: { id, app: printableApp(app) },
    };
    placeJobs(backend, jobs, refused);
    return backend;
  });
  const assignment = tcp.length > 0 ? { backends, tcp } : { backends };
  return { assignment, maps: mapsOf({ backends, byPool, routes, pools: target.pools, refused }), refused };
}

const printableApp = (app: string): string => (APP.test(app) ? app : "this app");

/** `host/path/` -> each route that can be served; the rest is refused by name, the others untouched. */
function acceptRoutes(target: RouterTarget, refused: Refusal[]): Map<string, TargetRoute> {
  const pools = new Set(target.pools.map((pool) => pool.id));
  const accepted = new Map<string, TargetRoute>();
  for (const route of target.routes) {
    const { domain, path, poolId } = route;
    const refuse = (why: string) => refused.push({ what: `route ${printable(domain)}${printable(path)}`, why });
    const key = routeKey(domain, path);
    if (domain.length > 253 || !HOST.test(domain)) refuse("the domain is not a host name in lower case");
    else if (path.length > 200 || !PATH.test(path)) refuse("the path is not a plain path");
    else if (!pools.has(poolId)) refuse(`there is no pool ${printable(poolId)}`);
    else if (accepted.has(key) && accepted.get(key)!.poolId !== poolId)
      refuse(`pool ${printable(accepted.get(key)!.poolId)} has it already`);
    else accepted.set(key, route);
  }
  return accepted;
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

type Job = RouterTarget["pools"][number]["backends"][number];

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
  const states = new Map((jobs ?? []).map((job) => [jobKey(job), job.state]));
  const slots = backend.slots.map((slot, s): Slot | null => {
    if (slot === null) return null;
    const state = states.get(jobKey(slot));
    if (state !== undefined) return { ...slot, state };
    return slot.state === "up" || isBusy(s) ? { ...slot, state: "leaving" } : null;
  });
  const inUse = jobs !== undefined || slots.some((slot) => slot !== null);
  return inUse && backend.pool ? { pool: backend.pool, slots } : { slots };
}

const freeBackend = (slots: number): Backend => ({ slots: new Array<Slot | null>(slots).fill(null) });

/** The smallest free backend with room for a rolling deploy of `jobs`, else the largest free; doubles when none is. */
function takeBackend(backends: Backend[], jobs: number, slots: number): number {
  const free = [...backends.entries()].filter(([, backend]) => !backend.pool);
  if (free.length === 0) {
    const index = backends.length;
    for (let more = Math.max(1, backends.length); more > 0; more--) backends.push(freeBackend(slots));
    return index;
  }
  const size = (b: number) => backends[b]!.slots.length;
  const roomy = free.map(([b]) => b).filter((b) => size(b) >= jobs * 2);
  return roomy.length > 0
    ? roomy.reduce((best, b) => (size(b) < size(best) ? b : best))
    : free.map(([b]) => b).reduce((best, b) => (size(b) > size(best) ? b : best));
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
