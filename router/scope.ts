// What may differ between two states: only that is compared, read and commanded, however much there is beside it.
import { type Assignment, type Backend, backendName, tcpName } from "./assignment.ts";
import { backendsOf, MAP_NAMES, type MapName, type Maps } from "./maps.ts";

export interface Scope {
  /** By name, as they are wanted. */
  backends: Map<string, Backend>;
  /** Keys of each map. */
  keys: Record<MapName, Set<string>>;
  /** The list of certificates. */
  certificates: boolean;
}

interface Wanted {
  assignment: Assignment;
  maps: Maps;
}

const READ_SINGLY_MOST = 64;
const KEYS_READ_SINGLY_MOST = 512;
/** Entries between two looks at the clock. */
const STEP = 500;

export const emptyScope = (): Scope => ({
  backends: new Map(),
  keys: { routes: new Set(), replies: new Set(), sticky: new Set(), jobs: new Set() },
  certificates: false,
});

const keysIn = ({ keys }: Scope): number => MAP_NAMES.reduce((sum, name) => sum + keys[name].size, 0);
/** So much that all is read and compared rather than each by itself. */
export const isLarge = (scope: Scope): boolean =>
  scope.backends.size > READ_SINGLY_MOST || keysIn(scope) > KEYS_READ_SINGLY_MOST;
export const isNothing = (scope: Scope): boolean => scope.backends.size === 0 && keysIn(scope) === 0;

/** With the backends that its routes lead to: whether those are there decides what becomes of the route. */
export function withBackendsOfRoutes(scope: Scope, { assignment, maps }: Wanted): Scope {
  const backends = new Map(scope.backends);
  for (const key of scope.keys.routes) {
    const { backend, canary } = backendsOf(maps.routes.get(key) ?? "");
    for (const name of [backend, canary ?? ""]) {
      const found = assignment.backends[Number(name.slice("be_".length)) - 1];
      if (found !== undefined) backends.set(name, found);
    }
  }
  return { ...scope, backends };
}

/** From what was wanted to what is wanted: backends that are other objects, entries that have other values. */
export function* scopeBetween(before: Wanted, after: Wanted): Generator<void, Scope> {
  const scope = emptyScope();
  for (const [b, backend] of after.assignment.backends.entries())
    if (before.assignment.backends[b] !== backend) scope.backends.set(backendName(b), backend);
  const ports = new Map(before.assignment.tcp?.map((each) => [each.port, each]));
  for (const backend of after.assignment.tcp ?? [])
    if (ports.get(backend.port) !== backend) scope.backends.set(tcpName(backend.port), backend);
  let looked = 0;
  for (const name of MAP_NAMES) {
    const [from, to, keys] = [before.maps[name], after.maps[name], scope.keys[name]];
    if (from === to) continue;
    for (const [key, value] of to) {
      if (++looked % STEP === 0) yield;
      if (from.get(key) !== value) keys.add(key);
    }
    for (const key of from.keys()) {
      if (++looked % STEP === 0) yield;
      if (!to.has(key)) keys.add(key);
    }
  }
  return scope;
}

/** What commands may have changed in a running HAProxy. */
export function touchedBy(commands: readonly string[][], { assignment }: { assignment: Assignment }): Scope {
  const scope = emptyScope();
  const ports = new Map(assignment.tcp?.map((each) => [tcpName(each.port), each]));
  for (const command of commands.flat()) {
    const [, backend] = /^set server ([^/ ]+)\//.exec(command) ?? [];
    const [, map, key] = /^(?:add|set|del) map \S*\/(\w+)\.map (\S+)/.exec(command) ?? [];
    if (backend !== undefined && !scope.backends.has(backend)) {
      const wanted = ports.get(backend) ?? assignment.backends[Number(backend.slice("be_".length)) - 1];
      if (wanted !== undefined) scope.backends.set(backend, wanted);
    }
    if (map !== undefined) scope.keys[map as MapName].add(key!);
  }
  return scope;
}
