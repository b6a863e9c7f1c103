// What members last said, in memory: frames arrive every 2 s per member and are never written. What follows from silence is
// decided in scheduler/liveness.ts; here is only when, on the monotonic clock, and the newest report.
import type { HostReport } from "#api/hosts.ts";
import type { RouterReport } from "#api/routes.ts";

export interface Seen<R> {
  /** Monotonic milliseconds. */
  atMs: number;
  /** ISO time for people. */
  at: string;
  report: R;
}

/** A boot server is silent while nothing boots: the streams it holds open say that it is there. */
export interface SeenBootServer extends Seen<undefined> {
  streams: number;
}

const BOOT_SERVER_SILENT_MS = 60_000;

export interface Presence {
  readonly hosts: ReadonlyMap<string, Seen<HostReport>>;
  readonly routers: ReadonlyMap<string, Seen<RouterReport>>;
  readonly bootServers: ReadonlyMap<string, SeenBootServer>;
  hostSeen(id: string, report: HostReport): void;
  routerSeen(id: string, report: RouterReport): void;
  bootServerSeen(id: string): void;
  /** It follows its target until the returned function is called. */
  bootServerFollows(id: string): () => void;
  /** Boot servers that are there: they follow their target, or were heard in the last minute. */
  bootServersThere(): number;
  forget(id: string): void;
  /** Told at each frame, after it is recorded. Returns the way to stop. */
  onFrame(listener: (id: string) => void): () => void;
}

export function presence(clock: { monotonicMs: () => number; now: () => Date }): Presence {
  const hosts = new Map<string, Seen<HostReport>>();
  const routers = new Map<string, Seen<RouterReport>>();
  const bootServers = new Map<string, SeenBootServer>();
  const listeners = new Set<(id: string) => void>();
  const put = <R>(map: Map<string, Seen<R>>, id: string, report: R) => {
    map.set(id, { atMs: clock.monotonicMs(), at: clock.now().toISOString(), report });
    for (const listener of listeners) listener(id);
  };
  const countStreams = (id: string, by: number) => {
    const streams = (bootServers.get(id)?.streams ?? 0) + by;
    bootServers.set(id, { atMs: clock.monotonicMs(), at: clock.now().toISOString(), report: undefined, streams });
  };
  return {
    hosts,
    routers,
    bootServers,
    hostSeen: (id, report) => put(hosts, id, report),
    routerSeen: (id, report) => put(routers, id, report),
    bootServerSeen: (id) => countStreams(id, 0),
    bootServerFollows(id) {
      countStreams(id, 1);
      return () => countStreams(id, -1);
    },
    bootServersThere: () =>
      [...bootServers.values()].filter(
        ({ streams, atMs }) => streams > 0 || clock.monotonicMs() - atMs < BOOT_SERVER_SILENT_MS,
      ).length,
    forget(id) {
      for (const map of [hosts, routers, bootServers]) map.delete(id);
    },
    onFrame(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}
