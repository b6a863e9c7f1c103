// Handing out /24s of the cluster range: the lowest free one, so that small clusters have small numbers. What a removed host had rests
// first: the machine may run on for a while and know nothing of its removal, and two hosts with one subnet take each other's answers.
import { isIPv4 } from "node:net";
import { Fault } from "#api/fault.ts";

const toNumber = (address: string): number => address.split(".").reduce((sum, part) => sum * 256 + Number(part), 0);
const toText = (n: number): string => [24, 16, 8, 0].map((shift) => Math.floor(n / 2 ** shift) % 256).join(".");

/** Fault `invalid` unless `range` is a network of at least two /24s, written from its first address. */
export function checkRange(range: string): void {
  const [base = "", bits = ""] = range.split("/");
  const size = 2 ** (32 - Number(bits));
  const sound = isIPv4(base) && /^\d{1,2}$/.test(bits) && Number(bits) >= 8 && Number(bits) <= 23;
  if (!sound || toNumber(base) % size !== 0)
    throw new Fault("invalid", `clusterRange ${range} is not a network between /8 and /23, such as 100.64.0.0/16`);
}

/** Every address of `range` is in `wider` too, which is not the same. */
export function isWider(wider: string, range: string): boolean {
  const [wide, narrow] = [wider, range].map((each) => {
    const [base = "", bits] = each.split("/");
    return { first: toNumber(base), size: 2 ** (32 - Number(bits)) };
  }) as [Span, Span];
  return wide.size > narrow.size && wide.first <= narrow.first && narrow.first + narrow.size <= wide.first + wide.size;
}

interface Span {
  first: number;
  size: number;
}

/** How long the subnet of a removed host is nobody's. */
export const SUBNET_REST_MS = 3_600_000;

export interface RestingSubnet {
  subnet: string;
  /** ISO time. */
  freedAt: string;
}

/** Those that still rest, and this one. */
export function withResting(resting: readonly RestingSubnet[], subnet: string, at: Date): RestingSubnet[] {
  const others = resting.filter((one) => one.subnet !== subnet && rests(one, at.getTime()));
  return [...others, { subnet, freedAt: at.toISOString() }];
}

const rests = ({ freedAt }: RestingSubnet, nowMs: number): boolean => nowMs - Date.parse(freedAt) < SUBNET_REST_MS;

/** The lowest /24 of `range` that none of `taken` has. The first is left free for what has no host. Fault `no-capacity` when full. */
export function freeSubnet(
  range: string,
  taken: readonly string[],
  { resting = [], nowMs = 0 }: { resting?: readonly RestingSubnet[]; nowMs?: number } = {},
): string {
  const [base, bits] = range.split("/") as [string, string];
  const count = 2 ** (24 - Number(bits));
  const asleep = resting.filter((one) => rests(one, nowMs));
  const used = new Set([...taken, ...asleep.map(({ subnet }) => subnet)]);
  for (let n = 1; n < count; n++) {
    const subnet = `${toText(toNumber(base) + n * 256)}/24`;
    if (!used.has(subnet)) return subnet;
  }
  const rested = asleep.length === 0 ? "" : `, ${asleep.length} of them by hosts removed less than an hour ago`;
  throw new Fault(
    "no-capacity",
    `all ${count - 1} subnets of ${range} are taken${rested}. Remove hosts that are gone for good (flynn host list), or start the appliance with a wider range that this one lies in, such as --cluster-range ${wider(range)}`,
  );
}

/** Four times as many, from the address that such a network begins at. */
function wider(range: string): string {
  const [base, bits] = range.split("/") as [string, string];
  const wide = Math.max(8, Number(bits) - 2);
  const size = 2 ** (32 - wide);
  return `${toText(Math.floor(toNumber(base) / size) * size)}/${wide}`;
}
