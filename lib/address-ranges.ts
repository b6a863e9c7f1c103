// Addresses that are not simply somewhere on the internet, once for all who must not be sent there on a stranger's word: log drains,
// base images, jobs and builds. From IANA's special-purpose address registries (RFC 6890); clouds' metadata services beside them.
import { BlockList, isIP } from "node:net";
import type { NetworkInterfaceInfo } from "node:os";

/**
 * `nowhere`: no host of any network. `loopback`: this machine. `metadata`: a cloud's, outside of link-local. `reserved`: for protocols
 * and benchmarks. `documentation`: nobody's. `private`: somebody's own network.
 */
export type RangeKind = "nowhere" | "loopback" | "metadata" | "reserved" | "documentation" | "private";

export const SPECIAL_RANGES: readonly (readonly [range: string, kind: RangeKind])[] = [
  ["0.0.0.0/8", "nowhere"], // RFC 791
  ["10.0.0.0/8", "private"], // RFC 1918
  ["100.64.0.0/10", "private"], // RFC 6598, shared
  ["127.0.0.0/8", "loopback"], // RFC 1122
  ["168.63.129.16/32", "metadata"],
  ["169.254.0.0/16", "nowhere"], // RFC 3927, link-local
  ["172.16.0.0/12", "private"], // RFC 1918
  ["192.0.0.0/24", "reserved"], // RFC 6890
  ["192.0.2.0/24", "documentation"], // RFC 5737
  ["192.88.99.0/24", "reserved"], // RFC 7526
  ["192.168.0.0/16", "private"], // RFC 1918
  ["198.18.0.0/15", "reserved"], // RFC 2544
  ["198.51.100.0/24", "documentation"], // RFC 5737
  ["203.0.113.0/24", "documentation"], // RFC 5737
  ["224.0.0.0/3", "nowhere"], // RFC 5771, RFC 1112: multicast, reserved, broadcast
  ["::/128", "nowhere"],
  ["::1/128", "loopback"],
  ["64:ff9b::/32", "reserved"], // RFC 6052, RFC 8215: translations of IPv4
  ["100::/64", "nowhere"], // RFC 6666
  ["2001::/23", "reserved"], // RFC 2928
  ["2002::/16", "reserved"], // RFC 3056: 6to4
  ["fc00::/7", "private"], // RFC 4193
  ["fd00:ec2::/32", "metadata"],
  ["fe80::/10", "nowhere"], // RFC 4291, link-local
  ["fec0::/10", "nowhere"], // RFC 3879
  ["ff00::/8", "nowhere"], // RFC 4291, multicast
];

export const rangesOf = (...kinds: readonly RangeKind[]): string[] =>
  SPECIAL_RANGES.filter(([, kind]) => kinds.includes(kind)).map(([range]) => range);

export const isV4 = (range: string): boolean => !range.includes(":");

/** Bridges and cables of containers and virtual machines: their addresses are the same on every machine, and lead to it from none. */
export const isContainerLink = (name: string): boolean =>
  /^(?:docker(?:\d+|_gwbridge)|br-[0-9a-f]{12}|flynnb?\d+|veth\w+|virbr\d+)$/.test(name);

/** An address that leads to nothing but the cable it was found on. */
export const isLinkLocal = (address: string): boolean => isWithin(["169.254.0.0/16", "fe80::/10"], address);

/** IPv4 addresses of `os.networkInterfaces()` that others may know a machine by: no loopback, no link-local. Sorted, 64 at most. */
export function machineAddresses(interfaces: Partial<Record<string, readonly NetworkInterfaceInfo[]>>): string[] {
  const all = Object.values(interfaces).flatMap((list) => list ?? []);
  const found = all.filter(({ family, internal }) => family === "IPv4" && !internal).map(({ address }) => address);
  return [...new Set(found)]
    .filter((address) => !isLinkLocal(address) && !isWithin(rangesOf("loopback"), address))
    .sort()
    .slice(0, 64);
}

/** Whether one of the ranges (addresses or CIDRs) holds the address. */
export function isWithin(ranges: readonly string[], address: string): boolean {
  const list = new BlockList();
  for (const range of ranges) {
    const [base = "", bits] = range.split("/");
    const family = isIP(base);
    if (family === 0) throw new Error(`${range} is no address range`);
    list.addSubnet(base, Number(bits ?? (family === 6 ? 128 : 32)), family === 6 ? "ipv6" : "ipv4");
  }
  return list.check(address, isIP(address) === 6 ? "ipv6" : "ipv4");
}

/** An IPv4 address in its IPv6 clothes (::ffff:127.0.0.1, ::ffff:7f00:1, ::127.0.0.1) -> as IPv4. */
export function plainAddress(address: string): string {
  if (isIP(address) !== 6) return address;
  const plain = new URL(`http://[${address.split("%")[0]}]/`).hostname.slice(1, -1);
  const match = /^::(?:ffff:)?([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(plain);
  if (match === null) return plain;
  const [high, low] = [Number.parseInt(match[1]!, 16), Number.parseInt(match[2]!, 16)];
  return [high >> 8, high & 255, low >> 8, low & 255].join(".");
}
