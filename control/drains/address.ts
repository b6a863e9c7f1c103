// Which addresses a drain may send to, so that nobody reaches with it what only control can reach (server-side request forgery).
// Public addresses are free; private ones and loopback need control's configuration `drainAllow`; the cluster's own network and
// link-local addresses (cloud metadata) are never sent to. Pure, but for the look-up of names.
import { lookup } from "node:dns/promises";
import { BlockList, isIP } from "node:net";
import { Fault } from "#api/fault.ts";
import { deadline } from "#lib/time.ts";

export interface AddressPolicy {
  /** CIDRs that are sent to though they are private. */
  allow: readonly string[];
  clusterRange: string;
  /** Addresses of control and of hosts: only when `allow` has exactly them. */
  members: () => readonly string[];
}

// RFC 6890 and its registries; 168.63.129.16 and fd00:ec2::254 are clouds' metadata services outside of link-local.
const NEVER = [
  ...["0.0.0.0/8", "169.254.0.0/16", "168.63.129.16/32", "192.0.0.0/24", "198.18.0.0/15", "224.0.0.0/3"],
  ...[
    "::/128",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
    "fd00:ec2::/32",
    "100::/64",
    "2001::/23",
    "2002::/16",
    "64:ff9b::/32",
  ],
];
const PRIVATE = [
  "10.0.0.0/8",
  "100.64.0.0/10",
  "127.0.0.0/8",
  "172.16.0.0/12",
  "192.168.0.0/16",
  "::1/128",
  "fc00::/7",
];

function listOf(ranges: readonly string[]): BlockList {
  const list = new BlockList();
  for (const range of ranges) {
    const [base = "", bits] = range.split("/");
    const family = isIP(base);
    if (family === 0) throw new Error(`${range} is no address range`);
    list.addSubnet(base, Number(bits ?? (family === 6 ? 128 : 32)), family === 6 ? "ipv6" : "ipv4");
  }
  return list;
}

const holds = (ranges: readonly string[], address: string): boolean =>
  listOf(ranges).check(address, isIP(address) === 6 ? "ipv6" : "ipv4");

/** Why the address may not be sent to; undefined when it may. */
export function refusal(given: string, { allow, clusterRange, members }: AddressPolicy): string | undefined {
  const address = unmapped(given);
  if (isIP(address) === 0) return `${given} is no address`;
  if (holds(NEVER, address)) return `${address} is link-local or reserved`;
  if (holds([clusterRange], address)) return `${address} is in the cluster's own network`;
  const exactly = allow.some((range) => range === address || range === `${address}/${isIP(address) === 6 ? 128 : 32}`);
  if (members().includes(address) && !exactly) return `${address} is a machine of the cluster`;
  if (!holds(PRIVATE, address) || holds(allow, address)) return undefined;
  return `${address} is private; an operator allows it: flynn up --drain-allow ${address}/${isIP(address) === 6 ? 128 : 32} (control's setting drainAllow)`;
}

/** An IPv4 address in its IPv6 clothes (::ffff:127.0.0.1, ::ffff:7f00:1, ::127.0.0.1) -> as IPv4. */
function unmapped(address: string): string {
  if (isIP(address) !== 6) return address;
  const plain = new URL(`http://[${address.split("%")[0]}]/`).hostname.slice(1, -1);
  const match = /^::(?:ffff:)?([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(plain);
  if (match === null) return plain;
  const [high, low] = [Number.parseInt(match[1]!, 16), Number.parseInt(match[2]!, 16)];
  return [high >> 8, high & 255, low >> 8, low & 255].join(".");
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
