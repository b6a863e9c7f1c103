// A change of what is kept, as a line of the journal: the rows that are other objects than before, and what is gone. Pure.
import type { RouterTarget } from "#api/router-agents.ts";
import { type Assignment, type Backend, routeKey, type TargetRoute, type TcpBackend } from "./assignment.ts";

type Pool = RouterTarget["pools"][number];

export interface State {
  target: RouterTarget;
  assignment: Assignment;
}

interface RowChange<T> {
  set?: T[];
  gone?: string[];
}

export interface Change {
  seq: number;
  /** All of the target but its long lists, and what changed in those. Never certificates: a key that is gone goes from the disk too. */
  target?: {
    rest: Omit<RouterTarget, "pools" | "routes" | "certificates">;
    pools: RowChange<Pool>;
    routes: RowChange<TargetRoute>;
  };
  /** How many backends there are, those that changed by position, and all ports. */
  assignment?: { count: number; backends: [number, Backend][]; tcp?: TcpBackend[] };
}

const idOf = ({ id }: { id: string }): string => id;
const keyOf = ({ domain, path }: TargetRoute): string => routeKey(domain, path);

/** Undefined when nothing differs. `rows`: how many rows it has; undefined when a key is there twice, which no change can say. */
export function changeBetween(before: State, after: State): (Omit<Change, "seq"> & { rows?: number }) | undefined {
  const { pools, routes, certificates: _, ...rest } = after.target;
  const lists = {
    pools: rowChange(before.target.pools, pools, idOf),
    routes: rowChange(before.target.routes, routes, keyOf),
  };
  const backends = after.assignment.backends.flatMap((backend, b): [number, Backend][] =>
    before.assignment.backends[b] === backend ? [] : [[b, backend]],
  );
  const count = after.assignment.backends.length;
  const { tcp = [] } = after.assignment;
  const isPortOther =
    tcp.length !== (before.assignment.tcp ?? []).length || tcp.some((port, n) => port !== before.assignment.tcp?.[n]);
  const isOther = backends.length > 0 || isPortOther || count !== before.assignment.backends.length;
  if (before.target === after.target && !isOther) return undefined;
  const sizes = Object.values(lists).map((each) => each && (each.set?.length ?? 0) + (each.gone?.length ?? 0));
  const change: Omit<Change, "seq"> & { rows?: number } = {};
  if (sizes.every((size) => size !== undefined))
    change.rows = sizes.reduce((sum, size) => sum + size, backends.length + (isPortOther ? tcp.length : 0));
  if (before.target !== after.target) change.target = { rest, pools: lists.pools ?? {}, routes: lists.routes ?? {} };
  if (isOther) change.assignment = { count, backends, ...(tcp.length > 0 ? { tcp } : {}) };
  return change;
}

function rowChange<T>(before: readonly T[], after: readonly T[], key: (row: T) => string): RowChange<T> | undefined {
  if (before === after) return {};
  const old = new Map(before.map((row) => [key(row), row]));
  const now = new Set<string>();
  const set: T[] = [];
  for (const row of after) {
    const id = key(row);
    now.add(id);
    if (old.get(id) !== row) set.push(row);
  }
  if (now.size !== after.length || old.size !== before.length) return undefined;
  const gone = [...old.keys()].filter((id) => !now.has(id));
  return { ...(set.length > 0 ? { set } : {}), ...(gone.length > 0 ? { gone } : {}) };
}

/** The state after those changes that are younger than what each file had. */
export function applied(
  { target, assignment }: State,
  changes: readonly Change[],
  from: { target: number; assignment: number },
): State & { seq: number } {
  let seq = Math.max(from.target, from.assignment);
  const pools = new Map(target.pools.map((row) => [idOf(row), row]));
  const routes = new Map(target.routes.map((row) => [keyOf(row), row]));
  let rest: RouterTarget = target;
  let { tcp } = assignment;
  const backends = [...assignment.backends];
  let isTargetOther = false;
  for (const change of changes) {
    seq = Math.max(seq, change.seq);
    if (change.target !== undefined && change.seq > from.target) {
      isTargetOther = true;
      rest = { ...change.target.rest, pools: [], routes: [] };
      apply(pools, change.target.pools, idOf);
      apply(routes, change.target.routes, keyOf);
    }
    if (change.assignment !== undefined && change.seq > from.assignment) {
      backends.length = change.assignment.count;
      for (const [b, backend] of change.assignment.backends) backends[b] = backend;
      tcp = change.assignment.tcp;
    }
  }
  const { certificates } = target;
  const lists = { pools: [...pools.values()], routes: [...routes.values()], ...(certificates ? { certificates } : {}) };
  const whole: RouterTarget = isTargetOther ? { ...rest, ...lists } : target;
  return { target: whole, assignment: { backends, ...(tcp ? { tcp } : {}) }, seq };
}

function apply<T>(rows: Map<string, T>, { set = [], gone = [] }: RowChange<T>, key: (row: T) => string): void {
  for (const id of gone) rows.delete(id);
  for (const row of set) rows.set(key(row), row);
}
