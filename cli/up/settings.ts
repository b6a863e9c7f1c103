// Settings of `flynn up` that are well formed and cannot be right on this machine, each with what to give instead. Pure: looked at
// before anything starts, since a part that ends again and again says so only in its log.
import { isIP } from "node:net";
import { isWithin } from "#lib/address-ranges.ts";
import { wrongSettings } from "#lib/dhcp-settings.ts";
import { contains, exampleSpan, type Network, parseNetwork, parseRelay, parseSpan } from "#lib/ipv4.ts";
import type { Link } from "./address.ts";
import type { Problem } from "./checks.ts";
import { DEFAULT_LEASE, reservationsOf, type UpConfig } from "./config.ts";

/** What this machine is, as far as settings must agree with it. */
export interface Machine {
  links: readonly Link[];
  /** Address it is reached by: given, or its own. */
  address: string;
}

export function settingsProblems(config: UpConfig, machine: Machine): Problem[] {
  return [
    ...addressProblems(config),
    ...interfaceProblems(config, machine),
    ...rangeProblems(config),
    ...clusterRangeProblems(config, machine),
    ...portProblems(config),
  ];
}

/** What is unusual and may be meant so: said, and gone on with. */
export function settingsWarnings({ address, interface: name }: UpConfig, { links }: Machine): string[] {
  if (address === "" || name !== "" || addressesOf(links).includes(address)) return [];
  return [
    `no interface of this machine has --address ${address}: hosts and people reach it only if something else passes that address on to here (NAT); this machine has ${addressesOf(links).join(", ") || "none"}`,
  ];
}

const addressesOf = (links: readonly Link[]): string[] =>
  links.flatMap(({ addr_info }) => addr_info.map(({ local }) => local));

function addressProblems({ address }: UpConfig): Problem[] {
  if (address === "" || isIP(address) === 4) return [];
  return [{ what: `--address ${address} is not an IPv4 address`, todo: "give one such as --address 10.20.0.1" }];
}

function interfaceProblems(config: UpConfig, machine: Machine): Problem[] {
  const { interface: name, dhcp, dhcpRange, dhcpRelay } = config;
  const given = [
    ...(dhcp === "proxy" ? [] : [`--dhcp ${dhcp}`]),
    ...(config.dhcpAnyway ? ["--dhcp-anyway"] : []),
    ...(dhcpRange === "" ? [] : [`--dhcp-range ${dhcpRange}`]),
    ...addressingFlags(config),
    ...dhcpRelay.map((relay) => `--dhcp-relay ${relay}`),
  ];
  if (name === "")
    return given.map((flag) => ({
      what: `${flag} does nothing without --interface: no machines boot from here`,
      todo: `name the interface of their network, such as --interface eth0 ${flag}; or leave it out`,
    }));
  const link = machine.links.find(({ ifname }) => ifname === name);
  const here = link?.addr_info.find(({ local }) => local === machine.address);
  if (here === undefined) return [noSuchAddress(config, machine, link)];
  const network = parseNetwork(`${here.local}/${here.prefixlen}`);
  if (network === undefined) throw new Error(`${here.local}/${here.prefixlen} is no address with its prefix`);
  return [...dhcpProblems(config, { own: here.local, network }), ...relayProblems(config, network)];
}

const relayProblems = ({ dhcpRelay }: UpConfig, own: Network): Problem[] =>
  dhcpRelay.flatMap((text) => {
    const relay = parseRelay(text, own);
    return typeof relay === "string"
      ? [
          {
            what: `--dhcp-relay ${text} ${relay}`,
            todo: "give the relay's address with the prefix of the network behind it, such as --dhcp-relay 10.88.0.1/24",
          },
        ]
      : [];
  });

function noSuchAddress({ interface: name }: UpConfig, { links, address }: Machine, link: Link | undefined): Problem {
  if (link === undefined)
    return {
      what: `there is no interface ${name} with an IPv4 address`,
      todo: `those with one: ${links.map(({ ifname }) => ifname).join(", ") || "none"}`,
    };
  const has = link.addr_info.map(({ local }) => local);
  return {
    what: `interface ${name} does not have --address ${address}: machines that boot there could not reach this one by it`,
    todo: `leave --address out, or give one of its own: ${has.join(", ") || "it has none"}`,
  };
}

