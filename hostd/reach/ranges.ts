// IPv4 ranges as sets of the kernel want them: checked, merged, and without overlap.
import { isIPv4 } from "node:net";
import { isV4, rangesOf } from "#lib/address-ranges.ts";

export interface Range {
  first: number;
  last: number;
}

/** Nobody's on any outside: this network, loopback, link-local with the metadata services of clouds, multicast, reserved, broadcast. */
export const NOWHERE = rangesOf("nowhere", "loopback", "metadata").filter(isV4);

/** Not globally reachable, beside `NOWHERE`; documentation ranges too. */
export const NOT_INTERNET = rangesOf("private", "reserved", "documentation").filter(isV4);

/** An address or a CIDR, whose host bits do not count; undefined when it is neither, or of IPv6. */
export function parseRange(text: string): Range | undefined {
  const [address = "", bits = "32", more] = text.split("/");
  if (more !== undefined || !isIPv4(address) || !/^(\d|[12]\d|3[0-2])$/.test(bits)) return undefined;
  const size = 2 ** (32 - Number(bits));
  const first = Math.floor(numberOf(address) / size) * size;
  return { first, last: first + size - 1 };
}

export function merge(ranges: readonly Range[]): Range[] {
  const merged: Range[] = [];
  for (const { first, last } of [...ranges].sort((a, b) => a.first - b.first)) {
    const before = merged.at(-1);
    if (before !== undefined && first <= before.last + 1) before.last = Math.max(before.last, last);
    else merged.push({ first, last });
  }
  return merged;
}

export const contains = (range: Range, address: string): boolean =>
  isIPv4(address) && numberOf(address) >= range.first && numberOf(address) <= range.last;

/** As nft reads an element of an interval set. */
export const textOf = ({ first, last }: Range): string =>
  first === last ? addressOf(first) : `${addressOf(first)}-${addressOf(last)}`;

export const numberOf = (address: string): number =>
  address.split(".").reduce((sum, octet) => sum * 256 + Number(octet), 0);
const addressOf = (n: number): string => [24, 16, 8, 0].map((shift) => Math.floor(n / 2 ** shift) % 256).join(".");
