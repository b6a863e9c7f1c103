// What HAProxy looks up for each request, as data: map files whose entries change at run time. Values from outside are
// encoded (base64, hashes) or were checked before, so that no entry can hold a space or end a line.
//   routes   host/path/ -> backend[:flags[:hsts]]    flags: r redirect to https, s sticky, m maintenance
//   replies  backend/503 -> base64 of the body       also /502 /504, /maintenance while it is on, /own when the page is the app's
//   sticky   backend/token -> slot                   where a cookie leads; only to slots that are up
//   jobs     backend/slot -> token                   which cookie an answer of that slot sets
import { createHash } from "node:crypto";
import { PAGE_BYTES, type RouterTarget } from "#api/routes.ts";
import { type Backend, backendName, printable, type Refusal, slotName, type TargetRoute } from "./assignment.ts";

export const MAP_NAMES = ["routes", "replies", "sticky", "jobs"] as const;
export type MapName = (typeof MAP_NAMES)[number];
export type Maps = Record<MapName, Map<string, string>>;

export const mapFile = (name: MapName): string => `${name}.map`;
export const noMaps = (): Maps => ({ routes: new Map(), replies: new Map(), sticky: new Map(), jobs: new Map() });

export interface MapsInput {
  backends: readonly Backend[];
  /** Pool id -> position of its backend. */
  byPool: ReadonlyMap<string, number>;
  routes: ReadonlyMap<string, TargetRoute>;
  pools: RouterTarget["pools"];
  /** Pages that cannot be served are added here. */
  refused: Refusal[];
}

export function mapsOf({ backends, byPool, routes, pools, refused }: MapsInput): Maps {
  const maps = noMaps();
  const stickyPools = new Set<string>();
  const pages = new Map(pools.map((pool) => [pool.id, pagesOf(pool, refused)]));
  for (const [key, route] of routes) {
    const isDown = pages.get(route.poolId)?.maintenance !== undefined;
    maps.routes.set(key, routeValue(backendName(byPool.get(route.poolId)!), route, isDown));
    if (route.sticky === true) stickyPools.add(route.poolId);
  }
  for (const [b, { pool, slots }] of backends.entries()) {
    if (!pool) continue;
    const backend = backendName(b);
    for (const [name, value] of repliesOf(pool.app, pages.get(pool.id))) maps.replies.set(`${backend}/${name}`, value);
    if (!stickyPools.has(pool.id)) continue;
    for (const [s, slot] of slots.entries()) {
      if (slot?.state !== "up") continue;
      const token = tokenOf(slot.jobId);
      maps.sticky.set(`${backend}/${token}`, slotName(s));
      maps.jobs.set(`${backend}/${slotName(s)}`, token);
    }
  }
  return maps;
}

/** The backend of a value of the routes map. */
export const backendOf = (value: string): string => value.split(":", 1)[0]!;

const MOST_HSTS_SECONDS = 63_072_000;

function routeValue(backend: string, { tls, sticky, hstsSeconds }: TargetRoute, isDown: boolean): string {
  const flags = `${tls === "redirect" ? "r" : ""}${sticky === true ? "s" : ""}${isDown ? "m" : ""}`;
  const hsts = Number.isInteger(hstsSeconds) && hstsSeconds! >= 0 && hstsSeconds! <= MOST_HSTS_SECONDS;
  if (hsts) return `${backend}:${flags || "-"}:${hstsSeconds}`;
  return flags ? `${backend}:${flags}` : backend;
}

/** Names a job to a browser without saying its id. */
const tokenOf = (jobId: string): string => createHash("sha256").update(jobId).digest("hex").slice(0, 16);

/** HAProxy writes other bytes of a looked-up text as %XX. */
const PRINTABLE = /^[\x20-\x7e]+$/;

interface Pages {
  maintenance?: string;
  errorPage?: string;
}

function pagesOf(pool: RouterTarget["pools"][number], refused: Refusal[]): Pages {
  const page = (name: keyof Pages): Pages => {
    const text = pool[name];
    if (text === undefined) return {};
    if (typeof text === "string" && text.length <= PAGE_BYTES && PRINTABLE.test(text)) return { [name]: text };
    refused.push({
      what: `${name} of ${printable(pool.app)}`,
      why: `it is not printable ASCII of at most ${PAGE_BYTES} bytes`,
    });
    return name === "maintenance" ? { maintenance: "down for maintenance" } : {};
  };
  return { ...page("maintenance"), ...page("errorPage") };
}

function repliesOf(app: string, pages: Pages = {}): [string, string][] {
  const own = pages.errorPage;
  const words = {
    502: `the job of ${app} closed the connection without an answer`,
    503: `no job of ${app} is up`,
    504: `the job of ${app} did not answer in time`,
  };
  return [
    ...Object.entries(words).map(([status, text]): [string, string] => [status, base64(own ?? text)]),
    ...(own === undefined ? [] : [["own", "1"] as [string, string]]),
    ...(pages.maintenance === undefined ? [] : [["maintenance", base64(pages.maintenance)] as [string, string]]),
  ];
}

const base64 = (text: string): string => Buffer.from(text).toString("base64");
