// What HAProxy looks up for each request, as data: map files whose entries change at run time. Values from outside are
// encoded (base64, hashes) or were checked before, so that no entry can hold a space or end a line.
//   routes   host/path/ -> backend[:flags[:hsts[:percent:canary[:rate]]]]    flags: r redirect to https, s sticky, m maintenance,
//                          - none; percent of the requests go to the backend of the canary; rate: s|m|h, requests, which route
//   replies  backend/503 -> base64 of the body       also /502 /503-refused /504, /maintenance while it is on, /own when the page is the app's
//   sticky   backend/token -> slot                   where a cookie leads; only to slots that are up
//   jobs     backend/slot -> token                   which cookie an answer of that slot sets
import { createHash } from "node:crypto";
import { PAGE_BYTES, type RouterTarget } from "#api/router-agents.ts";
import {
  type Backend,
  backendName,
  poolKey,
  printable,
  printableApp,
  type Refusal,
  type Slot,
  slotName,
  type TargetRoute,
} from "./assignment.ts";

export const MAP_NAMES = ["routes", "replies", "sticky", "jobs"] as const;
export type MapName = (typeof MAP_NAMES)[number];
export type Maps = Record<MapName, Map<string, string>>;

/** Pools between two looks at the clock. */
const STEP = 100;

export const mapFile = (name: MapName): string => `${name}.map`;
export const noMaps = (): Maps => ({ routes: new Map(), replies: new Map(), sticky: new Map(), jobs: new Map() });

export interface MapsInput {
  backends: readonly Backend[];
  /** Key of pool and protocol -> position of its backend. */
  byPool: ReadonlyMap<string, number>;
  routes: ReadonlyMap<string, TargetRoute>;
  /** Those that are used, by id. */
  pools: ReadonlyMap<string, TargetPool>;
  memo: MapsMemo;
}
/** What rows come to in the maps, for as long as they are the same objects, and the maps that were made last. */
export interface MapsMemo {
  pages: WeakMap<TargetPool, PoolPages>;
  values: WeakMap<TargetRoute, { b: number; c: number | undefined; isDown: boolean; value: string }>;
  tokens: WeakMap<Slot, string>;
  /** By pool: another row with the same pages comes to the same. */
  byPool: Map<string, PoolPages>;
  last?: { maps: Maps; pagesAt: (PoolPages | string | undefined)[] };
}
interface PoolPages {
  app: string;
  maintenance: string | undefined;
  errorPage: string | undefined;
  pages: Pages;
  replies: [string, string][];
  refused: Refusal[];
}
export const newMapsMemo = (): MapsMemo => ({
  pages: new WeakMap(),
  values: new WeakMap(),
  tokens: new WeakMap(),
  byPool: new Map(),
});

type TargetPool = RouterTarget["pools"][number];

/** A map that comes to what it was stays the same object. */
export function* mapsOf(input: MapsInput): Generator<void, { maps: Maps; refused: Refusal[] }> {
  const { backends, byPool, routes, pools, memo } = input;
  const { last } = memo;
  const refused: Refusal[] = [];
  const stickyPools = new Set<string>();
  const pagesIn = (pool: TargetPool): PoolPages => {
    const known = memo.pages.get(pool) ?? pagesOfRow(pool, printableApp(pool.app), memo);
    memo.pages.set(pool, known);
    return known;
  };
  const mapValue = (key: string, route: TargetRoute): string => {
    const b = byPool.get(poolKey(route.poolId, route.protocol))!;
    const isDown = pagesIn(pools.get(route.poolId)!).pages.maintenance !== undefined;
    const c = route.canary && byPool.get(poolKey(route.canary.poolId, route.protocol));
    const known = memo.values.get(route);
    if (known?.b === b && known.c === c && known.isDown === isDown) return known.value;
    const canary = c === undefined ? "" : backendName(c);
    const value = routeValue({ key, backend: backendName(b), canary, route, isDown });
    memo.values.set(route, { b, c, isDown, value });
    return value;
  };
  let areRoutesSame = last !== undefined && last.maps.routes.size === routes.size;
  let looked = 0;
  for (const [key, route] of routes) {
    if (looked++ % STEP === 0) yield;
    if (areRoutesSame && last!.maps.routes.get(key) !== mapValue(key, route)) areRoutesSame = false;
    if (route.sticky !== true) continue;
    stickyPools.add(poolKey(route.poolId, route.protocol));
    if (route.canary) stickyPools.add(poolKey(route.canary.poolId, route.protocol));
  }
  const maps = noMaps();
  if (areRoutesSame) maps.routes = last!.maps.routes;
  else
    for (const [key, route] of routes) {
      if (maps.routes.size % STEP === 0) yield;
      maps.routes.set(key, mapValue(key, route));
    }

  const pagesAt: (PoolPages | string | undefined)[] = [];
  for (const [b, { pool, protocol }] of backends.entries()) {
    if (b % STEP === 0) yield;
    const row = pool && byPool.get(poolKey(pool.id, protocol)) === b ? pools.get(pool.id) : undefined;
    const known = row && pagesIn(row);
    if (known) refused.push(...known.refused);
    pagesAt.push(known ?? pool?.app);
  }
  const areRepliesSame =
    last?.pagesAt.length === pagesAt.length && last.pagesAt.every((each, b) => each === pagesAt[b]);
  if (areRepliesSame) maps.replies = last.maps.replies;
  else
    for (const [b, known] of pagesAt.entries()) {
      if (b % STEP === 0) yield;
      if (known === undefined) continue;
      const backend = backendName(b);
      const replies = typeof known === "string" ? repliesOf(known) : known.replies;
      for (const [name, value] of replies) maps.replies.set(`${backend}/${name}`, value);
    }

  if (stickyPools.size === 0 && last?.maps.sticky.size === 0 && last.maps.jobs.size === 0) {
    maps.sticky = last.maps.sticky;
    maps.jobs = last.maps.jobs;
  } else yield* addSticky(maps, input, stickyPools);
  memo.last = { maps, pagesAt };
  if (memo.byPool.size > 2 * pools.size + STEP)
    for (const id of memo.byPool.keys()) if (!pools.has(id)) memo.byPool.delete(id);
  return { maps, refused };
}

