// What the boot server sees of an asker itself, whatever the asker says: the card that the kernel's neighbour table has for the
// source address, or the configured relay that carried its DHCP packets. Jobs and strangers from elsewhere are not admitted.
import type { Observed } from "#api/machine-identity.ts";
import { contains, type Network, parseNetwork } from "#lib/ipv4.ts";
import type { Neighbours } from "./neighbours.ts";

/** Where a request came from. `card` and `relay` are seen, never said. */
export interface Source {
  address: string;
  card?: string | undefined;
  relay?: string | undefined;
  /** Whose the address is by our own leases. */
  leasedTo?: string | undefined;
}

/** A DHCP relay: its address (giaddr) and the network of the machines behind it. */
export interface Relay {
  address: string;
  network: Network;
  /** Where it sends from, when that is not its own address. */
  uplink?: string | undefined;
}

export interface Sight {
  /** False: dropped before it is read. */
  admits(address: string): boolean;
  /** An address of jobs, or one that is refused: never answered, whatever it shows. */
  isRefused(address: string): boolean;
  /** As `admits`, of a DHCP packet: when it names a relay, that relay itself must have sent it. */
  admitsPacket(address: string, giaddr: string): boolean;
  /** `expected`: the card that the asker says it is; when the table disagrees it is read again first. */
  sourceOf(address: string, expected?: string): Source;
  observed(source: Source, mac: string): Observed;
  /** A relay carried a DHCP packet of this card, which showed this address: the one it has, or the one it asks for. */
  carried(mac: string, giaddr: string, shown?: string): void;
  /** Ranges of jobs (CIDR): never admitted. */
  setJobNetworks(ranges: readonly string[]): void;
}

export interface SightOptions {
  network: Network;
  relays: readonly Relay[];
  /** Ranges that are never answered, beside those of jobs. */
  refused?: readonly string[];
  neighbours: Neighbours;
  leasedTo?: (address: string) => string | undefined;
  /** The card that an address elsewhere is taken for, by the token of a machine's ISO. */
  vouchedFor?: (address: string) => string | undefined;
  nowMs?: () => number;
}

const NOBODY = "0.0.0.0";
const CARRIED_MS = 10 * 60_000; // from the firmware's DHCP to the seed
const CARRIED_MOST = 16_384;

export function createSight({
  network,
  relays,
  refused = [],
  neighbours,
  leasedTo = () => undefined,
  vouchedFor = () => undefined,
  nowMs = () => performance.now(),
}: SightOptions): Sight {
  const always = refused.flatMap((range) => parseNetwork(range) ?? []);
  let jobs: Network[] = [];
  const carried = new Map<string, { atMs: number; shown: string | undefined }>();
  const relayOf = (address: string) => relays.find((relay) => contains(relay.network, address));
  const isJob = (address: string) => [...always, ...jobs].some((range) => contains(range, address));
  const admits = (address: string) => !isJob(address) && (contains(network, address) || relayOf(address) !== undefined);
  return {
    admits,
    isRefused: isJob,
    admitsPacket(address, giaddr) {
      if (giaddr === NOBODY) return address === NOBODY || admits(address);
      if (isJob(address)) return false;
      return relays.some((relay) => relay.address === giaddr && (address === giaddr || address === relay.uplink));
    },
    sourceOf(address, expected) {
      const lease = leasedTo(address);
      const vouched = vouchedFor(address);
      const seen = contains(network, address)
        ? { card: neighbours(address, expected) }
        : vouched === undefined
          ? { relay: relayOf(address)?.address }
          : { card: vouched };
      return { address, ...seen, ...(lease === undefined ? {} : { leasedTo: lease }) };
    },
    observed({ address, card, relay, leasedTo: lease }, mac) {
      if (card !== undefined) return { card, address };
      const packet = relay === undefined ? undefined : carried.get(`${mac} ${relay}`);
      if (packet === undefined || nowMs() - packet.atMs >= CARRIED_MS) return { address };
      // Whose address it is: by our own leases where we have one, else by what the relay carried.
      const isIts = lease === undefined ? packet.shown === address : lease === mac;
      return isIts ? { relay: relay!, address } : { address };
    },
    carried(mac, giaddr, shown) {
      const key = `${mac} ${giaddr}`;
      const known = shown ?? carried.get(key)?.shown;
      carried.delete(key);
      carried.set(key, { atMs: nowMs(), shown: known });
      if (carried.size > CARRIED_MOST) carried.delete(carried.keys().next().value!);
    },
    setJobNetworks(ranges) {
      jobs = ranges.flatMap((range) => parseNetwork(range) ?? []);
    },
  };
}
