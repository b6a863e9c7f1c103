// Configuration of `flynn up`: one machine's appliance. Defaults < file < FLYNN_UP_* < flags.
import { homedir } from "node:os";
import { join } from "node:path";
import { type Static, Type } from "typebox";
import type { UnknownMachines } from "#api/boot.ts";
import { loadConfig } from "#lib/config.ts";

const Network = Type.String({
  pattern: "^[0-9a-fA-F.:]+/\\d{1,3}$",
  wants: "a network: its address and the length of its prefix, such as 10.20.0.0/24",
});
/** Who stands in front of the router. */
const Front = Type.String({
  pattern: "^[0-9a-fA-F.:]+(/\\d{1,3})?$",
  wants: "an address or a range of them, such as 10.1.0.0/16 or 2001:db8::/32",
});
/** A size as people write it. */
const sizeText = (description: string) =>
  Type.String({
    default: "",
    pattern: "^(\\d{1,9}(\\.\\d{1,3})? ?([KMGT](i?B)?|B)?)?$",
    wants: "a size, such as 2GiB or 500MB",
    description,
  });

export const DEFAULT_LEASE = "1h";

export const UpConfig = Type.Object({
  stateDir: Type.String({
    default: "",
    description: "Everything the appliance keeps: /var/lib/flynn as root, ~/.flynn/state otherwise.",
  }),
  address: Type.String({
    default: "",
    description:
      "IPv4 address that hosts and people reach this machine by; the interface's, else the one of the default route.",
  }),
  interface: Type.String({
    default: "",
    description:
      "Network interface to boot machines on. Empty: no DHCP, no TFTP, no boot plane: nothing on the LAN is surprised.",
  }),
  dhcp: Type.Unsafe<"proxy" | "full" | "auto">({
    type: "string",
    enum: ["proxy", "full", "auto"],
    default: "proxy",
    description:
      "proxy: beside the LAN's own DHCP server. full: we are it. auto: proxy where one answers when the appliance starts, else full.",
  }),
  dhcpAnyway: Type.Boolean({
    default: false,
    description: "Full mode though another DHCP server gives addresses on that LAN; their ranges must not overlap.",
  }),
  dhcpRange: Type.String({ default: "", description: "Addresses to give out in full mode, first-last." }),
  dhcpRouter: Type.String({
    default: "",
    description: "Full mode: the gateway that machines are told; none when empty.",
  }),
  dhcpDns: Type.Array(Type.String(), { default: [], description: "Full mode: name servers that machines are told." }),
  dhcpNtp: Type.Array(Type.String(), {
    default: [],
    description:
      "Full mode: time servers that machines are told. Without any a machine takes the time from the boot server when it starts.",
  }),
  dhcpDomain: Type.String({
    default: "",
    pattern: "^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*)?$",
    wants: "a domain, such as lab.example.com",
    description: "Full mode: the domain that machines are told.",
  }),
  dhcpLease: Type.String({
    default: DEFAULT_LEASE,
    description: "Full mode: how long an address is lent, such as 12h.",
  }),
  dhcpReserve: Type.Array(
    Type.String({
      pattern: "^[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}=[0-9.]+$",
      wants: "MAC=ADDRESS, such as 52:54:00:12:34:56=10.20.0.30",
    }),
    { default: [], description: "Full mode: MAC=ADDRESS, the address that a card always gets." },
  ),
  dhcpRelay: Type.Array(Type.String(), {
    default: [],
    description:
      "DHCP relays that the boot server believes, each its address with the prefix of the network behind it, such as 10.88.0.1/24 (@ADDRESS when it sends from another one).",
  }),
  unknownMachines: Type.Unsafe<UnknownMachines>({
    type: "string",
    enum: ["wait", "inventory", "auto"],
    default: "wait",
    description:
      "wait: they ask again until a person approves them. inventory: meanwhile they run the current boot image without any secret and report what they are made of. auto: approved when first seen. For labs.",
  }),
  diskPolicy: Type.Unsafe<"ram" | "find-empty">({
    type: "string",
    enum: ["ram", "find-empty"],
    default: "ram",
    description: "Disk policy of the default profile of a new cluster.",
  }),
  host: Type.Boolean({ default: true, description: "Run apps on this machine's Docker too." }),
  dockerSocket: Type.String({ default: "/var/run/docker.sock", description: "Local Docker." }),
  port: Type.Integer({ default: 7777, minimum: 1, maximum: 65_535, description: "API." }),
  httpPort: Type.Integer({ default: 80, minimum: 1, maximum: 65_535, description: "Router, HTTP." }),
  httpsPort: Type.Integer({ default: 443, minimum: 0, maximum: 65_535, description: "Router, HTTPS; 0: none." }),
  registryPort: Type.Integer({
    default: 5000,
    minimum: 1,
    maximum: 65_535,
    description: "Images for hosts, each those it runs.",
  }),
  registryReadPort: Type.Integer({
    default: 5002,
    minimum: 1,
    maximum: 65_535,
    description: "Registry, read-only, loopback only.",
  }),
  registryPushPort: Type.Integer({
    default: 5001,
    minimum: 1,
    maximum: 65_535,
    description: "Registry, writable, loopback only.",
  }),
  bootPort: Type.Integer({ default: 7780, minimum: 1, maximum: 65_535, description: "Boot plane, HTTP." }),
  hostPort: Type.Integer({ default: 7779, minimum: 1, maximum: 65_535, description: "Agent of this machine." }),
  ssh: Type.Boolean({
    default: true,
    description: "Serve git over SSH too; needs root. Git over HTTPS is always there.",
  }),
  sshPort: Type.Integer({ default: 7722, minimum: 1, maximum: 65_535, description: "Git over SSH." }),
  imagesDir: Type.String({ default: "", description: "Boot images; images/ in the state directory when empty." }),
  salvage: Type.Boolean({
    default: false,
    description: "State that is damaged in both copies: open it with what verifies. For one start, not for a file.",
  }),
  appDomain: Type.String({
    default: "",
    pattern: "^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*)?$",
    wants: "a domain: lower-case letters, digits and hyphens between dots, such as apps.example.com",
    description: "New apps answer at NAME.<appDomain>; point *.<appDomain> at this machine in the DNS.",
  }),
  buildCa: Type.String({
    default: "",
    description: "PEM file of authorities that package installers of builds trust as well, such as a company's.",
  }),
  buildProxy: Type.String({ default: "", description: "Proxy of builds, such as http://proxy.example:3128." }),
  buildNoProxy: Type.String({ default: "", description: "What builds reach without the proxy, by commas." }),
  buildEnv: Type.Array(
    Type.String({
      pattern: "^[A-Za-z_][A-Za-z0-9_]*=[^\\x00\\r\\n]*$",
      wants: "NAME=VALUE on one line, such as npm_config_registry=https://npm.example/",
    }),
    {
      default: [],
      description: "NAME=VALUE of package installers of builds, such as npm_config_registry=https://npm.example/.",
    },
  ),
  drainAllow: Type.Array(
    Type.String({ pattern: "^[0-9a-fA-F.:]+(/\\d{1,3})?$", wants: "a range of addresses, such as 10.0.0.0/8" }),
    {
      default: [],
      description:
        "Private address ranges (CIDR) that log drains may send to, such as 10.0.0.0/8; public ones need none.",
    },
  ),
  appNetwork: Type.Unsafe<"app" | "cluster">({
    type: "string",
    enum: ["app", "cluster"],
    default: "app",
    description: "app: a job reaches its own app, and others by `flynn network allow`. cluster: every app's jobs.",
  }),
  appEgress: Type.Unsafe<"all" | "internet" | "none">({
    type: "string",
    enum: ["all", "internet", "none"],
    default: "internet",
    description:
      "What jobs and builds reach outside. internet: public addresses. all: private networks too. none: nothing but name servers.",
  }),
  bootNetworks: Type.Array(Network, {
    default: [],
    description: "Networks (CIDR) that machines boot on: no job and no build reaches them, under every egress policy.",
  }),
  bmcNetworks: Type.Array(Network, {
    default: [],
    description: "Networks (CIDR) of the machines' management controllers: the same.",
  }),
  trustedFronts: Type.Array(Front, {
    default: [],
    description:
      "Load balancers and CDNs in front of the router (addresses or CIDRs, IPv4 and IPv6) whose X-Forwarded-For, -Proto, -Host and -Port are believed.",
  }),
  proxySources: Type.Array(Front, {
    default: [],
    description:
      "Those whose connections to the router begin with the PROXY protocol, v1 or v2; from all others it is refused.",
  }),
  freeFloor: sizeText(
    "Free space, such as 2GiB, below which uploads, pushes and results of builds are refused; empty: 2 % of the file system, at least 1GiB and at most 10GiB.",
  ),
  appGitLimit: sizeText("What an app's git repository may hold; empty: 1GiB."),
  appSourceLimit: sizeText("Unpacked sources of an app's builds that have not ended; empty: 4GiB."),
  appImageLimit: sizeText("An app's images in the registry, each as it was sent; empty: 50GiB."),
  imageLimit: sizeText("The same of all apps together; empty: as many as leave the free space."),
  clusterRange: Type.String({
    default: "100.64.0.0/16",
    pattern: "^\\d+\\.\\d+\\.\\d+\\.\\d+/\\d+$",
    wants: "a network between /8 and /23, such as 100.64.0.0/16",
    description: "Range that hosts get their parts from. It may be made wider at a later start, and stays so.",
  }),
  hostNet: Type.Optional(
    Type.Integer({
      minimum: 22,
      maximum: 26,
      description:
        "Length of the prefix of each host's part of clusterRange from now on: 22 (1021 jobs) to 26 (61). Left out: as before, 24 (253) at first. Hosts with a smaller part get one of this size once they have no jobs.",
    }),
  ),
});
export type UpConfig = Static<typeof UpConfig>;

