// Which address belongs to which MAC. Bound to the hardware address, since ROM, initramfs and system send different client
// ids (option 61); sticky, so a machine keeps its address until the pool has no unused one left for another.

import { toAddress, toNumber } from "#lib/ipv4.ts";
import { expiries, freeNumbers } from "./address-pool.ts";

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
  /** Whose the address is by the configuration, in words, when that is not this machine. */
  whose(mac: string, address: string): string | undefined;
  /** Why this machine may not go on with this address, though it holds it: a NAK's reason. */
  refusal(mac: string, address: string, nowMs: number): string | undefined;
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
  /** MAC to its fixed address; may lie outside the range. While another holds it, its machine gets one of the range. */
  reservations?: ReadonlyMap<string, string>;
  /** Addresses in the range that are somebody's: ours, the router's. */
  exclude?: readonly string[];
}

/** Addresses that one machine may have quarantined at a time, and how much of the range all of them together. */
const DECLINED_MOST = 3;
const DECLINED_MOST_SHARE = 1 / 4;

export function createLeases({ first, last, reservations = new Map(), exclude = [] }: LeaseRange): Leases {
  const byMac = new Map<string, Lease>();
  const byAddress = new Map<string, Lease>();
  /** Quarantined addresses, in the order in which they were declined. */
  const declined = new Map<string, Lease>();
  const ownerOf = new Map([...reservations].map(([mac, address]) => [address, mac]));
  const low = toNumber(first);
  const count = toNumber(last) - low + 1;
  const unused = freeNumbers(count);
  const ends = expiries();

  const inRange = (address: string) => toNumber(address) >= low && toNumber(address) < low + count;
  const isReserved = (address: string) => ownerOf.has(address) || exclude.includes(address);
  const isFree = (address: string, mac: string, nowMs: number) => {
    const holder = byAddress.get(address);
    return holder === undefined || (holder.mac === mac && holder.state !== "declined") || isOver(holder, nowMs);
  };
  for (const address of [...ownerOf.keys(), ...exclude]) if (inRange(address)) unused.take(toNumber(address) - low);

  const hold = (lease: Lease): void => {
    byAddress.set(lease.address, lease);
    if (!inRange(lease.address) || isReserved(lease.address)) return;
    unused.take(toNumber(lease.address) - low);
    ends.set(lease.address, lease.expiresAtMs);
  };
  const drop = ({ address }: Lease): void => {
    byAddress.delete(address);
    declined.delete(address);
    if (!inRange(address) || isReserved(address)) return;
    unused.free(toNumber(address) - low);
    ends.delete(address);
  };
  /** One machine, or a few, cannot take the range away by declining it: the oldest of too many come back. */
  const quarantine = (lease: Lease): void => {
    declined.set(lease.address, lease);
    const its = [...declined.values()].filter(({ mac }) => mac === lease.mac);
    if (its.length > DECLINED_MOST) drop(its[0]!);
    if (declined.size > Math.max(1, count * DECLINED_MOST_SHARE)) drop(declined.values().next().value!);
  };

  const whose = (mac: string, address: string): string | undefined => {
    const owner = ownerOf.get(address);
    if (owner !== undefined) return owner === mac ? undefined : "reserved for another machine";
    return exclude.includes(address) ? "the address of the server or the router" : undefined;
  };

  return {
    byMac: (mac) => byMac.get(mac),
    byAddress: (address) => byAddress.get(address),
    whose,
    refusal(mac, address, nowMs) {
      if (ownerOf.get(address) === mac) return undefined;
      const other = whose(mac, address);
      if (other !== undefined) return other;
      if (!inRange(address)) return "not an address we give out";
      const fixed = reservations.get(mac);
      return fixed !== undefined && isFree(fixed, mac, nowMs) ? "another address is reserved for it" : undefined;
    },
    choose(mac, wish, nowMs) {
      const fixed = reservations.get(mac);
      if (fixed !== undefined && isFree(fixed, mac, nowMs)) return fixed;
      const own = byMac.get(mac);
      if (own && own.state !== "declined" && inRange(own.address) && !isReserved(own.address)) return own.address;
      if (wish !== undefined && inRange(wish) && !isReserved(wish) && isFree(wish, mac, nowMs)) return wish;
      const number = unused.next(hash(mac) % count);
      if (number !== undefined) return toAddress(low + number);
      const oldest = ends.first();
      return oldest !== undefined && oldest.atMs <= nowMs ? oldest.key : undefined;
    },
    apply(lease) {
      const before = byMac.get(lease.mac);
      if (before && before.address !== lease.address && byAddress.get(before.address) === before) drop(before);
      const holder = byAddress.get(lease.address);
      if (holder && holder.mac !== lease.mac && byMac.get(holder.mac) === holder) byMac.delete(holder.mac);
      declined.delete(lease.address);
      hold(lease);
      if (lease.state !== "declined") {
        byMac.set(lease.mac, lease);
        return;
      }
      byMac.delete(lease.mac);
      quarantine(lease);
    },
    forgetOffer(mac) {
      const lease = byMac.get(mac);
      if (lease?.state !== "offered") return;
      byMac.delete(mac);
      drop(lease);
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
