// What members last said, in memory: frames arrive every 2 s per member and are never written. What follows from silence is
// decided in scheduler/liveness.ts; here is only when, on the monotonic clock, and the newest report.
import type { RogueDhcpServer } from "#api/dhcp-servers.ts";
import type { HostBeat, HostReport } from "#api/host-agents.ts";
import type { JoinRole } from "#api/members.ts";
import type { RouterReport } from "#api/router-agents.ts";
import type { Hello } from "#api/version.ts";
import type { Life } from "./identity/principal.ts";

export interface Seen<R> {
  /** Monotonic milliseconds. */
  atMs: number;
  /** ISO time for people. */
  at: string;
  report: R;
}

export interface SeenRouter extends Seen<RouterReport> {
  /** When what it serves last became newer, monotonic milliseconds; at first when it was first heard. */
  advancedMs: number;
}

/** A boot server is silent while nothing boots: the streams it holds open say that it is there. */
export interface SeenBootServer extends Seen<undefined> {
  streams: number;
}

/** What a member showed with its last request. */
export interface MemberSeen {
  role: JoinRole;
  certificate: Life;
  /** Absent: it is of before members said what they are. */
  hello?: Hello;
  /** Why it is not understood; its report is then not taken, and it lives all the same. */
  refusal?: string;
}

const BOOT_SERVER_SILENT_MS = 60_000;
const BOOTS_KEPT = 10_000;
/** From a host's last report to the kernel of its next boot. */
const QUICKEST_BOOT_MS = 5_000;
/** Control looks at the clock this often; when it comes much later than that, it did not run. */
const TICK_MS = 500;
const SLEPT_AFTER_MS = 1_500;

export interface Presence {
  readonly hosts: ReadonlyMap<string, Seen<HostReport>>;
  readonly routers: ReadonlyMap<string, SeenRouter>;
  readonly bootServers: ReadonlyMap<string, SeenBootServer>;
  /** Other DHCP servers that should not be there, as each boot server said last. */
  readonly dhcpServers: ReadonlyMap<string, readonly RogueDhcpServer[]>;
  dhcpServersSeen(id: string, servers: readonly RogueDhcpServer[]): void;
  /** Every member that asked anything of this control. */
  readonly members: ReadonlyMap<string, MemberSeen>;
  /** ISO times of the last use of access tokens, by id. */
  readonly tokensUsed: ReadonlyMap<string, string>;
  tokenSeen(id: string): void;
  /** Since when this control listens, monotonic. */
  readonly startedMs: number;
  nowMs(): number;
  /** When it was last found that control had not run for a while, monotonic; looks at the clock itself first. */
  sleptMs(): number | undefined;
  /** Boots that were seen to begin, and those whose grant was shown, to when: monotonic. */
  readonly begun: ReadonlyMap<string, number>;
  readonly asked: ReadonlyMap<string, number>;
  /** The first sighting counts. */
  bootBegan(machineId: string, bootId: string): void;
  /** The boot of this machine that was seen to begin last. */
  newestBoot(machineId: string): string | undefined;
  grantShown(bootId: string): void;
  /** A host has just joined: it lives, though it has not reported yet. */
  hostJoined(id: string): void;
  /** When a host was last heard, monotonic. */
  heardMs(hostId: string): number | undefined;
  /** True when this host was heard after this boot was seen to begin, or so lately that nothing can have booted since. */
  aliveBeside(hostId: string | undefined, bootId: string): boolean;
  memberSeen(id: string, seen: MemberSeen): void;
  hostSeen(id: string, report: HostReport): void;
  /** What it reported last still holds but for these; false when this control has not got that report. */
  hostBeat(id: string, beat: HostBeat): boolean;
  routerSeen(id: string, report: RouterReport): void;
  bootServerSeen(id: string): void;
  /** It follows its target until the returned function is called. */
  bootServerFollows(id: string): () => void;
  /** Boot servers that are there: they follow their target, or were heard in the last minute. */
  bootServersThere(): number;
  forget(id: string): void;
  close(): void;
  /** Told at each frame, after it is recorded. Returns the way to stop. */
  onFrame(listener: (id: string) => void): () => void;
}