/** Card and address of each `--dhcp-reserve`, the card as the boot server writes it. */
export const reservationsOf = ({ dhcpReserve }: Pick<UpConfig, "dhcpReserve">): (readonly [string, string])[] =>
  dhcpReserve.map((text) => {
    const [mac = "", address = ""] = text.split("=");
    return [mac.toLowerCase().replaceAll("-", ":"), address] as const;
  });

export function loadUpConfig(options: {
  file?: string;
  flags: Record<string, unknown>;
  env: NodeJS.ProcessEnv;
  root: boolean;
}): UpConfig {
  const { file, flags, env, root } = options;
  const config = loadConfig(UpConfig, { file, flags, env: { prefix: "FLYNN_UP", variables: env }, flagName });
  const stateDir = config.stateDir || (root ? "/var/lib/flynn" : join(env["HOME"] || homedir(), ".flynn", "state"));
  return { ...config, ssh: config.ssh && root, stateDir, imagesDir: config.imagesDir || join(stateDir, "images") };
}

/** Flags that are not called as their setting is. */
const FLAG_NAMES: Readonly<Record<string, string>> = {
  stateDir: "--state",
  imagesDir: "--images",
  host: "--no-host",
  ssh: "--no-ssh",
};

/** `httpPort` -> `--http-port` */
export const flagName = (setting: string): string =>
  FLAG_NAMES[setting] ?? `--${setting.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
