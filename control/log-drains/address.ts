// Which addresses a drain may send to, so that nobody reaches with it what only control can reach (server-side request forgery).
// Public addresses are free; private ones and loopback need control's configuration `drainAllow`; the cluster's own network and
// link-local addresses (cloud metadata) are never sent to. Pure, but for the look-up of names.
import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import { Fault } from "#api/fault.ts";
import { isWithin, plainAddress, rangesOf } from "#lib/address-ranges.ts";
import { deadline } from "#lib/time.ts";

export interface AddressPolicy {
  /** CIDRs that are sent to though they are private. */
  allow: readonly string[];
  clusterRange: string;
  /** Addresses of control and of hosts: only when `allow` has exactly them. */
  members: () => readonly string[];
}

const NEVER = rangesOf("nowhere", "metadata", "reserved");
const PRIVATE = rangesOf("private", "loopback");

/** Why the address may not be sent to; undefined when it may. */
export function refusal(given: string, { allow, clusterRange, members }: AddressPolicy): string | undefined {
  const address = plainAddress(given);
  if (isIP(address) === 0) return `${given} is no address`;
  if (isWithin(NEVER, address)) return `${address} is link-local or reserved`;
  if (isWithin([clusterRange], address)) return `${address} is in the cluster's own network`;
  const exactly = allow.some((range) => range === address || range === `${address}/${isIP(address) === 6 ? 128 : 32}`);
  if (members().includes(address) && !exactly) return `${address} is a machine of the cluster`;
  if (!isWithin(PRIVATE, address) || isWithin(allow, address)) return undefined;
  return `${address} is private; an operator allows it: flynn up --drain-allow ${address}/${isIP(address) === 6 ? 128 : 32} (control's setting drainAllow)`;
}

export type Resolve = (host: string) => Promise<string[]>;

export const resolveHost: Resolve = async (host) =>
  isIP(host) > 0
    ? [host]
    : (await deadline(lookup(host, { all: true }), 5_000, `the look-up of ${host}`)).map(({ address }) => address);

/** An address of the host that may be sent to: connect to this one and no other, for a name may mean another a moment later. */
export async function allowedAddress(
  host: string,
  policy: AddressPolicy,
  resolve: Resolve = resolveHost,
): Promise<string> {
  const addresses = await resolve(host).catch((cause: unknown) => {
    throw new Fault("unavailable", `${host} could not be looked up`, { cause });
  });
  const refused = addresses.map((address) => refusal(address, policy));
  const allowed = addresses.find((_, n) => refused[n] === undefined);
  if (allowed === undefined)
    throw new Fault("forbidden", `a drain may not send there: ${refused[0] ?? `${host} has no address`}`);
  return allowed;
}
