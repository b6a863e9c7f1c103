// Which address of the host's subnet a job gets: the one that has been out of use the longest. Docker itself would give a dead
// job's address to the next at once, and a router that has not heard of it yet would send one app's requests to another's job.
// Other hosts' rules may name the address as the app before's for a moment as well: they then let that app's friends send here, where this
// host's own rules judge by whose job it is now, and what this job sends is judged here first. Waiting long only makes both rarer.
import { firstAddress } from "./network.ts";

export interface AddressChoice {
  subnet: string;
  /** Addresses that were used, in the order of their last use, the latest last. */
  recent: readonly string[];
  inUse: ReadonlySet<string>;
}

/** Undefined when every address is in use. Those never used come first, in their order. */
export function chooseAddress({ subnet, recent, inUse }: AddressChoice): string | undefined {
  const used = new Set(recent);
  const { first, last } = jobAddresses(subnet);
  for (let n = first; n <= last; n++) {
    const address = textOf(n);
    if (!used.has(address) && !inUse.has(address)) return address;
  }
  const isOfSubnet = within(subnet);
  return recent.find((address) => !inUse.has(address) && isOfSubnet(address));
}

/** The order of last use after `used` were used now. */
export function usedNow(recent: readonly string[], used: Iterable<string>): string[] {
  const now = new Set(used);
  return [...recent.filter((address) => !now.has(address)), ...now];
}

export interface Addresses {
  /** What the engine holds now. */
  see(inUse: Iterable<string>): void;
  /** An address for a container that is about to start; the next call gives another. */
  take(subnet: string): string | undefined;
  recent(): string[];
}

export function keepAddresses(before: readonly string[] = []): Addresses {
  let recent = [...before];
  let inUse: ReadonlySet<string> = new Set();
  return {
    see(found) {
      // Those that went since the look before were in use until now.
      const left = inUse;
      inUse = new Set(found);
      recent = usedNow(recent, [...[...left].filter((address) => !inUse.has(address)), ...inUse]);
    },
    take(subnet) {
      const address = chooseAddress({ subnet, recent, inUse });
      if (address !== undefined) recent = usedNow(recent.filter(within(subnet)), [address]);
      return address;
    },
    recent: () => [...recent],
  };
}

function within(subnet: string): (address: string) => boolean {
  const { first, last } = jobAddresses(subnet);
  return (address) => numberOf(address) >= first && numberOf(address) <= last;
}

/** All but the network's own address, the gateway and broadcast. */
function jobAddresses(subnet: string): { first: number; last: number } {
  const gateway = numberOf(firstAddress(subnet));
  const size = 2 ** (32 - Number(subnet.split("/")[1]));
  return { first: gateway + 1, last: gateway + size - 3 };
}

const numberOf = (address: string): number => address.split(".").reduce((n, octet) => n * 256 + Number(octet), 0);
const textOf = (n: number): string => [24, 16, 8, 0].map((shift) => Math.floor(n / 2 ** shift) % 256).join(".");
