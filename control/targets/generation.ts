// The routing generation: the seq at which what routers serve last changed. Computed when asked for, so a burst costs once, and from
// what the records since then touched, so that one change costs the same with ten routes and with ten thousand.
import { setImmediate as nextTurn } from "node:timers/promises";
import type { RouterTarget, RouterTargetPart } from "#api/router-agents.ts";
import type { LogRecord } from "../store/log.ts";
import type { Store } from "../store/store.ts";
import { type RouterTargetOptions, settingsOf, type TargetPool } from "./router.ts";
import { type RowKind, routingRows } from "./routing-rows.ts";

/** What a router has. */
export interface Have {
  term: number;
  generation: number;
}
export interface Routing {
  /** The next durable record. */
  apply(record: LogRecord): void;
  /** The target as of now. Its generation grows only when its content changed. */
  current(): RouterTarget;
  /** The same, worked out in short turns. */
  settled(): Promise<RouterTarget>;
  /** One pool as of now, without the others. */
  pool(id: string): TargetPool | undefined;
  /** The generation that `current()` last answered: the newest that routers are sent. */
  lastGeneration(): number;
  /** From which generation on a record's change is in what routers are sent; a change that was taken back at once made none of its own. */
  generationOf(seq: number): number;
  /** What `current()` last answered, against what somebody has; undefined when that is not known any more. */
  since(have: Have): RouterTargetPart | undefined;
  /** Called when the content may have changed. Returns the way to stop. */
  onChange(listener: () => void): () => void;
  /** Pools worked out so far. */
  looked(): number;
}

/** Changes remembered; who lags further is sent everything. */
const CHANGES_MOST = 20_000;
const SLICE_MS = 8;

export function routing(store: Store, options: RouterTargetOptions & { sliceMs?: number } = {}): Routing {
  const { sliceMs = SLICE_MS } = options;
  const kept = routingRows(store, options);
  const { rows } = kept;
  let isDirty = true;
  let changes: { generation: number; kind: RowKind; key: string }[] = [];
  /** Every change after it is among `changes`. */
  let knownFrom = store.durableSeq;
  let target: RouterTarget = { ...settingsOf(store, options), generation: knownFrom, peers: [], pools: [], routes: [] };
  let isFirst = true;
  const listeners = new Set<() => void>();

  /** Fresh rows and changes of none of them have no generation of their own until all are up to date. */
  let unnumbered: { kind: RowKind; key: string }[] = [];
  const note = (kind: RowKind, key: string) => void unnumbered.push({ kind, key });
  const number = (): RouterTarget => {
    if (unnumbered.length === 0 && !isFirst) return target;
    const generation = store.durableSeq;
    if (isFirst) knownFrom = generation;
    else changes.push(...unnumbered.map((change) => ({ generation, ...change })));
    unnumbered = [];
    isFirst = false;
    if (changes.length > CHANGES_MOST) {
      knownFrom = changes[changes.length - CHANGES_MOST / 2]!.generation;
      changes = changes.filter((change) => change.generation > knownFrom);
    }
    target = {
      ...settingsOf(store, options),
      generation,
      peers: rows.peers,
      pools: [...rows.pools.values()],
      routes: [...rows.routes.values()],
      tcp: [...rows.tcp.values()],
      certificates: [...rows.certificates.values()],
    };
    return target;
  };
  const current = (): RouterTarget => {
    if (isDirty) for (const _ of kept.refresh(note));
    isDirty = false;
    return number();
  };

  return {
    apply(record) {
      if (!kept.touch(record)) return;
      isDirty = true;
      for (const listener of listeners) listener();
    },
    current,
    pool(id) {
      kept.refreshPool(id, note);
      return rows.pools.get(id);
    },
    lastGeneration: () => target.generation,
    generationOf: (seq) => (isDirty || seq > store.durableSeq ? seq : Math.min(seq, target.generation)),
    async settled() {
      for (let fromMs = performance.now(); isDirty; ) {
        let isWhole = true;
        for (const _ of kept.refresh(note)) {
          if (performance.now() - fromMs < sliceMs) continue;
          isWhole = false; // others may change or work out anything now
          await nextTurn();
          fromMs = performance.now();
        }
        // Up to date is only what was gone through to its end without a turn for others.
        if (isWhole) isDirty = false;
      }
      return current();
    },
    since(have) {
      const { term, generation, clusterRange, controlUrls, tcpPorts } = target;
      if (have.term !== term || have.generation < knownFrom || have.generation > generation) return undefined;
      const found: Record<RowKind, Set<string>> = {
        peers: new Set(),
        pools: new Set(),
        routes: new Set(),
        tcp: new Set(),
        certificates: new Set(),
      };
      for (let n = changes.length - 1; n >= 0 && changes[n]!.generation > have.generation; n--)
        found[changes[n]!.kind].add(changes[n]!.key);
      const of = <T>(map: ReadonlyMap<string, T>, keys: Set<string>) =>
        [...keys].flatMap((key) => (map.has(key) ? [map.get(key)!] : []));
      const gone = (map: ReadonlyMap<string, unknown>, keys: Set<string>) => [...keys].filter((key) => !map.has(key));
      return {
        term,
        generation,
        since: have.generation,
        clusterRange,
        ...(controlUrls === undefined ? {} : { controlUrls }),
        ...(tcpPorts === undefined ? {} : { tcpPorts }),
        ...(found.peers.size > 0 ? { peers: rows.peers } : {}),
        pools: of(rows.pools, found.pools),
        routes: of(rows.routes, found.routes),
        tcp: of(rows.tcp, found.tcp),
        certificates: of(rows.certificates, found.certificates),
        removed: {
          pools: gone(rows.pools, found.pools),
          routes: gone(rows.routes, found.routes).map((key) => {
            const [domain = "", path = ""] = key.split(" ");
            return { domain, path };
          }),
          tcp: gone(rows.tcp, found.tcp).map(Number),
          certificates: gone(rows.certificates, found.certificates),
        },
      };
    },
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    looked: kept.looked,
  };
}