/** Flags that only say something where we give out addresses. */
const addressingFlags = (config: UpConfig): string[] => [
  ...(config.dhcpRouter === "" ? [] : [`--dhcp-router ${config.dhcpRouter}`]),
  ...config.dhcpDns.map((one) => `--dhcp-dns ${one}`),
  ...config.dhcpNtp.map((one) => `--dhcp-ntp ${one}`),
  ...(config.dhcpDomain === "" ? [] : [`--dhcp-domain ${config.dhcpDomain}`]),
  ...(config.dhcpLease === DEFAULT_LEASE ? [] : [`--dhcp-lease ${config.dhcpLease}`]),
  ...config.dhcpReserve.map((one) => `--dhcp-reserve ${one}`),
];

function dhcpProblems(config: UpConfig, lan: { own: string; network: Network }): Problem[] {
  const { dhcp, dhcpRange } = config;
  if (dhcp !== "proxy") return [...rangeOfFull(config, lan), ...addressingProblems(config, lan)];
  const idle = [
    ...(dhcpRange === "" ? [] : [`--dhcp-range ${dhcpRange}`]),
    ...(config.dhcpAnyway ? ["--dhcp-anyway"] : []),
  ];
  return [...idle, ...addressingFlags(config)].map((flag) => ({
    what: `${flag} does nothing without --dhcp full: beside another DHCP server no addresses are given out`,
    todo: "leave it out; or, where there is no other DHCP server, add --dhcp full",
  }));
}

const ADDRESSING = {
  router: { flag: "--dhcp-router", todo: "give the address of the gateway on that network, or leave it out" },
  dns: { flag: "--dhcp-dns", todo: "give the address of a name server that machines there reach" },
  ntp: { flag: "--dhcp-ntp", todo: "give the address of a time server that machines there reach" },
  leaseTime: { flag: "--dhcp-lease", todo: "give a time such as --dhcp-lease 1h" },
  reservations: {
    flag: "--dhcp-reserve",
    todo: "give each card one address of that network that nothing else has, such as --dhcp-reserve 52:54:00:12:34:56=",
  },
} as const;

function addressingProblems(config: UpConfig, { own, network }: { own: string; network: Network }): Problem[] {
  const { dhcpRouter: router, dhcpDns: dns, dhcpNtp: ntp, dhcpLease: leaseTime } = config;
  const reservations = reservationsOf(config);
  const free = exampleSpan(network, own).split("-")[0];
  return wrongSettings({ network, own, router, dns, ntp, leaseTime, reservations }).map(({ setting, value, why }) => ({
    what: `${ADDRESSING[setting].flag} ${value} ${why}`,
    todo: `${ADDRESSING[setting].todo}${setting === "reservations" ? free : ""}`,
  }));
}

function rangeOfFull(
  { dhcp, dhcpRange, interface: name }: UpConfig,
  { own, network }: { own: string; network: Network },
): Problem[] {
  const where = `${network.address}/${network.prefix} (${name})`;
  if (network.prefix > 30)
    return [
      {
        what: `--dhcp ${dhcp}: ${where} is too small to give addresses out`,
        todo: "use --dhcp proxy, or another network",
      },
    ];
  const right = `--dhcp ${dhcp} --dhcp-range ${exampleSpan(network, own)}`;
  if (dhcpRange === "")
    return [
      {
        what: `--dhcp ${dhcp} needs --dhcp-range: the addresses to give out`,
        todo: `name some of ${where} that nothing else has, such as ${right}`,
      },
    ];
  const span = parseSpan(dhcpRange, network, own);
  if (typeof span !== "string") return [];
  return [{ what: `--dhcp-range ${dhcpRange}: ${span}`, todo: `name free addresses of ${where}, such as ${right}` }];
}

const RANGES = [
  ["--boot-networks", ({ bootNetworks }: UpConfig) => bootNetworks, "10.20.0.0/24"],
  ["--bmc-networks", ({ bmcNetworks }: UpConfig) => bmcNetworks, "10.30.0.0/24"],
  ["--drain-allow", ({ drainAllow }: UpConfig) => drainAllow, "10.0.0.0/8"],
  ["--trusted-fronts", ({ trustedFronts }: UpConfig) => trustedFronts, "10.1.0.0/16"],
  ["--proxy-sources", ({ proxySources }: UpConfig) => proxySources, "10.1.0.0/16"],
] as const;

function rangeProblems(config: UpConfig): Problem[] {
  return RANGES.flatMap(([flag, of, example]) =>
    of(config).flatMap((range) => {
      const problem = rangeProblem(range);
      return problem === undefined
        ? []
        : [{ what: `${flag} ${range} ${problem.what}`, todo: `give ${flag} ${problem.right ?? example}` }];
    }),
  );
}

