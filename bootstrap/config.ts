// Configuration of the boot server, with what follows from the interface filled in. The example file is example.yaml.

import { type Static, Type } from "typebox";
import { Fault } from "#api/fault.ts";
import { loadConfig } from "#lib/config.ts";
import { SERVERS_MOST, wrongSettings } from "#lib/dhcp-settings.ts";
import { type Network, parseNetwork, parseRelay, parseSpan, upperHalf } from "#lib/ipv4.ts";
import { parseDuration } from "#lib/units.ts";
import type { OfferConfig } from "./dhcp/exchange.ts";
import { LOADERS, type Loader } from "./dhcp/loader.ts";
import type { Relay } from "./identity/sight.ts";
import type { Interface } from "./interfaces.ts";
import { DEFAULT_CAPS } from "./tftp/negotiate.ts";

const DOMAIN = /^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*)?$/;

export const BootConfigSchema = Type.Object({
  interface: Type.String({
    minLength: 1,
    description: "The network interface whose LAN is served; nothing is sent on any other.",
  }),
  address: Type.String({ default: "", description: "Our IPv4 address there; the interface's first one when empty." }),
  mode: Type.Unsafe<"full" | "proxy">({
    type: "string",
    enum: ["full", "proxy"],
    default: "proxy",
    description: "full: we are the LAN's DHCP server. proxy: another one gives addresses, we add boot files.",
  }),
  range: Type.String({
    default: "",
    description: "Addresses to give out in full mode, `first-last`; the upper half of the network when empty.",
  }),
  router: Type.String({ default: "", description: "Default gateway told to clients (option 3); none when empty." }),
  dns: Type.Array(Type.String(), {
    default: [],
    maxItems: SERVERS_MOST,
    description: "Name servers told to clients (option 6).",
  }),
  ntp: Type.Array(Type.String(), {
    default: [],
    maxItems: SERVERS_MOST,
    description: "Time servers told to clients (option 42); hosts ask no other.",
  }),
  domain: Type.String({
    default: "",
    pattern: DOMAIN.source,
    wants: "a domain, such as lab.example.com",
    description: "Domain told to clients (option 15); none when empty.",
  }),
  leaseTime: Type.String({ default: "1h", description: "How long an address is lent (option 51)." }),
  reservations: Type.Record(Type.String({ pattern: "^([0-9a-f]{2}:){5}[0-9a-f]{2}$" }), Type.String(), {
    default: {},
    additionalProperties: false,
    description: "MAC to the address it always gets.",
  }),
  relays: Type.Array(Type.String(), {
    default: [],
    description:
      "DHCP relays that are believed, each its address with the prefix of the network behind it, such as 10.88.0.1/24, and @ with where it sends from when that is another address: 10.88.0.1/24@10.77.0.254. Nobody else outside of our own network is answered.",
  }),
  refused: Type.Array(Type.String(), {
    default: [],
    description: "Ranges (CIDR) that are never answered, such as 172.18.0.0/16; those of jobs need no entry.",
  }),
  httpPort: Type.Integer({ default: 7780, minimum: 1, maximum: 65535, description: "Boot plane HTTP port." }),
  controlUrls: Type.Array(Type.String(), { minItems: 1, description: "https://host:port of the control plane." }),
  caFile: Type.String({ description: "PEM of the cluster CA." }),
  joinTokenFile: Type.String({ default: "", description: "File with the join token (fjt_...) for the first start." }),
  name: Type.String({ default: "boot", description: "Name in our certificate." }),
  stateDir: Type.String({ description: "Leases, boot tokens, unsent events, identity, last copy of the target." }),
  imagesDir: Type.String({ description: "Boot images, one directory each." }),
  imageKeyFile: Type.String({ description: "PEM of the ed25519 public key that image manifests are signed with." }),
  tftpSinglePort: Type.Boolean({
    default: false,
    description: "Answer TFTP from port 69 alone, for a server behind NAT or a container's port mapping.",
  }),
  tftpMaxBlock: Type.Integer({
    default: DEFAULT_CAPS.blksizeBytes,
    minimum: 512,
    maximum: 65464,
    description: "Largest TFTP block in bytes (RFC 2348); lower it where packets are lost behind a smaller MTU.",
  }),
  tftpMaxWindow: Type.Integer({
    default: DEFAULT_CAPS.windowsize,
    minimum: 1,
    maximum: 65535,
    description: "Most TFTP blocks in flight (RFC 7440); 1 where a switch or a card drops bursts.",
  }),
  ipxeDir: Type.String({
    default: "/usr/lib/ipxe",
    description: "undionly.kpxe, snponly.efi and, if it is there, ipxe-arm64.efi (Debian package ipxe).",
  }),
  signedDir: Type.String({
    default: "/usr/lib",
    description:
      "Where shim/ and grub/ of Debian's packages shim-signed and grub-efi-amd64-signed are; a GRUB without HTTP, such as Debian 12's, is not offered.",
  }),
  loadersDir: Type.String({
    default: "",
    description:
      "Newer loaders, in ipxe/, shim/ and grub/, that are taken first; `flynn image build` fetches them: faster, and for Secure Boot and arm64.",
  }),
  uefiLoader: Type.Unsafe<"auto" | Loader>({
    type: "string",
    enum: ["auto", "ipxe", "shim", "uki"],
    default: "auto",
    description:
      "What UEFI firmware is given: ipxe; shim (Debian's signed shim and GRUB, for Secure Boot); uki: the image itself as one signed program, where it was built with --uki; auto: uki where there is one, ipxe, and shim, each once a machine fetched the one before and did not run it.",
  }),
  logLevel: Type.Unsafe<"debug" | "info" | "warn" | "error">({
    type: "string",
    enum: ["debug", "info", "warn", "error"],
    default: "info",
  }),
});

