// What builds may reach, as a rule: the world through this host, and nothing of the cluster. The raw table sees their packets
// before routing, so one chain covers what goes to the host itself, through it, and across the bridge to another build.
import { isIPv4 } from "node:net";
import type { HostTarget } from "#api/hosts.ts";
import { isSubnet } from "../network.ts";
import { BUILD_BRIDGE } from "./engine.ts";

export interface BuildNetworkInput {
  target: Pick<HostTarget, "clusterRange" | "peers" | "registry">;
  /** The builds' own network. */
  subnet: string;
  /** Control and routers, as hostd is configured. */
  clusterAddresses: readonly string[];
  /** Name servers of builds: the one thing on a closed address that they may ask. */
  dns: readonly string[];
}

const OUT_CHAIN = "FLYNN-BUILD";
const IN_CHAIN = "FLYNN-BUILD-IN";
/** Addresses that are nobody's on the outside: this network, loopback, link-local with the metadata service, multicast, reserved. */
const CLOSED_RANGES = ["0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4"] as const;

/** Input of `iptables-restore --noflush`: both chains whole, in one transaction per table. */
export function buildChainText({ target, subnet, clusterAddresses, dns }: BuildNetworkInput): string {
  if (!isSubnet(subnet) || !isSubnet(target.clusterRange)) throw new Error("the builds' network has no IPv4 range");
  const registryHost = target.registry.replace(/:\d+$/, "");
  const closed = [
    target.clusterRange,
    subnet,
    ...CLOSED_RANGES,
    ...new Set(
      [...target.peers.map(({ address }) => address), ...clusterAddresses, registryHost].filter((address) =>
        isIPv4(address),
      ),
    ),
  ];
  // Never the metadata service, whose address also serves names on some clouds.
  const servers = dns.filter((address) => isIPv4(address) && !/^(0|127|169\.254)\./.test(address));
  const out = `-A ${OUT_CHAIN}`;
  return [
    "*raw",
    `:${OUT_CHAIN} - [0:0]`,
    // A build step may hold CAP_NET_RAW: another's address must not open another's doors.
    `${out} ! -s ${subnet} -j DROP`,
    ...servers.flatMap((server) =>
      ["udp", "tcp"].map((protocol) => `${out} -d ${server} -p ${protocol} --dport 53 -j RETURN`),
    ),
    ...closed.map((range) => `${out} -d ${range} -j DROP`),
    `${out} -m addrtype --dst-type LOCAL -j DROP`,
    `${out} -m addrtype --dst-type BROADCAST -j DROP`,
    "COMMIT",
    "*filter",
    `:${IN_CHAIN} - [0:0]`,
    `-A ${IN_CHAIN} -o ${BUILD_BRIDGE} -m conntrack ! --ctstate RELATED,ESTABLISHED -j DROP`,
    "COMMIT",
    "",
  ].join("\n");
}

/** As in ../network.ts: `check` succeeds when the jump is there, else `add` makes it. */
export function buildJumpCommands(): { check: string[]; add: string[] }[] {
  const iptables = ["iptables", "-w", "5"];
  const toOut = ["PREROUTING", "-i", BUILD_BRIDGE, "-j", OUT_CHAIN];
  const toIn = ["FORWARD", "-j", IN_CHAIN];
  return [
    { check: [...iptables, "-t", "raw", "-C", ...toOut], add: [...iptables, "-t", "raw", "-I", ...toOut] },
    { check: [...iptables, "-C", ...toIn], add: [...iptables, "-I", ...toIn] },
  ];
}
