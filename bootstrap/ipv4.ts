// IPv4 addresses as numbers, and the network a boot interface is on.

export interface Network {
  /** Dotted address of the network itself. */
  address: string;
  prefix: number;
}

const DOTTED = /^(25[0-5]|2[0-4]\d|1?\d?\d)(\.(25[0-5]|2[0-4]\d|1?\d?\d)){3}$/;

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
