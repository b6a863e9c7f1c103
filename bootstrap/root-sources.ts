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
/** Who waits asks every few seconds; not heard for so long, it waits no more. */
const WAITS_MS = 90_000;

export function rootSources({
  ownFirst = 8,
  ownMost = 16,
  perPeer = 4,
  strangersMost = 8,
  holdMs = 4 * 60_000,
  nowMs = () => performance.now(),
}: RootSourcesOptions = {}): RootSources {
  const places = new Map<string, Place>();
  /** Strangers that found no place, the first that came first, and when they asked last. */
  const waiting = new Map<string, number>();

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

  /** Strangers that wait and came before it. */
  function ahead(mac: string): number {
    const now = nowMs();
    for (const [other, askedMs] of waiting) if (now - askedMs > WAITS_MS) waiting.delete(other);
    const place = [...waiting.keys()].indexOf(mac);
    return place < 0 ? waiting.size : place;
  }

  function wait(mac: string): void {
    if (waiting.has(mac) || waiting.size < MOST_PLACES) waiting.set(mac, nowMs());
  }

  return {
    take(mac, peers, approved = true) {
      const before = places.get(mac);
      places.delete(mac);
      const counts = loads();
      const at = (address: string) => counts.get(address) ?? 0;
      // A stranger that asks again keeps its place no longer than others keep theirs, and comes after those that wait then.
      const isHeld = !approved && before?.approved === false && before.untilMs > nowMs();
      const untilMs = isHeld ? before.untilMs : nowMs() + holdMs;
      const give = (address: string): void => {
        waiting.delete(mac);
        places.set(mac, { address, approved, untilMs });
      };
      const others = () => [...places.values()].filter((place) => !place.approved).length;
      const strangers = approved ? 0 : others() + (isHeld ? 0 : ahead(mac));
      const free = peers.filter((address) => at(address) < perPeer).sort((a, b) => at(a) - at(b));
      const ownLimit = free.length > 0 ? ownFirst : ownMost;
      if (strangers >= strangersMost || places.size >= MOST_PLACES || (at("") >= ownLimit && free.length === 0)) {
        if (!approved) wait(mac);
        return { from: "nowhere", loading: places.size };
      }
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
