// Which backend serves a pool and which slot a job has. Pure: the target and the assignment so far give the next one.
// A pool and a job never move while they are wanted, so a change touches only what changed; what leaves is drained first
// and its slot is free again only when HAProxy has no session on it (reference: haproxy management.txt, "set server").
import { isIPv4 } from "node:net";
import type { RouterTarget } from "#api/routes.ts";

/** `drain`: in the target, no new requests. `leaving`: no longer in the target, kept until its last request ends. */
export type SlotState = "up" | "drain" | "leaving";
export interface Slot {
  jobId: string;
  address: string;
  port: number;
  state: SlotState;
}
export interface Backend {
  /** Absent while the backend is free. */
  pool?: { id: string; app: string };
  slots: (Slot | null)[];
}
/** Position is identity: backend n is `be_000(n+1)`, slot n of it `s(n+1)`. Never shorter than before. */
export interface Assignment {
  backends: Backend[];
}
export interface Refusal {
  what: string;
  why: string;
}
export interface Assigned {
  assignment: Assignment;
  /** `host/path/` -> backend name: the routes map of HAProxy. */
  routes: Map<string, string>;
  refused: Refusal[];
}
export interface AssignOptions {
  /** True while HAProxy has a request on that slot, or its count is not known. */
  isBusy: (backend: number, slot: number) => boolean;
  /** Free capacity at the first start; each grows by doubling. */
  backends: number;
  slots: number;
}

const HOST = /^(\*\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
const PATH = /^\/([A-Za-z0-9._~-]+\/?)*$/;
const APP = /^[a-z][a-z0-9-]{0,29}$/;
const MAX_SLOTS = 4096;

export const backendName = (index: number): string => `be_${String(index + 1).padStart(4, "0")}`;
export const slotName = (index: number): string => `s${index + 1}`;
export const routeKey = (domain: string, path: string): string => `${domain}${path.replace(/\/*$/, "/")}`;

export function assign(current: Assignment, target: RouterTarget, options: AssignOptions): Assigned {
  const refused: Refusal[] = [];
  const routes = acceptRoutes(target, refused);
  const routed = new Set(routes.values());
  const pools = target.pools.filter((pool) => routed.has(pool.id));
  const wanted = new Map(pools.map((pool) => [pool.id, acceptJobs(pool.backends, refused)]));

  const backends = current.backends.map((backend, b) =>
    keepOrDrain(backend, backend.pool ? wanted.get(backend.pool.id) : undefined, (s) => options.isBusy(b, s)),
  );
  while (backends.length < options.backends) backends.push(freeBackend(options.slots));
  const byPool = new Map<string, number>();
  for (const [b, { pool }] of backends.entries()) if (pool && wanted.has(pool.id)) byPool.set(pool.id, b);
  for (const { id, app } of pools) {
    const jobs = wanted.get(id)!;
    const b = byPool.get(id) ?? takeBackend(backends, jobs.length, options.slots);
    byPool.set(id, b);
    const backend = backends[b]!;
    backend.pool = { id, app: APP.test(app) ? app : "this app" };
    placeJobs(backend, jobs, refused);
  }
  const names = [...routes].map(([key, poolId]): [string, string] => [key, backendName(byPool.get(poolId)!)]);
  return { assignment: { backends }, routes: new Map(names), refused };
}

/** `host/path/` -> pool id of each route that can be served; the rest is refused by name, the others untouched. */
function acceptRoutes(target: RouterTarget, refused: Refusal[]): Map<string, string> {
  const pools = new Set(target.pools.map((pool) => pool.id));
  const accepted = new Map<string, string>();
  for (const { domain, path, poolId } of target.routes) {
    const refuse = (why: string) => refused.push({ what: `route ${printable(domain)}${printable(path)}`, why });
    const key = routeKey(domain, path);
    if (domain.length > 253 || !HOST.test(domain)) refuse("the domain is not a host name in lower case");
    else if (path.length > 200 || !PATH.test(path)) refuse("the path is not a plain path");
    else if (!pools.has(poolId)) refuse(`there is no pool ${printable(poolId)}`);
    else if (accepted.has(key) && accepted.get(key) !== poolId)
      refuse(`pool ${printable(accepted.get(key)!)} has it already`);
    else accepted.set(key, poolId);
  }
  return accepted;
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

const printable = (text: string): string => text.slice(0, 300).replace(/[^\x21-\x7e]/g, "?");
