// Which address belongs to which MAC. Bound to the hardware address, since ROM, initramfs and system send different client
// ids (option 61); sticky, so a machine keeps its address until the pool has no unused one left for another.
import { toAddress, toNumber } from "../ipv4.ts";

export interface Lease {
  mac: string;
  address: string;
  /** `offered` is held in memory only; `declined` addresses are in use by somebody we do not know. */
  state: "offered" | "bound" | "released" | "declined";
  expiresAtMs: number;
}

export interface LeaseView {
  byMac(mac: string): Lease | undefined;
  byAddress(address: string): Lease | undefined;
  /** The address this MAC is to get: its own, the wished one when free, an unused one, else the longest-expired one. */
  choose(mac: string, wish: string | undefined, nowMs: number): string | undefined;
}

export interface Leases extends LeaseView {
  apply(lease: Lease): void;
  /** Drops an offer that the client did not take. */
  forgetOffer(mac: string): void;
  /** Every lease that outlives a restart. */
  durable(): Lease[];
}

export interface LeaseRange {
  first: string;
  last: string;
  /** MAC to its fixed address; may lie outside the range. */
  reservations?: ReadonlyMap<string, string>;
  /** Addresses in the range that are somebody's: ours, the router's. */
  exclude?: readonly string[];
}

export function createLeases({ first, last, reservations = new Map(), exclude = [] }: LeaseRange): Leases {
  const byMac = new Map<string, Lease>();
  const byAddress = new Map<string, Lease>();
  const reserved = new Set([...reservations.values(), ...exclude]);
  const low = toNumber(first);
  const count = toNumber(last) - low + 1;

  const inRange = (address: string) => toNumber(address) >= low && toNumber(address) < low + count;
  const isFree = (address: string, mac: string, nowMs: number) => {
    const holder = byAddress.get(address);
    if (reserved.has(address)) return false;
    return holder === undefined || (holder.mac === mac && holder.state !== "declined") || isOver(holder, nowMs);
  };

  return {
    byMac: (mac) => byMac.get(mac),
    byAddress: (address) => byAddress.get(address),
    choose(mac, wish, nowMs) {
      const fixed = reservations.get(mac);
      if (fixed !== undefined) return fixed;
      const own = byMac.get(mac);
      if (own && own.state !== "declined" && inRange(own.address) && !reserved.has(own.address)) return own.address;
      if (wish !== undefined && inRange(wish) && isFree(wish, mac, nowMs)) return wish;
      let oldest: Lease | undefined;
      const start = hash(mac) % count;
      for (let i = 0; i < count; i++) {
        const address = toAddress(low + ((start + i) % count));
        if (reserved.has(address)) continue;
        const holder = byAddress.get(address);
        if (holder === undefined) return address;
        if (isOver(holder, nowMs) && (oldest === undefined || holder.expiresAtMs < oldest.expiresAtMs)) oldest = holder;
      }
      return oldest?.address;
    },
    apply(lease) {
      const before = byMac.get(lease.mac);
      if (before && before.address !== lease.address && byAddress.get(before.address) === before)
        byAddress.delete(before.address);
      const holder = byAddress.get(lease.address);
      if (holder && holder.mac !== lease.mac && byMac.get(holder.mac) === holder) byMac.delete(holder.mac);
      byAddress.set(lease.address, lease);
      if (lease.state === "declined") byMac.delete(lease.mac);
      else byMac.set(lease.mac, lease);
    },
    forgetOffer(mac) {
      const lease = byMac.get(mac);
      if (lease?.state !== "offered") return;
      byMac.delete(mac);
      byAddress.delete(lease.address);
    },
    durable: () => [...byAddress.values()].filter((lease) => lease.state !== "offered"),
  };
}

function isOver(lease: Lease, nowMs: number): boolean {
  return lease.expiresAtMs <= nowMs;
}

/** FNV-1a: spreads machines over the range, and gives the same machine the same address on an empty table. */
function hash(mac: string): number {
  let value = 0x811c9dc5;
  for (let i = 0; i < mac.length; i++) value = Math.imul(value ^ mac.charCodeAt(i), 0x01000193) >>> 0;
  return value;
}
