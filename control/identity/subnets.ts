// Handing out parts of the cluster's range: the lowest free one of the size asked for, so that small clusters have small numbers. Sizes
// may be mixed. What a host gave back rests first: the machine may run on for a while and know nothing of its removal, and two hosts with
// one subnet take each other's answers.
import { Fault } from "#api/fault.ts";
import { isAddress, toAddress, toNumber } from "#lib/ipv4.ts";

/** Length of the prefix of hosts' subnets where nobody said another. */
export const HOST_NET = 24;
/** A bridge of Linux has 1,023 ports, and each job takes one. */
export const HOST_NET_LARGEST = 22;

interface Span {
  first: number;
  size: number;
}

/** Of a checked network. */
function spanOf(network: string): Span {
  const [base = "", bits] = network.split("/");
  return { first: toNumber(base), size: 2 ** (32 - Number(bits)) };
}

/** What a subnet has for jobs: all but its own address, the bridge's and the last. */
export const jobAddresses = (subnet: string): number => spanOf(subnet).size - 3;

export const prefixOf = (subnet: string): number => Number(subnet.split("/")[1]);

export function isInSubnet(subnet: string, address: string): boolean {
  const { first, size } = spanOf(subnet);
  const n = isAddress(address) ? toNumber(address) : -1;
  return n >= first && n < first + size;
}

/** Fault `invalid` unless `range` is a network of at least two /24s, written from its first address. */
export function checkRange(range: string): void {
  const [base = "", bits = ""] = range.split("/");
  const sound = isAddress(base) && /^\d{1,2}$/.test(bits) && Number(bits) >= 8 && Number(bits) <= 23;
  if (!sound || spanOf(range).first % spanOf(range).size !== 0)
    throw new Fault("invalid", `clusterRange ${range} is not a network between /8 and /23, such as 100.64.0.0/16`);
}

/** Every address of `range` is in `wider` too, which is not the same. */
export function isWider(wider: string, range: string): boolean {
  const [wide, narrow] = [spanOf(wider), spanOf(range)];
  return wide.size > narrow.size && wide.first <= narrow.first && narrow.first + narrow.size <= wide.first + wide.size;
}

/** How long a subnet that a host gave back is nobody's. */
export const SUBNET_REST_MS = 3_600_000;

export interface RestingSubnet {
  subnet: string;
  /** ISO time. */
  freedAt: string;
}

/** Those that still rest at `nowMs`, and this one. */
export function withResting(resting: readonly RestingSubnet[], freed: RestingSubnet, nowMs: number): RestingSubnet[] {
  const others = resting.filter((one) => one.subnet !== freed.subnet && rests(one, nowMs));
  return [...others, freed];
}

const rests = ({ freedAt }: RestingSubnet, nowMs: number): boolean => nowMs - Date.parse(freedAt) < SUBNET_REST_MS;

export interface Held {
  /** Of all hosts. */
  taken: readonly string[];
  resting?: readonly RestingSubnet[];
  nowMs?: number;
}

const asleepOf = ({ resting = [], nowMs = 0 }: Held): string[] =>
  resting.filter((one) => rests(one, nowMs)).map(({ subnet }) => subnet);

const used = (held: Held): string[] => [...held.taken, ...asleepOf(held)];

/**
 * The lowest subnet of that prefix in `range` that nothing held overlaps; it begins at a multiple of its size. The range's first /24 is
 * left free for what has no host. Fault `no-capacity` when there is none.
 */
export function freeSubnet(range: string, prefix: number, held: Held): string {
  const found = lowestFree(range, prefix, used(held));
  if (found !== undefined) return found;
  const { taken } = held;
  const asleep = asleepOf(held);
  const rest =
    asleep.length === 0
      ? ""
      : `, and ${asleep.length} that a host gave back ${asleep.length === 1 ? "rests" : "rest"} for an hour`;
  const smaller = prefix < HOST_NET ? `, or take smaller subnets, such as --host-net ${prefix + 1}` : "";
  throw new Fault(
    "no-capacity",
    `${range} has no room for a /${prefix}: ${taken.length} hosts have subnets${rest}. Remove hosts that are gone for good (flynn host list), or start the appliance with a wider range that this one lies in, such as --cluster-range ${wider(range)}${smaller}`,
  );
}

const lowestFree = (range: string, prefix: number, used: readonly string[]): string | undefined =>
  freeOnes(range, prefix, used).next().value;

/** One after the other, from the lowest; none overlaps another. */
function* freeOnes(range: string, prefix: number, used: readonly string[]): Generator<string, undefined> {
  const whole = spanOf(range);
  const size = 2 ** (32 - prefix);
  const end = whole.first + whole.size;
  const spans = [{ first: whole.first, size: 256 }, ...used.map(spanOf), { first: end, size: 0 }];
  let at = whole.first;
  for (const span of spans.sort((a, b) => a.first - b.first)) {
    for (; at + size <= Math.min(span.first, end); at += size) yield `${toAddress(at)}/${prefix}`;
    if (span.first + span.size > at) at = Math.ceil((span.first + span.size) / size) * size;
  }
}

/** Of a host that is new: of the size that hosts get now, or a smaller one where only that has room. */
export function newSubnet(range: string, hostNet: number, held: Held): string {
  for (let prefix = hostNet; prefix < HOST_NET; prefix++) {
    const found = lowestFree(range, prefix, used(held));
    if (found !== undefined) return found;
  }
  return freeSubnet(range, Math.max(hostNet, HOST_NET), held);
}

/** Those that hosts with a smaller one can have in its place, as many as there is room for. */
export const largerSubnets = (range: string, hostNet: number, held: Held): Iterator<string, undefined> =>
  freeOnes(range, hostNet, used(held));

/** Fault `invalid` unless at least one such subnet fits into the range. */
export function checkHostNet(range: string, hostNet: number): void {
  if (lowestFree(range, hostNet, []) !== undefined) return;
  throw new Fault(
    "invalid",
    `hostNet ${hostNet}: ${range} has no room for one /${hostNet} beside its first /24, which no host gets; give a wider clusterRange, such as ${wider(range)}, or a larger number`,
  );
}

/** Four times as many, from the address that such a network begins at. */
function wider(range: string): string {
  const wide = Math.max(8, prefixOf(range) - 2);
  const size = 2 ** (32 - wide);
  return `${toAddress(Math.floor(spanOf(range).first / size) * size)}/${wide}`;
}
