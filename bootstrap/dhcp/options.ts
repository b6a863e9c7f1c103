// DHCP option numbers (RFC 2132, 3046, 4578; iPXE's 175) and readers and writers of their values. Readers return
// undefined for a value that has not the shape the option's document gives it.

import { toNumber } from "#lib/ipv4.ts";

export const OPTION = {
  pad: 0,
  mask: 1,
  router: 3,
  dns: 6,
  hostname: 12,
  domain: 15,
  broadcast: 28,
  ntp: 42,
  vendor: 43,
  requestedAddress: 50,
  leaseSeconds: 51,
  overload: 52,
  messageType: 53,
  serverId: 54,
  parameterList: 55,
  message: 56,
  maxSize: 57,
  renewSeconds: 58,
  rebindSeconds: 59,
  vendorClass: 60,
  clientId: 61,
  tftpServer: 66,
  bootfile: 67,
  userClass: 77,
  relayAgent: 82,
  clientArch: 93,
  clientUndi: 94,
  clientGuid: 97,
  ipxe: 175,
  end: 255,
} as const;

export const MESSAGE = {
  discover: 1,
  offer: 2,
  request: 3,
  decline: 4,
  ack: 5,
  nak: 6,
  release: 7,
  inform: 8,
} as const;

type Options = ReadonlyMap<number, Buffer>;

/** DHCP message type 1..8 (option 53). Two of them joined are no type at all. */
export function messageType(options: Options): number | undefined {
  const value = options.get(OPTION.messageType);
  return value?.length === 1 && value[0]! >= 1 && value[0]! <= 8 ? value[0]! : undefined;
}

export function address(options: Options, code: number): string | undefined {
  const value = options.get(code);
  return value?.length === 4 ? value.join(".") : undefined;
}

/** Printable ASCII up to the first NUL; undefined when there is none. */
export function text(options: Options, code: number): string | undefined {
  const value = options.get(code);
  if (!value) return undefined;
  const end = value.indexOf(0);
  const ascii = value.toString("latin1", 0, end === -1 ? value.length : end).replace(/[^\x20-\x7e]/g, "");
  return ascii === "" ? undefined : ascii;
}

/** Every architecture of option 93 (RFC 4578 2.1 allows a list). */
export function archs(options: Options): number[] {
  const value = options.get(OPTION.clientArch);
  const list: number[] = [];
  for (let at = 0; value && at + 1 < value.length && list.length < 16; at += 2) list.push(value.readUInt16BE(at));
  return list;
}

/** The user class: iPXE sends the bare text, others the length-prefixed form of RFC 3004. */
export function userClasses(options: Options): string[] {
  const value = options.get(OPTION.userClass);
  if (!value) return [];
  const classes = [value.toString("latin1")];
  for (let at = 0; at < value.length && classes.length < 16; at += 1 + value[at]!) {
    if (value[at] === 0 || at + 1 + value[at]! > value.length) break;
    classes.push(value.toString("latin1", at + 1, at + 1 + value[at]!));
  }
  return classes;
}

/** The SMBIOS UUID of option 97, fields little-endian as in SMBIOS. */
export function guid(options: Options): string | undefined {
  const value = options.get(OPTION.clientGuid);
  if (value?.length !== 17 || value[0] !== 0) return undefined;
  const hex = value.toString("hex", 1);
  const swap = (from: number, to: number) => hex.slice(from, to).match(/../g)!.reverse().join("");
  return [swap(0, 8), swap(8, 12), swap(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}

/** Sub-options of 43 or 175: code to value; what runs past the end is left out. */
export function subOptions(value: Buffer | undefined): Map<number, Buffer> {
  const found = new Map<number, Buffer>();
  for (let at = 0; value && at + 1 < value.length; ) {
    const code = value[at]!;
    if (code === OPTION.end) break;
    if (code === OPTION.pad) {
      at++;
      continue;
    }
    const end = at + 2 + value[at + 1]!;
    if (end > value.length) break;
    found.set(code, value.subarray(at + 2, end));
    at = end;
  }
  return found;
}

export function addressBytes(...addresses: string[]): Buffer {
  const bytes = Buffer.alloc(addresses.length * 4);
  for (const [i, one] of addresses.entries()) bytes.writeUInt32BE(toNumber(one), i * 4);
  return bytes;
}

export function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes;
}

export function ascii(value: string): Buffer {
  return Buffer.from(value, "latin1");
}
