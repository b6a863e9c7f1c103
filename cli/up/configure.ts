// The appliance's settings from a command's flags, its --config file and FLYNN_UP_*. Commands import it when they run: checking
// settings takes longer to load than most commands take to run.
import { Fault } from "#api/fault.ts";
import type { Invocation } from "../parse/command.ts";
import { loadUpConfig, type UpConfig } from "./config.ts";

export function configOf(call: Invocation): UpConfig {
  const { text, texts, on, cli } = call;
  /** What is no number is left as it was written, to be shown when it is refused. */
  const number = (name: string) => (/^\d+$/.test(text(name) ?? "") ? Number(text(name)) : text(name));
  const list = (name: string) => (texts(name).length > 0 ? texts(name) : undefined);
  const flags = {
    interface: text("interface"),
    dhcp: text("dhcp"),
    dhcpAnyway: on("dhcp-anyway") ? true : undefined,
    dhcpRange: text("dhcp-range"),
    dhcpRouter: text("dhcp-router"),
    dhcpDns: list("dhcp-dns"),
    dhcpNtp: list("dhcp-ntp"),
    dhcpDomain: text("dhcp-domain"),
    dhcpLease: text("dhcp-lease"),
    dhcpReserve: list("dhcp-reserve"),
    dhcpRelay: list("dhcp-relay"),
    unknownMachines: text("unknown-machines"),
    diskPolicy: text("disk-policy"),
    address: text("address"),
    appDomain: text("app-domain"),
    buildCa: text("build-ca"),
    buildProxy: text("build-proxy"),
    buildNoProxy: text("build-no-proxy"),
    buildEnv: list("build-env"),
    drainAllow: list("drain-allow"),
    appNetwork: text("app-network"),
    appEgress: text("app-egress"),
    bootNetworks: list("boot-networks"),
    bmcNetworks: list("bmc-networks"),
    trustedFronts: list("trusted-fronts"),
    proxySources: list("proxy-sources"),
    clusterRange: text("cluster-range"),
    hostNet: number("host-net"),
    freeFloor: text("free-floor"),
    appGitLimit: text("app-git-limit"),
    appSourceLimit: text("app-source-limit"),
    appImageLimit: text("app-image-limit"),
    imageLimit: text("image-limit"),
    httpPort: number("http-port"),
    httpsPort: number("https-port"),
    host: on("no-host") ? false : undefined,
    ssh: on("no-ssh") ? false : undefined,
    imagesDir: text("images"),
    stateDir: text("state"),
    salvage: on("salvage") ? true : undefined,
  };
  try {
    return loadUpConfig({ file: text("config"), env: cli.env, root: process.getuid?.() === 0, flags });
  } catch (error) {
    throw new Fault("invalid", (error as Error).message, { cause: (error as Error).cause });
  }
}
