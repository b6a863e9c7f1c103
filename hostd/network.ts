// The cluster network of one host as a rule: which peers it needs routes to (lib/ip-routes.ts makes them), and the one thing that
// must be said in Docker's own firewall. Docker drops what comes from outside to an unpublished port; only DOCKER-USER, which it never
// flushes, is ours to let it pass. Who may then come in is reach/rules.ts' to say: a drop in one table is not undone in another.
import { isIPv4 } from "node:net";
import type { HostTarget } from "#api/host-agents.ts";

const IN_CHAIN = "FLYNN";
const USER_CHAIN = "DOCKER-USER";

export interface NetworkInput {
  target: Pick<HostTarget, "subnet" | "clusterRange" | "peers" | "hostId" | "reach">;
  bridge: string;
  /** Addresses beside the routers that may open connections to containers: control, and the router that runs with it. */
  allowedAddresses: readonly string[];
}

/** The peers that this host needs a route to: all but itself and its own subnet. */
export const otherPeers = ({ hostId, subnet, peers }: NetworkInput["target"]): HostTarget["peers"] =>
  peers.filter((peer) => peer.hostId !== hostId && peer.subnet !== subnet);

/** Input of `iptables-restore --noflush`: replaces our chain whole, in one transaction, and touches no other. */
export function chainText({ target, bridge, allowedAddresses }: NetworkInput): string {
  const sources = [
    target.clusterRange,
    ...new Set([...(target.reach?.routers ?? []), ...allowedAddresses].filter((address) => isIPv4(address))),
  ].sort();
  return [
    "*filter",
    `:${IN_CHAIN} - [0:0]`,
    ...sources.map((source) => `-A ${IN_CHAIN} -s ${source} -o ${bridge} -j ACCEPT`),
    "COMMIT",
    "",
  ].join("\n");
}

/**
 * Jumps into our chain: `check` succeeds when the jump is there, else `add` makes it. dockerd makes DOCKER-USER only when it
 * makes a network: one that boots with its networks on disk and no default bridge has none, and takes over the one made here.
 */
export function jumpCommands(): { check: string[]; add: string[] }[] {
  const jump = (from: string, to: string) => ({
    check: ["iptables", "-w", "5", "-C", from, "-j", to],
    add: ["iptables", "-w", "5", "-I", from, "-j", to],
  });
  return [
    { check: ["iptables", "-w", "5", "-S", USER_CHAIN], add: ["iptables", "-w", "5", "-N", USER_CHAIN] },
    jump("FORWARD", USER_CHAIN),
    jump(USER_CHAIN, IN_CHAIN),
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
