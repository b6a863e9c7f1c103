// The rows of what routers serve, kept from record to record: what a record may have changed is worked out anew, and nothing else.
import type { Job } from "#api/jobs.ts";
import type { RouterTarget } from "#api/router-agents.ts";
import type { Route } from "#api/routes.ts";
import { keys, PREFIX } from "../keys.ts";
import type { CertificateRecord } from "../routing/certificates.ts";
import type { LogRecord } from "../store/log.ts";
import type { Store } from "../store/store.ts";
import { peersOf } from "./host.ts";
import {
  certificateRow,
  poolId,
  poolsOf,
  type RouterTargetOptions,
  type TargetCertificate,
  type TargetPool,
  targetPort,
  targetRoute,
} from "./router.ts";

export type RowKind = "peers" | "pools" | "routes" | "tcp" | "certificates";
type TargetRoute = RouterTarget["routes"][number];
type TargetPort = NonNullable<RouterTarget["tcp"]>[number];

export interface Rows {
  peers: RouterTarget["peers"];
  pools: Map<string, TargetPool>;
  /** By `domain path`. */
  routes: Map<string, TargetRoute>;
  tcp: Map<string, TargetPort>;
  certificates: Map<string, TargetCertificate>;
}

export interface RoutingRows {
  rows: Rows;
  /** Takes note of what a record may change; false when that is nothing here. */
  touch(record: LogRecord): boolean;
  /** Brings the rows up to date, with a turn for others now and then; each that became another one is passed to `changed`. */
  refresh(changed: (kind: RowKind, key: string) => void): Generator<void, void>;
  /** Brings one pool up to date, with the routes that say which job pools there are. */
  refreshPool(id: string, changed: (kind: RowKind, key: string) => void): void;
  /** Pools worked out so far. */
  looked(): number;
}

/** Rows between two turns for others. */
const STEP = 20;
/** Where a row with an id of its own is one of a kind: peers are one list. */
const ALL = "all";

