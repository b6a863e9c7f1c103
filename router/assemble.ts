// A whole target from the events that control sends it in: all of it, or what is different from the one before. What is wrong with
// an event is thrown; the last good target stays. A row that is as before stays the same object, so that nobody looks at it again.
import { isDeepStrictEqual } from "node:util";
import type { RouterTarget, RouterTargetPart } from "#api/router-agents.ts";
import { routeKey } from "./assignment.ts";

type Pool = RouterTarget["pools"][number];
type Route = RouterTarget["routes"][number];
type Port = NonNullable<RouterTarget["tcp"]>[number];
type Certificate = NonNullable<RouterTarget["certificates"]>[number];

export interface Assembler {
  /** The whole target with the last of its parts; undefined while more follow. Throws when the part cannot be what comes next. */
  add(part: RouterTargetPart): RouterTarget | undefined;
}

interface Rows {
  pools: Map<string, Pool>;
  routes: Map<string, Route>;
  tcp: Map<number, Port>;
  certificates: Map<string, Certificate>;
}

const keyOfRoute = ({ domain, path }: Pick<Route, "domain" | "path">): string => routeKey(domain, path);
const byKey = <K, T>(rows: readonly T[], keyOf: (row: T) => K): Map<K, T> =>
  new Map(rows.map((row) => [keyOf(row), row]));

/** `known`: the target held before the first event; what control sends may be said against it. */
export function assembler(known?: RouterTarget): Assembler {
  let last = known;
  let rows: Rows = rowsOf(known);
  let parts: RouterTargetPart[] = [];
  let received = noRows();

  /** Rows of one event as they are to be kept; looked at event by event, which are of bounded size. */
  const take = (part: RouterTargetPart): void => {
    const same = <T>(row: T, before: T | undefined): T => (isDeepStrictEqual(row, before) ? before! : row);
    received.pools.push(...part.pools.map((row) => same(row, rows.pools.get(row.id))));
    received.routes.push(...part.routes.map((row) => same(row, rows.routes.get(keyOfRoute(row)))));
    received.tcp.push(...(part.tcp ?? []).map((row) => same(row, rows.tcp.get(row.port))));
    for (const { id, names, pem = rows.certificates.get(id)?.pem } of part.certificates ?? []) {
      if (pem === undefined) throw new Error(`certificate ${id.slice(0, 100)} was never sent`);
      received.certificates.push(same({ id, names, pem }, rows.certificates.get(id)));
    }
  };

  /** The lists of a target that is said as differences: those rows replaced, what is gone left out. */
  const changed = ({ since, term, removed }: RouterTargetPart): typeof received => {
    if (last === undefined || last.term !== term || last.generation !== since)
      throw new Error(`what differs from generation ${since} was sent, and ${last?.generation} is here`);
    const merge = <K, T>(before: Map<K, T>, list: readonly T[], gone: readonly K[], keyOf: (row: T) => K): T[] => {
      const next = new Map(before);
      for (const key of gone) next.delete(key);
      for (const row of list) next.set(keyOf(row), row);
      return [...next.values()];
    };
    const { pools = [], routes = [], tcp = [], certificates = [] } = removed ?? {};
    return {
      pools: merge(rows.pools, received.pools, pools, ({ id }) => id),
      routes: merge(rows.routes, received.routes, routes.map(keyOfRoute), keyOfRoute),
      tcp: merge(rows.tcp, received.tcp, tcp, ({ port }) => port),
      certificates: merge(rows.certificates, received.certificates, certificates, ({ id }) => id),
    };
  };

  return {
    add(next) {
      const { index, count } = next.part ?? { index: 0, count: 1 };
      if (index === 0) {
        parts = [];
        received = noRows();
      }
      const [first = next] = parts;
      if (index !== parts.length || next.term !== first.term || next.generation !== first.generation)
        throw new Error(`part ${index} of ${count} is not what follows`);
      take(next);
      parts.push(next);
      if (parts.length < count) return undefined;
      parts = [];
      const { part: _, since, removed: __, peers = last?.peers ?? [], ...rest } = first;
      const lists = since === undefined ? received : changed(first);
      received = noRows();
      const keep = <T>(list: T[], before: T[] | undefined): T[] => (areSame(list, before) ? before! : list);
      const tcp = keep(lists.tcp, last?.tcp);
      const target: RouterTarget = {
        ...rest,
        peers: isDeepStrictEqual(peers, last?.peers) ? last!.peers : peers,
        pools: keep(lists.pools, last?.pools),
        routes: keep(lists.routes, last?.routes),
        certificates: keep(lists.certificates, last?.certificates),
      };
      if (tcp.length > 0) target.tcp = tcp;
      else delete target.tcp;
      last = target;
      rows = rowsOf(target);
      return target;
    },
  };
}

const noRows = () => ({
  pools: [] as Pool[],
  routes: [] as Route[],
  tcp: [] as Port[],
  certificates: [] as Certificate[],
});

function rowsOf(target: RouterTarget | undefined): Rows {
  return {
    pools: byKey(target?.pools ?? [], ({ id }) => id),
    routes: byKey(target?.routes ?? [], keyOfRoute),
    tcp: byKey(target?.tcp ?? [], ({ port }) => port),
    certificates: byKey(target?.certificates ?? [], ({ id }) => id),
  };
}

const areSame = <T>(list: readonly T[], before: readonly T[] | undefined): boolean =>
  before !== undefined && list.length === before.length && list.every((row, n) => row === before[n]);
