// The cluster network of one host as a rule: which peers it needs routes to (lib/ip-routes.ts makes them) and its two chains.
// Docker drops what comes from outside to an unpublished port; only DOCKER-USER, which it never flushes, is ours to allow it in.
import { isIPv4 } from "node:net";
import type { HostTarget } from "#api/hosts.ts";

const IN_CHAIN = "FLYNN";
const NAT_CHAIN = "FLYNN-NAT";
const USER_CHAIN = "DOCKER-USER";

export interface NetworkInput {
  target: Pick<HostTarget, "subnet" | "clusterRange" | "peers" | "hostId">;
  bridge: string;
  /** Addresses beside peers that may open connections to containers: control, and the router that runs with it. */
  allowedAddresses: readonly string[];
}

/** The peers that this host needs a route to: all but itself and its own subnet. */
export const otherPeers = ({ hostId, subnet, peers }: NetworkInput["target"]): HostTarget["peers"] =>
  peers.filter((peer) => peer.hostId !== hostId && peer.subnet !== subnet);

/** Input of `iptables-restore --noflush`: replaces both chains whole, in one transaction, and touches no other. */
export function chainText({ target, bridge, allowedAddresses }: NetworkInput): string {
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
