// The cluster's part of every host's reach: settings, networks that stay closed, and the ports of control and routers that jobs may
// use like anybody. Pure.
import { isIP, isIPv4 } from "node:net";
import { Fault } from "#api/fault.ts";
import { isWithin, rangesOf } from "#lib/address-ranges.ts";
import type { ControlConfig } from "../config.ts";
import type { MemberRecord } from "../records.ts";
import type { ClusterReach } from "./reach.ts";

type Settings = Pick<
  ControlConfig,
  "appNetwork" | "clusterRange" | "appEgress" | "closedNetworks" | "port" | "sshRelay" | "sshPort" | "tcpPorts"
>;

export interface Platform {
  config: Settings;
  controlUrls: readonly string[];
  routers: readonly Pick<MemberRecord, "addresses" | "localAddresses" | "ports">[];
  /** All other addresses of the platform's machines: hosts' and control's own. */
  machines?: Iterable<string>;
}

const ROUTER_PORTS = [80, 443];

export function clusterReach({ config, controlUrls, routers, machines = [] }: Platform): ClusterReach {
  const own = controlUrls.map((url) => new URL(url).hostname).filter((host) => isIPv4(host));
  const ports = new Map<string, Set<string>>();
  const open = (address: string, list: readonly (number | string)[]) => {
    const there = ports.get(address) ?? new Set();
    for (const port of list) there.add(String(port));
    ports.set(address, there);
  };
  for (const address of own) open(address, [config.port, ...(config.sshRelay.length > 0 ? [config.sshPort] : [])]);
  for (const { addresses = [], ports: served = ROUTER_PORTS } of routers)
    for (const address of addresses) open(address, [...served, config.tcpPorts]);
  // A bridge of jobs lies in the cluster's range, which is closed as a whole.
  const others = [...routers.flatMap(({ localAddresses = [] }) => localAddresses), ...machines].filter(
    (address) => isIPv4(address) && !isWithin([config.clusterRange, ...rangesOf("nowhere", "loopback")], address),
  );
  const platform = [...new Set([...ports.keys(), ...others])].sort();
  return {
    appNetwork: config.appNetwork,
    egress: config.appEgress,
    closed: [...closedNetworks(config.closedNetworks), ...platform.map((address) => `${address}/32`)],
    open: [...ports]
      .map(([address, list]) => ({ address, ports: [...list].sort(byFirstPort) }))
      .sort((a, b) => (a.address < b.address ? -1 : 1)),
    routers: [...ports.keys()].sort(),
  };
}

const byFirstPort = (a: string, b: string): number => Number.parseInt(a, 10) - Number.parseInt(b, 10);

/** Sorted, each once. Fault `invalid` for what is no range: a host could not enforce it. */
export function closedNetworks(ranges: readonly string[]): string[] {
  for (const range of ranges) {
    const [base = "", bits = "", ...more] = range.split("/");
    const family = isIP(base);
    const most = family === 6 ? 128 : 32;
    if (family === 0 || more.length > 0 || !/^\d{1,3}$/.test(bits) || Number(bits) > most || Number(bits) < 1)
      throw new Fault(
        "invalid",
        `${range} is not a network; give an address and a prefix length, such as 10.20.0.0/16`,
      );
  }
  return [...new Set(ranges)].sort();
}