function* addSticky(
  maps: Maps,
  { backends, memo }: MapsInput,
  stickyPools: ReadonlySet<string>,
): Generator<void, void> {
  for (const [b, { pool, protocol, slots }] of backends.entries()) {
    if (b % STEP === 0) yield;
    if (!pool || !stickyPools.has(poolKey(pool.id, protocol))) continue;
    const backend = backendName(b);
    for (const [s, slot] of slots.entries()) {
      if (slot?.state !== "up") continue;
      const token = memo.tokens.get(slot) ?? tokenOf(slot.jobId);
      memo.tokens.set(slot, token);
      maps.sticky.set(`${backend}/${token}`, slotName(s));
      maps.jobs.set(`${backend}/${slotName(s)}`, token);
    }
  }
}

function pagesOfRow(pool: TargetPool, app: string, { byPool }: MapsMemo): PoolPages {
  const before = byPool.get(pool.id);
  const { maintenance, errorPage } = pool;
  if (before?.app === app && before.maintenance === maintenance && before.errorPage === errorPage) return before;
  const refused: Refusal[] = [];
  const pages = pagesOf(pool, refused);
  const made = { app, maintenance, errorPage, pages, replies: repliesOf(app, pages), refused };
  byPool.set(pool.id, made);
  return made;
}

/** The backends of a value of the routes map. */
export function backendsOf(value: string): { backend: string; canary: string | undefined } {
  const [backend = "", , , , canary] = value.split(":");
  return { backend, canary };
}

/** The value with all requests for the backend that the most of them have. */
export function withoutCanary(value: string): string {
  const [backend = "", flags = "", hsts = "", , , ...rest] = value.split(":");
  return joined([backend, flags, hsts, "", "", ...rest]);
}

const MOST_HSTS_SECONDS = 63_072_000;

interface RouteValue {
  key: string;
  backend: string;
  /** Empty: none. */
  canary: string;
  route: TargetRoute;
  isDown: boolean;
}

function routeValue({ key, backend, canary, route, isDown }: RouteValue): string {
  const { tls, sticky, hstsSeconds } = route;
  const flags = `${tls === "redirect" ? "r" : ""}${sticky === true ? "s" : ""}${isDown ? "m" : ""}`;
  const hasHsts = Number.isInteger(hstsSeconds) && hstsSeconds! >= 0 && hstsSeconds! <= MOST_HSTS_SECONDS;
  const hsts = hasHsts ? String(hstsSeconds) : "";
  const percent = canary === "" ? "" : String(route.canary!.percent);
  return joined([backend, flags, hsts, percent, canary, rateValue(key, route)]);
}

const PERIODS = { second: "s", minute: "m", hour: "h" } as const;

/** `m.600.0123abcd`: six hundred a minute, counted apart from other routes. Empty: none that this router knows. */
function rateValue(key: string, { rate }: TargetRoute): string {
  const period = Object.hasOwn(PERIODS, String(rate?.per)) ? PERIODS[rate!.per] : undefined;
  const isCount = Number.isInteger(rate?.requests) && rate!.requests >= 1 && rate!.requests <= 1_000_000;
  return period !== undefined && isCount ? `${period}.${rate!.requests}.${hashOf(key).slice(0, 8)}` : "";
}

/** Without what is empty at its end; flags are `-` where something follows them. */
function joined([backend = "", flags = "", ...options]: string[]): string {
  while (options.at(-1) === "") options.pop();
  if (options.length > 0) return [backend, flags || "-", ...options].join(":");
  return flags === "" || flags === "-" ? backend : `${backend}:${flags}`;
}

/** Names a job to a browser without saying its id. */
const tokenOf = (jobId: string): string => hashOf(jobId).slice(0, 16);

const hashOf = (text: string): string => createHash("sha256").update(text).digest("hex");

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
    502: `the job of ${app} closed the connection without an answer, or the headers of its answer are no HTTP or over 32 KiB: the app's log says which`,
    503: `no job of ${app} is up`,
    "503-refused": `the job of ${app} takes no connection`,
    504: `the job of ${app} did not answer in time`,
  };
  return [
    ...Object.entries(words).map(([status, text]): [string, string] => [status, base64(own ?? text)]),
    ...(own === undefined ? [] : [["own", "1"] as [string, string]]),
    ...(pages.maintenance === undefined ? [] : [["maintenance", base64(pages.maintenance)] as [string, string]]),
  ];
}

const base64 = (text: string): string => Buffer.from(text).toString("base64");
