// The cluster network of one host as a rule: routes to the other hosts' subnets and the two chains that are hostd's own.
// Docker drops what comes from outside to an unpublished port; only DOCKER-USER, which it never flushes, is ours to allow it in.
import { isIPv4 } from "node:net";
import type { HostTarget } from "#api/hosts.ts";

/** Routes carry this protocol number; only those are ever removed. */
export const ROUTE_PROTOCOL = "77";
const IN_CHAIN = "FLYNN";
const NAT_CHAIN = "FLYNN-NAT";
const USER_CHAIN = "DOCKER-USER";

export interface KernelRoute {
  dst: string;
  gateway?: string;
}

export interface NetworkInput {
  target: Pick<HostTarget, "subnet" | "clusterRange" | "peers" | "hostId">;
  bridge: string;
  /** Addresses beside peers that may open connections to containers: control, and the router that runs with it. */
  allowedAddresses: readonly string[];
  /** Routes with our protocol number, as the kernel has them. */
  routes: readonly KernelRoute[];
}

/** `ip` calls that make the kernel's routes equal to the peers; empty when they are. */
export function routeCommands({ target, routes }: Pick<NetworkInput, "target" | "routes">): string[][] {
  const wanted = new Map(
    target.peers
      .filter(({ hostId, subnet, address }) => hostId !== target.hostId && isSubnet(subnet) && isIPv4(address))
      .filter(({ subnet }) => subnet !== target.subnet)
      .map(({ subnet, address }) => [subnet, address]),
  );
  const has = new Map(routes.map(({ dst, gateway }) => [dst, gateway]));
  const stale = routes.filter(({ dst }) => !wanted.has(dst));
  return [
    ...stale.map(({ dst }) => ["ip", "route", "del", dst, "proto", ROUTE_PROTOCOL]),
    ...[...wanted]
      .filter(([subnet, address]) => has.get(subnet) !== address)
      .map(([subnet, address]) => ["ip", "route", "replace", subnet, "via", address, "proto", ROUTE_PROTOCOL]),
  ];
}

/** Input of `iptables-restore --noflush`: replaces both chains whole, in one transaction, and touches no other. */
export function chainText({ target, bridge, allowedAddresses }: Omit<NetworkInput, "routes">): string {
  const sources = [
    target.clusterRange,
    ...new Set(
      [...target.peers.map(({ address }) => address), ...allowedAddresses].filter((address) => isIPv4(address)),
    ),
  ].sort();
  return [
    "*filter",
    `:${IN_CHAIN} - [0:0]`,
    ...sources.map((source) => `-A ${IN_CHAIN} -s ${source} -o ${bridge} -j ACCEPT`),
    "COMMIT",
    "*nat",
    `:${NAT_CHAIN} - [0:0]`,
    `-A ${NAT_CHAIN} -s ${target.subnet} ! -d ${target.clusterRange} ! -o ${bridge} -j MASQUERADE`,
    "COMMIT",
    "",
  ].join("\n");
}

/**
 * Jumps into our chains: `check` succeeds when the jump is there, else `add` makes it. dockerd makes DOCKER-USER only when it
 * makes a network: one that boots with its networks on disk and no default bridge has none, and takes over the one made here.
 */
export function jumpCommands(): { check: string[]; add: string[] }[] {
  const jump = (table: string, from: string, to: string) => ({
    check: ["iptables", "-w", "5", "-t", table, "-C", from, "-j", to],
    add: ["iptables", "-w", "5", "-t", table, "-I", from, "-j", to],
  });
  return [
    { check: ["iptables", "-w", "5", "-S", USER_CHAIN], add: ["iptables", "-w", "5", "-N", USER_CHAIN] },
    jump("filter", "FORWARD", USER_CHAIN),
    jump("filter", USER_CHAIN, IN_CHAIN),
    jump("nat", "POSTROUTING", NAT_CHAIN),
  ];
}

/** First usable address of a subnet: the bridge's own, the containers' gateway. */
export function firstAddress(subnet: string): string {
  if (!isSubnet(subnet)) throw new Error(`subnet ${subnet} is not IPv4 CIDR`);
  const [base] = subnet.split("/") as [string];
  const octets = base.split(".").map(Number);
  return [...octets.slice(0, 3), (octets[3] ?? 0) + 1].join(".");
}

export function isSubnet(text: string): boolean {
  const [address, bits, more] = text.split("/");
  return more === undefined && isIPv4(address ?? "") && /^(\d|[12]\d|3[0-2])$/.test(bits ?? "");
}
