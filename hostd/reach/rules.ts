// What jobs and builds of this host reach, and who reaches them, as one nftables table: pure. Every packet is judged by who opened
// its connection to whom (conntrack's original tuple), replies too and never "established": what a removed rule let through is cut
// with the rule. Both ends check: the sender's host the destination, the receiver's the source. What is not opened is refused.
import { isIPv4 } from "node:net";
import type { HostTarget } from "#api/host-agents.ts";
import type { Reach, ReachApp } from "#api/reach.ts";
import { firstAddress } from "../network.ts";
import { contains, merge, NOT_INTERNET, NOWHERE, parseRange, type Range, textOf } from "./ranges.ts";

export const TABLE = "flynn";

export interface LocalJob {
  address: string;
  /** Undefined: nobody knows any more whose it is, and it reaches nothing but what every job does. */
  appId?: string;
}

export interface ReachInput {
  target: Pick<HostTarget, "subnet" | "clusterRange" | "peers" | "registry" | "reach">;
  /** This host's own truth, which goes before what the target says of its subnets. */
  jobs: readonly LocalJob[];
  jobBridge: string;
  buildBridges: readonly string[];
  /** The builds' own networks, once they are there; before, nothing leaves their bridges. */
  builds: readonly { bridge: string; subnet: string }[];
  /** Name servers of containers. */
  dns: readonly string[];
  /** Control, and what this host's configuration lets in. */
  clusterAddresses: readonly string[];
}

/** The hardware address of a job's card follows from its address, so that neither can be taken by another. */
export const macOf = (address: string): string =>
  ["02", "42", ...address.split(".").map((octet) => Number(octet).toString(16).padStart(2, "0"))].join(":");

