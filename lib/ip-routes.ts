// Which kernel routes lead to the other hosts' subnets: a pure rule from wanted peers and the kernel's list to `ip` argv.
// Only routes of our own protocol number are ever touched, so nothing an administrator or DHCP set can be lost.
import { isIPv4 } from "node:net";

/** Marks the routes of this product in the kernel's table (0-255, RFC 3549 rtm_protocol; below 4 is the kernel's). */
export const ROUTE_PROTOCOL = "77";
export const LIST_ROUTES: readonly string[] = ["ip", "-j", "-4", "route", "show", "proto", ROUTE_PROTOCOL];

export interface PeerSubnet {
  subnet: string;
  address: string;
}
export interface KernelRoute {
  subnet: string;
  via?: string;
}
export interface RouteRule {
  peers: readonly PeerSubnet[];
  /** What `LIST_ROUTES` printed, parsed. */
  current: readonly KernelRoute[];
  /** This machine's own addresses: a peer at one of them is this machine, and its bridge is the route. */
  localAddresses: Iterable<string>;
  /** Peers outside of it are skipped: a target can never redirect the rest of the world. */
  clusterRange: string;
}

/** The commands that make the kernel's routes equal to the peers, removals first; [] when nothing is to be done. */
export function routeCommands(rule: RouteRule): string[][] {
  const local = new Set(rule.localAddresses);
  const range = parseSubnet(rule.clusterRange);
  const wanted = new Map<string, string>();
  for (const { subnet, address } of rule.peers) {
    const parsed = parseSubnet(subnet);
    if (!range || !parsed || !isIPv4(address) || local.has(address)) continue;
    if (contains(range, parsed) && !contains(parsed, { base: toNumber(address), bits: 32 }))
      wanted.set(subnet, address);
  }
  const known = new Map(rule.current.map(({ subnet, via }) => [subnet, via]));
  const stale = [...known.keys()].filter((subnet) => !wanted.has(subnet));
  const changed = [...wanted].filter(([subnet, via]) => known.get(subnet) !== via);
  return [
    ...stale.map((subnet) => ["ip", "route", "del", subnet, "proto", ROUTE_PROTOCOL]),
    ...changed.map(([subnet, via]) => ["ip", "route", "replace", subnet, "via", via, "proto", ROUTE_PROTOCOL]),
  ];
}

/** `ip -j route show` -> routes; a host route printed without a prefix length gets its /32. Throws on what is not JSON. */
export function parseKernelRoutes(json: string): KernelRoute[] {
  const rows = JSON.parse(json.trim() || "[]") as { dst?: unknown; gateway?: unknown }[];
  return rows
    .filter((row): row is { dst: string; gateway?: string } => typeof row.dst === "string")
    .map((row) => ({ subnet: isIPv4(row.dst) ? `${row.dst}/32` : row.dst, via: row.gateway }));
}

interface Subnet {
  base: number;
  bits: number;
}

function parseSubnet(text: string): Subnet | undefined {
  const [address = "", bitsText = ""] = text.split("/");
  const bits = /^\d{1,2}$/.test(bitsText) ? Number(bitsText) : Number.NaN;
  if (!isIPv4(address) || !(bits >= 1 && bits <= 32)) return undefined;
  const base = toNumber(address);
  return base % 2 ** (32 - bits) === 0 ? { base, bits } : undefined;
}

function contains(outer: Subnet, inner: Subnet): boolean {
  const size = 2 ** (32 - outer.bits);
  return inner.bits >= outer.bits && inner.base - (inner.base % size) === outer.base;
}

function toNumber(address: string): number {
  return address.split(".").reduce((sum, part) => sum * 256 + Number(part), 0);
}
