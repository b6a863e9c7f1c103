// The DHCP wire format, both ways: RFC 2131 header, RFC 2132 options, RFC 3396 long options, option 52 overload (read,
// never written). Bytes come from anyone on the LAN: parsing returns a reason instead of throwing.
import { toNumber } from "#lib/ipv4.ts";
import { OPTION } from "./options.ts";

export interface Packet {
  /** 1 request, 2 reply. */
  op: number;
  htype: number;
  hlen: number;
  hops: number;
  xid: number;
  secs: number;
  flags: number;
  ciaddr: string;
  yiaddr: string;
  siaddr: string;
  giaddr: string;
  /** 16 bytes; the hardware address is the first `hlen` of them. */
  chaddr: Buffer;
  sname: string;
  file: string;
  /** Option code to its whole value, parts joined in order. */
  options: Map<number, Buffer>;
}

export type ParsedPacket = { ok: true; packet: Packet } | { ok: false; reason: string };

export const NO_ADDRESS = "0.0.0.0";
export const BROADCAST_FLAG = 0x8000;
const HEADER_BYTES = 236;
const MAGIC = 0x63825363;
const MIN_REPLY_BYTES = 300; // BOOTP minimum: some ROMs drop less
const MAX_PACKET_BYTES = 1500;

/** Values are views of `bytes`. */
export function parsePacket(bytes: Buffer): ParsedPacket {
  if (bytes.length < HEADER_BYTES + 4) return refuse("shorter than a DHCP header");
  if (bytes.length > MAX_PACKET_BYTES) return refuse("longer than an Ethernet frame");
  if (bytes.readUInt32BE(HEADER_BYTES) !== MAGIC) return refuse("no magic cookie");
  const hlen = bytes[2]!;
  if (hlen > 16) return refuse("hardware address longer than 16 bytes");
  const options = new Map<number, Buffer>();
  const wrong = readOptions(bytes.subarray(HEADER_BYTES + 4), options);
  if (wrong) return refuse(wrong);
  const overload = options.get(OPTION.overload)?.[0] ?? 0;
  const file = bytes.subarray(108, 236);
  const sname = bytes.subarray(44, 108);
  const wrongOverload = (overload & 1 && readOptions(file, options)) || (overload & 2 && readOptions(sname, options));
  if (wrongOverload) return refuse(wrongOverload);
  return {
    ok: true,
    packet: {
      op: bytes[0]!,
      htype: bytes[1]!,
      hlen,
      hops: bytes[3]!,
      xid: bytes.readUInt32BE(4),
      secs: bytes.readUInt16BE(8),
      flags: bytes.readUInt16BE(10),
      ciaddr: addressAt(bytes, 12),
      yiaddr: addressAt(bytes, 16),
      siaddr: addressAt(bytes, 20),
      giaddr: addressAt(bytes, 24),
      chaddr: bytes.subarray(28, 44),
      sname: overload & 2 ? "" : terminated(sname),
      file: overload & 1 ? "" : terminated(file),
      options,
    },
  };
}

/** How long encodePacket will make it. */
export function encodedBytes({ options }: Packet): number {
  let size = HEADER_BYTES + 4 + 1;
  for (const value of options.values()) size += value.length + 2 * Math.max(1, Math.ceil(value.length / 255));
  return Math.max(size, MIN_REPLY_BYTES);
}

/** Bytes of a packet, at least 300; option 82 is written last (RFC 3046 2.1). Throws when a fixed field does not fit. */
export function encodePacket(packet: Packet): Buffer {
  const bytes = Buffer.alloc(encodedBytes(packet));
  bytes[0] = packet.op;
  bytes[1] = packet.htype;
  bytes[2] = packet.hlen;
  bytes[3] = packet.hops;
  bytes.writeUInt32BE(packet.xid, 4);
  bytes.writeUInt16BE(packet.secs, 8);
  bytes.writeUInt16BE(packet.flags, 10);
  writeAddress(bytes, 12, packet.ciaddr);
  writeAddress(bytes, 16, packet.yiaddr);
  writeAddress(bytes, 20, packet.siaddr);
  writeAddress(bytes, 24, packet.giaddr);
  bytes.set(packet.chaddr.subarray(0, 16), 28);
  writeText(bytes, 44, 64, packet.sname);
  writeText(bytes, 108, 128, packet.file);
  bytes.writeUInt32BE(MAGIC, HEADER_BYTES);
  let at = HEADER_BYTES + 4;
  for (const [code, value] of packet.options) if (code !== OPTION.relayAgent) at = writeOption(bytes, at, code, value);
  const relay = packet.options.get(OPTION.relayAgent);
  if (relay) at = writeOption(bytes, at, OPTION.relayAgent, relay);
  bytes[at] = OPTION.end;
  return bytes;
}

/** `aa:bb:cc:dd:ee:ff`, or undefined when the hardware address is not six bytes of Ethernet, or is nobody's. */
export function macOf(packet: Packet): string | undefined {
  if (packet.htype !== 1 || packet.hlen !== 6) return undefined;
  const mac = packet.chaddr.subarray(0, 6);
  if ((mac[0]! & 1) === 1 || mac.every((byte) => byte === 0)) return undefined;
  return mac.toString("hex").replace(/(..)(?=.)/g, "$1:");
}

function readOptions(field: Buffer, into: Map<number, Buffer>): string | undefined {
  let at = 0;
  while (at < field.length) {
    const code = field[at]!;
    if (code === OPTION.end) return undefined;
    if (code === OPTION.pad) {
      at++;
      continue;
    }
    const length = field[at + 1];
    if (length === undefined || at + 2 + length > field.length) return `option ${code} runs past the end`;
    const value = field.subarray(at + 2, at + 2 + length);
    const before = into.get(code);
    into.set(code, before ? Buffer.concat([before, value]) : value);
    at += 2 + length;
  }
  return undefined; // no 255 at the end: tolerated, real ROMs send it so
}

function writeOption(bytes: Buffer, start: number, code: number, value: Buffer): number {
  let at = start;
  for (let from = 0; from === 0 || from < value.length; from += 255) {
    const length = Math.min(255, value.length - from);
    bytes[at] = code;
    bytes[at + 1] = length;
    bytes.set(value.subarray(from, from + length), at + 2);
    at += 2 + length;
  }
  return at;
}

function refuse(reason: string): ParsedPacket {
  return { ok: false, reason };
}

function addressAt(bytes: Buffer, at: number): string {
  return `${bytes[at]}.${bytes[at + 1]}.${bytes[at + 2]}.${bytes[at + 3]}`;
}

function writeAddress(bytes: Buffer, at: number, address: string): void {
  if (address !== NO_ADDRESS) bytes.writeUInt32BE(toNumber(address), at);
}

function writeText(header: Buffer, at: number, size: number, text: string): void {
  if (text === "") return;
  if (Buffer.byteLength(text, "latin1") >= size) throw new RangeError(`${text} does not fit its ${size} byte field`);
  header.write(text, at, "latin1");
}

function terminated(field: Buffer): string {
  const end = field.indexOf(0);
  return field.toString("latin1", 0, end === -1 ? field.length : end);
}