/** Input of `nft -f -`: the table anew, in one transaction. Throws when a closed range cannot be read: the rules before it then hold. */
export function reachText(input: ReachInput): string {
  const { target, jobBridge, builds } = input;
  const { reach } = target;
  const { apps, number } = appsOf(input);
  const local = input.jobs.filter(isLocal(target));
  const own = ownAddresses(target, local);
  const routers = addressesOf([...(reach?.routers ?? []), ...input.clusterAddresses]);
  const bridges = `{ ${[jobBridge, ...input.buildBridges].map((bridge) => `"${bridge}"`).join(", ")} }`;
  const names = nameServers(input.dns).map((server) => `${server} . 53`);
  const open = openPorts(reach?.open ?? []);
  const egress = reach?.egress ?? "internet";
  const isCluster = reach?.appNetwork === "cluster";
  const here = new Set(local.map(({ appId }) => appId));
  const ofApps = apps
    .filter(({ appId }) => here.has(appId))
    .flatMap((app) => [
      `  chain out_${number(app)} {`,
      ...(isCluster
        ? ["    ct original ip daddr @gateways goto deny", `    ct original ip daddr ${target.clusterRange} accept`]
        : [app.appId, ...app.to].flatMap((to) => accept("daddr", number({ appId: to })))),
      ...outsideOf(app),
      "    goto out",
      "  }",
      `  chain in_${number(app)} {`,
      ...(isCluster
        ? [`    ct original ip saddr ${target.clusterRange} accept`]
        : apps
            .filter((other) => other.appId === app.appId || other.to.includes(app.appId))
            .flatMap((other) => accept("saddr", number(other)))),
      "    goto routed",
      "  }",
    ]);
  return `${[
    `table inet ${TABLE}`,
    `delete table inet ${TABLE}`,
    `table inet ${TABLE} {`,
    ...set("jobs", "ether_addr . ipv4_addr", sorted(local.map(({ address }) => `${macOf(address)} . ${address}`))),
    ...apps.flatMap((app) => set(`app_${number(app)}`, "ipv4_addr", app.addresses, app.appId)),
    ...set("routers", "ipv4_addr", routers),
    ...(isCluster ? set("gateways", "ipv4_addr", gatewaysOf(target)) : []),
    ...set("names", "ipv4_addr . inet_service", names),
    ...set("open", "ipv4_addr . inet_service", open, undefined, "interval"),
    ...set("closed", "ipv4_addr", merge(closedRanges(input, routers)).map(textOf), undefined, "interval"),
    ...(egress === "internet"
      ? set("not_internet", "ipv4_addr", merge(parsedRanges(NOT_INTERNET)).map(textOf), undefined, "interval")
      : []),
    ...verdicts("senders", local, ({ appId }) => (appId === undefined ? "goto out" : `goto out_${number({ appId })}`)),
    ...verdicts("receivers", local, ({ appId }) =>
      appId === undefined ? "goto routed" : `goto in_${number({ appId })}`,
    ),
    ...ofApps,
    // What a job may whatever its app is.
    "  chain out {",
    "    meta l4proto tcp ct original ip daddr . ct original proto-dst @open accept",
    "    goto world",
    "  }",
    // Names, then nothing of the platform, then what the cluster's egress policy says: all that a build has.
    "  chain world {",
    "    meta l4proto { tcp, udp } ct original ip daddr . ct original proto-dst @names accept",
    "    ct original ip daddr @closed goto deny",
    // The other end as it is, should anything have translated the address.
    "    ct reply ip saddr @closed goto deny",
    ...(egress === "internet"
      ? ["    ct original ip daddr @not_internet goto deny", "    ct reply ip saddr @not_internet goto deny"]
      : []),
    egress === "none" ? "    goto deny" : "    accept",
    "  }",
    "  chain routed {",
    "    ct original ip saddr @routers accept",
    "    goto deny",
    "  }",
    // An answer at once for who asks; silence for all else.
    "  chain deny {",
    "    ct direction original reject with icmp admin-prohibited",
    "    drop",
    "  }",
    "  chain judge {",
    "    ct original ip saddr vmap @senders",
    ...builds.map(({ subnet }) => `    ct original ip saddr ${cidr(subnet)} goto world`),
    "    ct original ip daddr vmap @receivers",
    "    goto deny",
    "  }",
    // To the host itself: what it asked for (health checks, sessions, routers that run here), and its open ports.
    "  chain host {",
    "    ct direction reply accept",
    `    iifname "${jobBridge}" meta l4proto tcp ct original ip daddr . ct original proto-dst @open accept`,
    "    meta l4proto { tcp, udp } ct original ip daddr . ct original proto-dst @names accept",
    "    goto deny",
    "  }",
    // Nobody sends in another's name; no IPv6 at all.
    "  chain source {",
    "    type filter hook prerouting priority raw; policy accept;",
    `    iifname "${jobBridge}" ether saddr . ip saddr @jobs accept`,
    ...builds.map(({ bridge, subnet }) => `    iifname "${bridge}" ip saddr ${cidr(subnet)} accept`),
    `    iifname ${bridges} drop`,
    `    iifname != "lo" ip saddr ${own} drop`,
    "  }",
    // Before Docker turns a published port of this host into a container's address.
    "  chain before_nat {",
    "    type filter hook prerouting priority mangle; policy accept;",
    `    iifname ${bridges} ct direction original fib daddr type local goto host`,
    "  }",
    "  chain input {",
    "    type filter hook input priority filter - 5; policy accept;",
    `    iifname ${bridges} goto host`,
    `    iifname != "lo" ct direction original ip saddr ${cidr(target.clusterRange)} goto deny`,
    "  }",
    "  chain forward {",
    "    type filter hook forward priority filter - 5; policy accept;",
    `    iifname ${bridges} goto judge`,
    `    oifname ${bridges} goto judge`,
    "  }",
    "  chain outgoing {",
    "    type nat hook postrouting priority srcnat; policy accept;",
    `    ip saddr ${own} ip daddr != ${cidr(target.clusterRange)} oifname != "${jobBridge}" masquerade`,
    ...builds.map(({ bridge, subnet }) => `    ip saddr ${cidr(subnet)} oifname != "${bridge}" masquerade`),
    "  }",
    "}",
  ].join("\n")}\n`;
}

/** Every app the rules name: those of the target, with this host's own addresses in place of the target's, and those of local jobs alone. */
function appsOf({ target, jobs }: ReachInput): { apps: ReachApp[]; number: (app: Pick<ReachApp, "appId">) => number } {
  const local = Map.groupBy(jobs.filter(isLocal(target)), ({ appId }) => appId);
  const own = parseRange(target.subnet);
  const known = new Map((target.reach?.apps ?? []).map((app) => [app.appId, app]));
  for (const appId of local.keys())
    if (appId !== undefined && !known.has(appId)) known.set(appId, { appId, addresses: [], to: [] });
  const apps = [...known.values()]
    .map(({ appId, addresses, to, outside = [] }) => {
      const elsewhere = addresses.filter((address) => own === undefined || !contains(own, address));
      const here = (local.get(appId) ?? []).map(({ address }) => address);
      return {
        appId,
        addresses: addressesOf([...elsewhere, ...here]),
        to: sorted(to).filter((id) => known.has(id)),
        outside,
      };
    })
    .sort((a, b) => (a.appId < b.appId ? -1 : 1));
  const numbers = new Map(apps.map(({ appId }, n) => [appId, n]));
  return { apps, number: ({ appId }) => numbers.get(appId)! };
}

/** Never reached, whatever the policy: what is nobody's, the platform's own addresses, and what control closes. */
function closedRanges({ target, clusterAddresses, builds }: ReachInput, routers: readonly string[]): Range[] {
  const { reach } = target;
  const closed = (reach?.closed ?? []).filter((text) => !text.includes(":"));
  const addresses = [
    ...target.peers.map(({ address }) => address),
    ...clusterAddresses,
    ...routers,
    ...(reach?.open ?? []).map(({ address }) => address),
    target.registry.replace(/:\d+$/, ""),
  ];
  return [
    ...parsedRanges([...NOWHERE, target.clusterRange, ...builds.map(({ subnet }) => subnet), ...closed]),
    ...parsedRanges(addressesOf(addresses)),
  ];
}

/** Without overlap, which an interval set refuses. */
function openPorts(open: Reach["open"]): string[] {
  const byAddress = Map.groupBy(open, ({ address }) => address);
  return sorted([...byAddress.keys()].filter((address) => isIPv4(address))).flatMap((address) => {
    const ports = byAddress.get(address)!.flatMap((one) => one.ports);
    const ranges = ports
      .map((text) => text.split("-").map(Number))
      .map(([first = 0, last = first]) => ({ first, last }));
    const proper = ranges.filter(({ first, last }) => first <= last && last <= 65_535);
    return merge(proper).map(({ first, last }) => `${address} . ${first === last ? first : `${first}-${last}`}`);
  });
}

/** The hosts' ends of their bridges, which lie in the cluster's range and are no job's. */
const gatewaysOf = ({ subnet, peers }: ReachInput["target"]): string[] =>
  sorted([subnet, ...peers.map((peer) => peer.subnet)].filter((text) => parseRange(text)).map(firstAddress));

/** Never the metadata service, whose address also serves names on some clouds. */
const nameServers = (dns: readonly string[]): string[] => {
  const nowhere = parsedRanges(NOWHERE);
  return addressesOf(dns).filter((server) => !nowhere.some((range) => contains(range, server)));
};

/** Of this host's subnet; or of the one before, which runs on as long as its network does, unless that is another host's by now. */
const isLocal = ({ subnet, clusterRange, peers }: ReachInput["target"]) => {
  const [own, cluster] = [parseRange(subnet), parseRange(clusterRange)];
  const isPeers = (address: string) =>
    peers.some((peer) => {
      const range = peer.subnet === subnet ? undefined : parseRange(peer.subnet);
      return range !== undefined && contains(range, address);
    });
  return ({ address }: LocalJob): boolean =>
    own !== undefined &&
    (contains(own, address) || (cluster !== undefined && contains(cluster, address) && !isPeers(address)));
};

/** As nft reads the addresses that only this host's jobs have. */
function ownAddresses({ subnet }: ReachInput["target"], local: readonly LocalJob[]): string {
  const own = parseRange(cidr(subnet));
  const before = sorted(local.map(({ address }) => address).filter((address) => own && !contains(own, address)));
  return before.length === 0 ? subnet : `{ ${[subnet, ...before].join(", ")} }`;
}

const accept = (end: "saddr" | "daddr", app: number): string[] => [`    ct original ip ${end} @app_${app} accept`];
/** External services, whatever the egress policy says; never what is closed, wherever it was registered. */
const outsideOf = ({ outside = [] }: ReachApp): string[] =>
  sorted(outside.flatMap(({ address, port }) => (isIPv4(address) ? [`${address} . ${port}`] : []))).map(
    (pair) =>
      `    meta l4proto tcp ct original ip daddr . ct original proto-dst { ${pair} } ct original ip daddr != @closed ct reply ip saddr != @closed accept`,
  );
const sorted = (texts: readonly string[]): string[] => [...new Set(texts)].sort();
const addressesOf = (texts: readonly string[]): string[] => sorted(texts.filter((text) => isIPv4(text)));

function parsedRanges(texts: readonly string[]): Range[] {
  return texts.map((text) => {
    const range = parseRange(text);
    if (range === undefined) throw new Error(`${text} is not IPv4 CIDR`);
    return range;
  });
}

function cidr(text: string): string {
  parsedRanges([text]);
  return text;
}

function set(name: string, type: string, elements: readonly string[], of?: string, flags?: string): string[] {
  return [
    ...(of === undefined ? [] : [`  # ${of.replace(/[^\w.-]/g, "?")}`]),
    `  set ${name} {`,
    `    type ${type}`,
    ...(flags === undefined ? [] : [`    flags ${flags}`]),
    ...(elements.length === 0 ? [] : [`    elements = { ${elements.join(", ")} }`]),
    "  }",
  ];
}

function verdicts(name: string, jobs: readonly LocalJob[], verdict: (job: LocalJob) => string): string[] {
  const byAddress = new Map(jobs.map((job) => [job.address, job]));
  const elements = sorted([...byAddress.values()].map((job) => `${job.address} : ${verdict(job)}`));
  return [
    `  map ${name} {`,
    "    type ipv4_addr : verdict",
    ...(elements.length === 0 ? [] : [`    elements = { ${elements.join(", ")} }`]),
    "  }",
  ];
}