export interface BootConfig extends Omit<Static<typeof BootConfigSchema>, "range" | "address" | "relays"> {
  relays: Relay[];
  address: string;
  network: Network;
  range: { first: string; last: string };
  ownMacs: ReadonlySet<string>;
}

const QUARANTINE_MS = 10 * 60_000;

export function readConfig(
  options: { file?: string; flags?: Record<string, unknown>; env?: NodeJS.ProcessEnv },
  interfaces: readonly Interface[],
): BootConfig {
  const { file, flags, env = process.env } = options;
  const config = loadConfig(BootConfigSchema, { file, flags, env: { prefix: "FLYNN_BOOT", variables: env } });
  const link = interfaces.find((one) => one.name === config.interface);
  if (link === undefined) {
    const names = interfaces.map((one) => one.name).join(", ");
    throw new Fault("invalid", `interface: this machine has no ${config.interface}; it has ${names}`);
  }
  const cidr = link.cidrs.find((one) => config.address === "" || one.startsWith(`${config.address}/`));
  if (cidr === undefined) {
    throw new Fault("invalid", `interface: ${link.name} has no IPv4 address ${config.address}`.trimEnd());
  }
  const network = parseNetwork(cidr)!;
  const checked: BootConfig = {
    ...config,
    address: cidr.split("/")[0]!,
    network,
    range: rangeOf(config.range, network, cidr.split("/")[0]!),
    relays: config.relays.map((text) => relayOf(text, network)),
    ownMacs: new Set(interfaces.map((one) => one.mac)),
  };
  const reservations = Object.entries(checked.reservations);
  const wrong = wrongSettings({ ...checked, own: checked.address, reservations });
  if (wrong.length > 0)
    throw new Fault("invalid", wrong.map(({ setting, value, why }) => `${setting}: ${value} ${why}`).join("; "));
  for (const one of config.refused) {
    if (parseNetwork(one) === undefined)
      throw new Fault("invalid", `refused: ${one} is not a range such as 172.18.0.0/16`);
  }
  return checked;
}

export function offerConfig(config: BootConfig, served: OfferConfig["served"]): OfferConfig {
  return {
    loaders: config.uefiLoader === "auto" ? LOADERS : [config.uefiLoader],
    served,
    mode: config.mode,
    address: config.address,
    network: config.network,
    httpPort: config.httpPort,
    router: config.router || undefined,
    dns: config.dns,
    ntp: config.ntp,
    domain: config.domain || undefined,
    leaseMs: parseDuration(config.leaseTime)!,
    quarantineMs: QUARANTINE_MS,
  };
}

function relayOf(text: string, own: Network): Relay {
  const relay = parseRelay(text, own);
  if (typeof relay === "string") throw new Fault("invalid", `relays: ${text} ${relay}`);
  return relay;
}

function rangeOf(text: string, network: Network, own: string): BootConfig["range"] {
  if (text === "") {
    if (network.prefix > 30) throw new Fault("invalid", `a network of /${network.prefix} has no addresses to give out`);
    return upperHalf(network);
  }
  const range = parseSpan(text, network, own);
  if (typeof range === "string") throw new Fault("invalid", `range: ${text}: ${range}`);
  return range;
}
