// What a DHCP server tells machines beside an address: gateway, name and time servers, lease time, fixed addresses. Settings that
// cannot be right on its network, each in words. One rule for `flynn up`, before anything starts, and for the boot server itself.
import { broadcastOf, contains, isAddress, type Network, toNumber } from "./ipv4.ts";
import { parseDuration } from "./units.ts";

export interface DhcpSettings {
  network: Network;
  /** The server's own address on it. */
  own: string;
  /** Empty for none. */
  router: string;
  dns: readonly string[];
  ntp: readonly string[];
  leaseTime: string;
  /** Card and address, in the order in which they were given. */
  reservations: readonly (readonly [mac: string, address: string])[];
  /** Cards of the server's machine. */
  ownMacs?: ReadonlySet<string>;
}

export interface WrongSetting {
  setting: "router" | "dns" | "ntp" | "leaseTime" | "reservations";
  value: string;
  why: string;
}

/** A shorter one would be all renewals; a longer one is no loan, and RFC 2132's option 51 counts seconds in 32 bits. */
const LEASE_LEAST_MS = 60_000;
const LEASE_MOST_MS = 365 * 86_400_000;
export const SERVERS_MOST = 4;

export function wrongSettings(settings: DhcpSettings): WrongSetting[] {
  return [...wrongRouter(settings), ...wrongServers(settings), ...wrongLease(settings), ...wrongReservations(settings)];
}

/** `52:54:00:12:34:56`, of what people write for it; undefined for what is no card of one machine. */
export function cardOf(text: string): string | undefined {
  const mac = text.toLowerCase().replaceAll("-", ":");
  if (!/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/.test(mac) || mac === "00:00:00:00:00:00") return undefined;
  return Number.parseInt(mac.slice(0, 2), 16) & 1 ? undefined : mac;
}

const textOf = ({ address, prefix }: Network): string => `${address}/${prefix}`;

/** What nobody on the network can have, in words. */
function unusable(network: Network, address: string): string | undefined {
  if (!isAddress(address)) return "is not an IPv4 address, such as 10.20.0.1";
  if (address === network.address) return `is the address of the network ${textOf(network)} itself`;
  if (address === broadcastOf(network)) return `is the broadcast address of ${textOf(network)}`;
  return undefined;
}

function wrongRouter({ network, router }: DhcpSettings): WrongSetting[] {
  if (router === "") return [];
  const why =
    unusable(network, router) ??
    (contains(network, router) ? undefined : `is not in ${textOf(network)}: machines there could not reach it`);
  return why === undefined ? [] : [{ setting: "router", value: router, why }];
}

function wrongServers({ network, router, dns, ntp }: DhcpSettings): WrongSetting[] {
  return (["dns", "ntp"] as const).flatMap((setting) => {
    const servers = setting === "dns" ? dns : ntp;
    if (servers.length > SERVERS_MOST)
      return [{ setting, value: servers.join(" "), why: `are ${servers.length} servers; ${SERVERS_MOST} is the most` }];
    return servers.flatMap((value, n) => {
      const why =
        unusable(network, value) ??
        (isNobodys(value) ? "is no address of a server" : undefined) ??
        (servers.indexOf(value) < n ? "is there twice" : undefined) ??
        (contains(network, value) || router !== ""
          ? undefined
          : `is outside of ${textOf(network)}, and there is no router`);
      return why === undefined ? [] : [{ setting, value, why }];
    });
  });
}

/** This host, loopback, multicast and above: RFC 6890. */
function isNobodys(address: string): boolean {
  const first = toNumber(address) >>> 24;
  return first === 0 || first === 127 || first >= 224;
}

function wrongLease({ leaseTime }: DhcpSettings): WrongSetting[] {
  const ms = parseDuration(leaseTime);
  const why =
    ms === undefined
      ? "is not a time, such as 1h"
      : ms < LEASE_LEAST_MS
        ? "is too short: a minute is the least"
        : ms > LEASE_MOST_MS
          ? "is too long: a year is the most"
          : undefined;
  return why === undefined ? [] : [{ setting: "leaseTime", value: leaseTime, why }];
}

/** A fixed address that two machines have, that is somebody else's, or that is not on the wire. */
function wrongReservations({ network, own, router, reservations, ownMacs }: DhcpSettings): WrongSetting[] {
  const holders = new Map<string, string>([
    ...(router === "" ? [] : [[router, "the router"] as const]),
    [own, "this machine, the DHCP server"],
  ]);
  const cards = new Map<string, string>();
  return reservations.flatMap(([mac, address]) => {
    const holder = holders.get(address);
    const other = cards.get(mac);
    const why =
      (cardOf(mac) === mac ? undefined : `is for ${mac}, which is no card of a machine, such as 52:54:00:12:34:56`) ??
      unusable(network, address) ??
      (contains(network, address) ? undefined : `is not in ${textOf(network)}`) ??
      (holder === undefined ? undefined : `is the address of ${holder} already`) ??
      (ownMacs?.has(mac) ? "is for a card of this machine, which has its own" : undefined) ??
      (other === undefined ? undefined : `is its second address; it has ${other} already`);
    holders.set(address, mac);
    cards.set(mac, address);
    return why === undefined ? [] : [{ setting: "reservations" as const, value: `${address} of ${mac}`, why }];
  });
}
