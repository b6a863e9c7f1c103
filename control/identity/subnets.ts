// Handing out /24s of the cluster range: the lowest free one, so that small clusters have small numbers.
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

/** The lowest /24 of `range` that none of `taken` has. The first is left free for what has no host. Fault `no-capacity` when full. */
export function freeSubnet(range: string, taken: readonly string[]): string {
  const [base, bits] = range.split("/") as [string, string];
  const count = 2 ** (24 - Number(bits));
  const used = new Set(taken);
  for (let n = 1; n < count; n++) {
    const subnet = `${toText(toNumber(base) + n * 256)}/24`;
    if (!used.has(subnet)) return subnet;
  }
  throw new Fault("no-capacity", `all ${count - 1} subnets of ${range} are taken`);
}