/** An address alone is a range of one. */
function rangeProblem(range: string): { what: string; right?: string } | undefined {
  const [base = "", bits] = range.split("/");
  const family = isIP(base);
  if (family === 0 || (bits !== undefined && Number(bits) > (family === 6 ? 128 : 32)))
    return { what: "is not an address with the length of its prefix" };
  const network = family === 4 && bits !== undefined ? parseNetwork(range) : undefined;
  if (network === undefined || network.address === base) return undefined;
  const right = `${network.address}/${network.prefix}`;
  return { what: `is an address inside a network; the network is ${right}`, right };
}

/** Hosts get their parts from it: a /8 is the largest, and there are two /24s in the smallest, of which the first is no host's. */
function clusterRangeProblems({ clusterRange, hostNet }: UpConfig, { links }: Machine): Problem[] {
  const flag = `--cluster-range ${clusterRange}`;
  const problem = rangeProblem(clusterRange);
  const network = parseNetwork(clusterRange);
  if (network === undefined || network.prefix < 8 || network.prefix > 23)
    return [
      {
        what: `${flag} is not a network between /8 and /23`,
        todo: "give --cluster-range 100.64.0.0/16, or leave it out",
      },
    ];
  if (problem !== undefined)
    return [{ what: `${flag} ${problem.what}`, todo: `give --cluster-range ${problem.right ?? "100.64.0.0/16"}` }];
  if (hostNet !== undefined && hostNet <= network.prefix)
    return [
      {
        what: `--host-net ${hostNet} is no smaller than ${flag}: there would be no part for a host`,
        todo: `give a wider range, such as --cluster-range ${widerRange(network)}, or a larger number`,
      },
    ];
  // This product's own bridges are in it, as they should be.
  for (const { ifname, addr_info } of links.filter(({ ifname }) => !/^flynnb?\d+$/.test(ifname)))
    for (const { local } of addr_info.filter(({ local }) => contains(network, local)))
      return [
        {
          what: `${flag} holds ${local}, this machine's own address on ${ifname}: apps' addresses would hide that network`,
          todo: `give a range that is used nowhere else, such as --cluster-range ${unusedRange(links)}`,
        },
      ];
  return [];
}

function widerRange({ address, prefix }: Network): string {
  const wide = parseNetwork(`${address}/${Math.max(8, prefix - 2)}`);
  return `${wide?.address}/${wide?.prefix}`;
}

const unusedRange = (links: readonly Link[]): string =>
  ["100.64.0.0/16", "100.80.0.0/16", "172.24.0.0/16", "10.200.0.0/16"].find(
    (range) => !addressesOf(links).some((address) => isWithin([range], address)),
  ) ?? "100.96.0.0/16";

/** Settings that are ports, whose they are, and the flag for those that have one. */
function portsOf(config: UpConfig): { port: number; of: string; setting: string }[] {
  const { host, ssh, interface: name } = config;
  return [
    { port: config.port, of: "the API (control)", setting: "port" },
    { port: config.registryPort, of: "the registry", setting: "registryPort" },
    { port: config.registryReadPort, of: "the registry, read-only", setting: "registryReadPort" },
    { port: config.registryPushPort, of: "the registry, writable", setting: "registryPushPort" },
    { port: config.httpPort, of: "the router (HTTP)", setting: "--http-port" },
    ...(config.httpsPort === 0 ? [] : [{ port: config.httpsPort, of: "the router (HTTPS)", setting: "--https-port" }]),
    ...(host ? [{ port: config.hostPort, of: "this machine's agent (hostd)", setting: "hostPort" }] : []),
    ...(ssh ? [{ port: config.sshPort, of: "git over SSH (sshd)", setting: "sshPort" }] : []),
    ...(name === "" ? [] : [{ port: config.bootPort, of: "the boot server (HTTP)", setting: "bootPort" }]),
  ];
}

function portProblems(config: UpConfig): Problem[] {
  const byPort = [...Map.groupBy(portsOf(config), ({ port }) => port)].filter(([, wanted]) => wanted.length > 1);
  return byPort.map(([port, wanted]) => ({
    what: `${wanted.map(({ of }) => of).join(" and ")} want the same port, ${port}`,
    todo: `give another: ${wanted.map(({ setting }) => (setting.startsWith("--") ? `${setting} ${FREE[setting]}` : `${setting} in the --config file`)).join(", or ")}`,
  }));
}
const FREE: Readonly<Record<string, number>> = { "--http-port": 8080, "--https-port": 8443 };
