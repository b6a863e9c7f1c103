// IPv4 addresses as numbers, networks, and spans of a network that a DHCP server may give out.

export interface Network {
  /** Dotted address of the network itself. */
  address: string;
  prefix: number;
}

/** A zero before a byte is refused, as inet_pton does: other readers take such a byte as octal, and texts of one address would differ. */
const DOTTED = /^(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(\.(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)){3}$/;

export function isAddress(text: string): boolean {
  return DOTTED.test(text);
}

/** Of a checked dotted address. */
export function toNumber(address: string): number {
  let value = 0;
  let byte = 0;
  for (let at = 0; at < address.length; at++) {
    const code = address.charCodeAt(at);
    if (code !== 46) byte = byte * 10 + code - 48;
    else {
      value = (value << 8) | byte;
      byte = 0;
    }
  }
  return ((value << 8) | byte) >>> 0;
}

export function toAddress(value: number): string {
  return `${value >>> 24}.${(value >>> 16) & 255}.${(value >>> 8) & 255}.${value & 255}`;
}

export function maskOf(prefix: number): string {
  return toAddress(prefix === 0 ? 0 : (0xffffffff << (32 - prefix)) >>> 0);
}

/** `10.77.0.1/24` as its network; undefined when it is not one. */
export function parseNetwork(cidr: string): Network | undefined {
  const [address = "", bits = ""] = cidr.split("/");
  const prefix = Number(bits);
  if (!isAddress(address) || !/^\d{1,2}$/.test(bits) || prefix > 32) return undefined;
  return { address: toAddress((toNumber(address) & toNumber(maskOf(prefix))) >>> 0), prefix };
}

export function contains(network: Network, address: string): boolean {
  const mask = toNumber(maskOf(network.prefix));
  return (toNumber(address) & mask) >>> 0 === toNumber(network.address);
}

export function broadcastOf(network: Network): string {
  return toAddress((toNumber(network.address) | ~toNumber(maskOf(network.prefix))) >>> 0);
}

/** A DHCP relay, `10.88.0.1/24` or `10.88.0.1/24@10.77.0.254` when it sends from that one; or what is wrong with it, in words. */
export function parseRelay(
  text: string,
  own: Network,
): { address: string; network: Network; uplink?: string } | string {
  const [range = "", uplink, ...more] = text.split("@");
  const network = parseNetwork(range);
  if (more.length > 0 || (uplink !== undefined && !isAddress(uplink)))
    return "names no address after its @, such as 10.88.0.1/24@10.77.0.254";
  if (network === undefined || network.prefix < 8 || network.prefix > 30)
    return "is not an address with its prefix, such as 10.88.0.1/24";
  if (contains(own, network.address) || contains(network, own.address))
    return "is our own network; relays are for others";
  return { address: range.split("/")[0]!, network, ...(uplink === undefined ? {} : { uplink }) };
}

/** Most addresses that a span may hold. */
const SPAN_MOST = 65_536;

/**
 * `10.77.0.50-10.77.0.99` as a span to give out on `network`, on which `own` is our address; or what is wrong with it, in words. The
 * network's own address, its broadcast and ours are nobody else's.
 */
export function parseSpan(text: string, network: Network, own: string): { first: string; last: string } | string {
  const [first = "", last = "", ...more] = text.split("-").map((part) => part.trim());
  if (!isAddress(first) || !isAddress(last) || more.length > 0) return "it is not two addresses, FIRST-LAST";
  for (const end of [first, last])
    if (!contains(network, end)) return `${end} is not in ${network.address}/${network.prefix}`;
  const [from, to] = [toNumber(first), toNumber(last)];
  if (from > to) return `its first address comes after its last; turned round it is ${last}-${first}`;
  if (to - from >= SPAN_MOST) return `it holds ${to - from + 1} addresses; ${SPAN_MOST} is the most`;
  const kept = [
    [network.address, "the network's own address"],
    [broadcastOf(network), "the network's broadcast address"],
    [own, "this machine's own address"],
  ] as const;
  for (const [address, whose] of kept)
    if (from <= toNumber(address) && toNumber(address) <= to) return `it holds ${address}, ${whose}`;
  return { first, last };
}

/** A span that could be given out: of the network's halves without its ends, the one that `own` is not in. */
export function exampleSpan(network: Network, own: string): string {
  const { first, last } = upperHalf(network);
  if (toNumber(own) < toNumber(first)) return `${first}-${last}`;
  const start = toNumber(network.address);
  return `${toAddress(start + 1)}-${toAddress(Math.min(toNumber(first) - 1, start + SPAN_MOST))}`;
}

/** Without the broadcast address, and no more than a span may hold. */
export function upperHalf({ address, prefix }: Network): { first: string; last: string } {
  const half = 2 ** (31 - prefix);
  const first = toNumber(address) + half;
  return { first: toAddress(first), last: toAddress(Math.min(first + half - 2, first + SPAN_MOST - 1)) };
}
