// Where base images may be fetched from, by the same rule that the kernel holds builds to: nothing of the cluster, and of the rest
// what the cluster's egress policy says. Asked of each address that is about to be connected to, whatever name led there.
import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import type { HostTarget } from "#api/host-agents.ts";
import { isWithin, plainAddress, rangesOf } from "#lib/address-ranges.ts";
import { deadline } from "#lib/time.ts";

export type FetchPolicy = Pick<HostTarget, "registry" | "clusterRange" | "peers" | "reach"> & {
  /** Control's and others that are the cluster's. */
  clusterAddresses?: readonly string[];
};

/** Why nothing is fetched from this address; undefined: it may be. Pure. */
export function refuseAddress(
  given: string,
  { registry, clusterRange, peers, reach, clusterAddresses = [] }: FetchPolicy,
): string | undefined {
  const address = plainAddress(given);
  if (isIP(address) !== 4) return `${given} is no IPv4 address`;
  const members = [withoutPort(registry), ...peers.map((peer) => peer.address), ...clusterAddresses];
  const closed = (reach?.closed ?? []).filter((range) => !range.includes(":"));
  if (members.includes(address) || isWithin([clusterRange, ...closed], address))
    return `${address} is inside the cluster, which is closed to builds`;
  if (isWithin(rangesOf("nowhere", "loopback", "metadata"), address))
    return `${address} is a host's own, link-local or reserved: closed to builds`;
  const egress = reach?.egress ?? "internet";
  if (egress === "none") return "builds of this cluster reach nothing outside it (flynn up --app-egress none)";
  if (egress === "internet" && isWithin(rangesOf("private", "reserved", "documentation"), address))
    return `${address} is private; an operator opens the LAN to apps and builds: flynn up --app-egress all`;
  return undefined;
}

export const withoutPort = (domain: string): string => domain.replace(/:\d+$/, "").toLowerCase();

export type Lookup = (host: string) => Promise<string[]>;

const lookupV4: Lookup = async (host) =>
  isIP(host) > 0
    ? [host]
    : (await deadline(lookup(host, { all: true, family: 4 }), 5_000, `the look-up of ${host}`)).map(
        ({ address }) => address,
      );

export class FetchRefused extends Error {}

/** An address of the host that may be fetched from: connect to this one and no other, for a name may mean another a moment later. */
export async function fetchAddress(host: string, policy: FetchPolicy, resolve: Lookup = lookupV4): Promise<string> {
  const addresses = await resolve(host);
  const refused = addresses.map((address) => refuseAddress(address, policy));
  const allowed = addresses.find((_, n) => refused[n] === undefined);
  if (allowed === undefined) throw new FetchRefused(`${host}: ${refused[0] ?? "it has no address"}`);
  return allowed;
}