export function presence(clock: {
  monotonicMs: () => number;
  now: () => Date;
  onError?: (error: unknown) => void;
}): Presence {
  const hosts = new Map<string, Seen<HostReport>>();
  const routers = new Map<string, SeenRouter>();
  const bootServers = new Map<string, SeenBootServer>();
  const dhcpServers = new Map<string, readonly RogueDhcpServer[]>();
  const joined = new Map<string, number>();
  const members = new Map<string, MemberSeen>();
  const tokensUsed = new Map<string, string>();
  const [begun, asked] = [new Map<string, number>(), new Map<string, number>()];
  const newest = new Map<string, string>();
  const startedMs = clock.monotonicMs();
  let [tickedMs, sleptMs] = [startedMs, undefined as number | undefined];
  const tick = () => {
    const nowMs = clock.monotonicMs();
    if (nowMs - tickedMs > SLEPT_AFTER_MS) sleptMs = nowMs;
    tickedMs = nowMs;
    return sleptMs;
  };
  const ticking = setInterval(tick, TICK_MS).unref();
  const first = (map: Map<string, number>, id: string) => {
    if (map.has(id)) return;
    map.set(id, clock.monotonicMs());
    if (map.size > BOOTS_KEPT) map.delete(map.keys().next().value!);
  };
  const heardMs = (id: string) => {
    const heard = Math.max(hosts.get(id)?.atMs ?? -1, joined.get(id) ?? -1);
    return heard < 0 ? undefined : heard;
  };
  const listeners = new Set<(id: string) => void>();
  const tell = (id: string) => {
    for (const listener of listeners) {
      try {
        listener(id);
      } catch (error) {
        clock.onError?.(error); // a frame is taken in whatever its listeners make of it
      }
    }
  };
  const seenNow = <R>(report: R): Seen<R> => ({ atMs: clock.monotonicMs(), at: clock.now().toISOString(), report });
  const put = <S>(map: Map<string, S>, id: string, seen: S) => {
    map.set(id, seen);
    tell(id);
  };
  const countStreams = (id: string, by: number) => {
    const streams = (bootServers.get(id)?.streams ?? 0) + by;
    bootServers.set(id, { atMs: clock.monotonicMs(), at: clock.now().toISOString(), report: undefined, streams });
  };
  return {
    hosts,
    routers,
    bootServers,
    dhcpServers,
    dhcpServersSeen: (id, servers) => void dhcpServers.set(id, servers),
    members,
    tokensUsed,
    tokenSeen: (id) => void tokensUsed.set(id, clock.now().toISOString()),
    startedMs,
    nowMs: clock.monotonicMs,
    begun,
    asked,
    sleptMs: tick,
    bootBegan(machineId, bootId) {
      if (begun.has(bootId)) return;
      first(begun, bootId);
      newest.delete(machineId);
      newest.set(machineId, bootId);
      if (newest.size > BOOTS_KEPT) newest.delete(newest.keys().next().value!);
    },
    newestBoot: (machineId) => newest.get(machineId),
    grantShown: (bootId) => first(asked, bootId),
    hostJoined: (id) => void joined.set(id, clock.monotonicMs()),
    heardMs,
    aliveBeside(hostId, bootId) {
      const [heard, began] = [hostId === undefined ? undefined : heardMs(hostId), begun.get(bootId)];
      if (heard === undefined) return false;
      return (began !== undefined && heard > began) || clock.monotonicMs() - heard < QUICKEST_BOOT_MS;
    },
    memberSeen(id, seen) {
      members.set(id, seen);
      if (seen.refusal !== undefined) tell(id);
    },
    hostSeen: (id, report) => put(hosts, id, seenNow(report)),
    routerSeen(id, report) {
      const [seen, before] = [seenNow(report), routers.get(id)];
      const isNewer = before?.report.term !== report.term || before.report.generation < report.generation;
      put(routers, id, { ...seen, advancedMs: isNewer ? seen.atMs : before.advancedMs });
    },
    hostBeat(id, { digest, ...fresh }) {
      const report = hosts.get(id)?.report;
      if (report?.digest !== digest) return false;
      put(hosts, id, seenNow({ ...report, ...fresh }));
      return true;
    },
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
      for (const map of [hosts, routers, bootServers, dhcpServers, joined, members]) map.delete(id);
    },
    close: () => clearInterval(ticking),
    onFrame(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}
