// Where a booting machine fetches its root image from. One server's wire is soon full: a few machines are served by it, the others by hosts
// that booted the same image within the last hour and have it in memory. Whoever finds no place waits in its script, a few seconds at a
// time, so that each round of boots serves the next one. A peer is not believed: the initrd checks the hash, and falls back to us.
// The numbers are those of bench `storm`: the sooner the first hosts are ready, the sooner all are.

export interface RootSourcesOptions {
  /** So many load from us before any host is asked to serve. */
  ownFirst?: number;
  /** Most that load from us at a time. */
  ownMost?: number;
  /** Most that load from one host at a time. */
  perPeer?: number;
  /** Most places that machines which nobody approved hold at a time. */
  strangersMost?: number;
  /** A place is free again after so long, whatever became of who had it. */
  holdMs?: number;
  /** Monotonic milliseconds. */
  nowMs?: () => number;
}

export type RootSource = { from: "us" } | { from: "peer"; address: string } | { from: "nowhere"; loading: number };

export interface RootSources {
  /** A place for this card; one that it had before is free again. `peers`: addresses of hosts that have the image. */
  take(mac: string, peers: readonly string[], approved?: boolean): RootSource;
  /** It has what it wanted, or ended otherwise. */
  done(mac: string): void;
}

/** Who has a place, and where: "" is with us. */
interface Place {
  address: string;
  approved: boolean;
  untilMs: number;
}

const MOST_PLACES = 16_384;

export function rootSources({
  ownFirst = 8,
  ownMost = 16,
  perPeer = 4,
  strangersMost = 8,
  holdMs = 4 * 60_000,
  nowMs = () => performance.now(),
}: RootSourcesOptions = {}): RootSources {
  const places = new Map<string, Place>();

  /** How many load from where, those aside whose time is over. */
  function loads(): Map<string, number> {
    const now = nowMs();
    const counts = new Map<string, number>();
    for (const [mac, { address, untilMs }] of places) {
      if (untilMs <= now) places.delete(mac);
      else counts.set(address, (counts.get(address) ?? 0) + 1);
    }
    return counts;
  }

  return {
    take(mac, peers, approved = true) {
      places.delete(mac);
      const counts = loads();
      const at = (address: string) => counts.get(address) ?? 0;
      const give = (address: string) => places.set(mac, { address, approved, untilMs: nowMs() + holdMs });
      const strangers = approved ? 0 : [...places.values()].filter((place) => !place.approved).length;
      const free = peers.filter((address) => at(address) < perPeer).sort((a, b) => at(a) - at(b));
      const ownLimit = free.length > 0 ? ownFirst : ownMost;
      if (strangers >= strangersMost || places.size >= MOST_PLACES || (at("") >= ownLimit && free.length === 0))
        return { from: "nowhere", loading: places.size };
      if (at("") < ownLimit) {
        give("");
        return { from: "us" };
      }
      give(free[0]!);
      return { from: "peer", address: free[0]! };
    },
    done: (mac) => void places.delete(mac),
  };
}