export function routingRows(newest: Store, options: RouterTargetOptions): RoutingRows {
  const store = newest.durable;
  const rows: Rows = { peers: [], pools: new Map(), routes: new Map(), tcp: new Map(), certificates: new Map() };
  /** Route record -> as it stands in the rows. */
  const routeRecords = new Map<string, Route>();
  const routesOfPool = new Map<string, Set<string>>();
  /** Pool -> its rows: its own, and those of its canaries. */
  const poolIdsOf = new Map<string, Set<string>>();
  const poolsOfApp = new Map<string, Set<string>>();
  const dirty = { peers: true, pools: new Set<string>(), routes: new Set<string>(), certificates: new Set<string>() };
  for (const { key } of store.list(PREFIX.routes)) dirty.routes.add(key);
  for (const { key } of store.list(PREFIX.certificates)) dirty.certificates.add(key);
  let looked = 0;

  const touchApp = (appId: string): boolean => {
    const ids = poolsOfApp.get(appId);
    for (const id of ids ?? []) dirty.pools.add(id);
    return ids !== undefined;
  };
  const touchKey = (key: string, value: unknown): boolean => {
    if (key.startsWith(PREFIX.routes)) dirty.routes.add(key);
    else if (key.startsWith(PREFIX.certificates)) dirty.certificates.add(key);
    else if (key.startsWith(PREFIX.hosts)) dirty.peers = true;
    else if (key.startsWith(PREFIX.appPages)) return touchApp(key.slice(PREFIX.appPages.length));
    else if (!key.startsWith(PREFIX.jobs)) return false;
    else if (value === null) return touchApp(key.slice(PREFIX.jobs.length, key.lastIndexOf("/")));
    else {
      const { appId, process } = value as Job;
      const id = poolId(appId, process);
      if (!routesOfPool.has(id)) return false;
      dirty.pools.add(id);
    }
    return true;
  };

  const replace = <T>(map: Map<string, T>, key: string, row: T | undefined): boolean => {
    if (JSON.stringify(map.get(key)) === JSON.stringify(row)) return false;
    if (row === undefined) map.delete(key);
    else map.set(key, row);
    return true;
  };
  const rowKey = (route: Route): ["routes" | "tcp", string] =>
    route.type === "http" ? ["routes", `${route.domain} ${route.path}`] : ["tcp", String(route.port)];

  const refreshRoute = (key: string, changed: (kind: RowKind, key: string) => void): void => {
    const before = routeRecords.get(key);
    const now = store.get<Route>(key)?.value;
    if (before !== undefined) {
      const id = poolId(before.appId, before.process);
      leave(routesOfPool, id, key);
      if (!routesOfPool.has(id)) leave(poolsOfApp, before.appId, id);
      dirty.pools.add(id);
      const [kind, row] = rowKey(before);
      if ((now === undefined || rowKey(now)[1] !== row) && replace<unknown>(rows[kind], row, undefined))
        changed(kind, row);
    }
    if (now === undefined) {
      routeRecords.delete(key);
      return;
    }
    routeRecords.set(key, now);
    const id = poolId(now.appId, now.process);
    enter(routesOfPool, id, key);
    enter(poolsOfApp, now.appId, id);
    dirty.pools.add(id);
    const [kind, row] = rowKey(now);
    const made = now.type === "http" ? targetRoute(now, rows.pools) : targetPort(now);
    if (replace<unknown>(rows[kind], row, made)) changed(kind, row);
  };

  /** A share is given while somebody of the canary is up. */
  const refreshShares = (members: readonly Route[], changed: (kind: RowKind, key: string) => void): void => {
    for (const route of members) {
      if (route.type !== "http" || route.canary === undefined) continue;
      const [kind, row] = rowKey(route);
      if (rows.routes.has(row) && replace<unknown>(rows.routes, row, targetRoute(route, rows.pools)))
        changed(kind, row);
    }
  };

  const workOutPool = (id: string, changed: (kind: RowKind, key: string) => void): void => {
    const members = [...(routesOfPool.get(id) ?? [])].map((key) => routeRecords.get(key)!);
    if (members.length > 0) looked++;
    const made = members.length === 0 ? [] : poolsOf(store, members);
    const next = new Set(made.map((pool) => pool.id));
    for (const gone of poolIdsOf.get(id) ?? [])
      if (!next.has(gone) && replace(rows.pools, gone, undefined)) changed("pools", gone);
    for (const pool of made) if (replace(rows.pools, pool.id, pool)) changed("pools", pool.id);
    if (next.size > 0) poolIdsOf.set(id, next);
    else poolIdsOf.delete(id);
    refreshShares(members, changed);
  };
  const workOutCertificate = (key: string, changed: (kind: RowKind, key: string) => void): void => {
    const id = key.slice(PREFIX.certificates.length);
    const record = store.get<CertificateRecord>(keys.certificate(id));
    const row = record === undefined ? undefined : certificateRow(record.value, options);
    if (replace(rows.certificates, id, row)) changed("certificates", id);
  };
  /** What fails is still to be done, after all others. */
  const take = (from: Set<string>, key: string, work: () => void): void => {
    from.delete(key);
    try {
      work();
    } catch (error) {
      from.add(key);
      throw error;
    }
  };
  const nextPool = (id: string, changed: (kind: RowKind, key: string) => void): void =>
    take(dirty.pools, id, () => workOutPool(id, changed));
  const nextRoute = (key: string, changed: (kind: RowKind, key: string) => void): void =>
    take(dirty.routes, key, () => refreshRoute(key, changed));

  return {
    rows,
    touch({ mutations }) {
      let isTouched = false;
      for (const { key, value } of mutations) isTouched = touchKey(key, value) || isTouched;
      return isTouched;
    },
    *refresh(changed) {
      let since = 0;
      if (dirty.peers) {
        const peers = peersOf(store);
        dirty.peers = false;
        if (JSON.stringify(peers) !== JSON.stringify(rows.peers)) {
          rows.peers = peers;
          changed("peers", ALL);
        }
      }
      for (const key of dirty.routes) {
        nextRoute(key, changed);
        if (++since % STEP === 0) yield;
      }
      for (const id of dirty.pools) {
        nextPool(id, changed);
        if (++since % STEP === 0) yield;
      }
      for (const key of dirty.certificates) {
        take(dirty.certificates, key, () => workOutCertificate(key, changed));
        if (++since % STEP === 0) yield;
      }
    },
    refreshPool(id, changed) {
      for (const key of dirty.routes) nextRoute(key, changed);
      if (dirty.pools.has(id)) nextPool(id, changed);
    },
    looked: () => looked,
  };
}

function enter(sets: Map<string, Set<string>>, name: string, member: string): void {
  sets.set(name, (sets.get(name) ?? new Set()).add(member));
}

function leave(sets: Map<string, Set<string>>, name: string, member: string): void {
  const members = sets.get(name);
  members?.delete(member);
  if (members?.size === 0) sets.delete(name);
}
