// Which switch and port a card is plugged into, by what the switch says of itself (LLDP, IEEE 802.1AB). Node has no raw sockets, and needs
// none: systemd-networkd listens anyway (LLDP=yes) and keeps the last frame of each neighbour in /run/systemd/netif/lldp/IFINDEX, each
// with its length before it. Frames are anybody's on that wire: every length is doubted.
import type { InventoryReport } from "#api/inventory.ts";
import { cut, field, told } from "./text.ts";

type Neighbour = NonNullable<InventoryReport["nics"][number]["neighbour"]>;

const FRAMES_MOST = 32;
const FRAME_MOST_BYTES = 9_216;
const ETHER_TYPE = 0x88cc;
const VLAN_TAG = 0x8100;

/** The frames of one such file. */
export function framesOf(file: Buffer): Buffer[] {
  const frames: Buffer[] = [];
  for (let at = 0; at + 8 <= file.length && frames.length < FRAMES_MOST; ) {
    const size = file.readBigUInt64LE(at);
    at += 8;
    if (size > FRAME_MOST_BYTES || at + Number(size) > file.length) break;
    frames.push(file.subarray(at, at + Number(size)));
    at += Number(size);
  }
  return frames;
}

/** The first that names a port: a bridge in between may pass on several. */
export function neighbourOf(file: Buffer): Neighbour | undefined {
  return framesOf(file)
    .map(parseLldp)
    .find((found) => found !== undefined);
}

export function parseLldp(frame: Buffer): Neighbour | undefined {
  if (frame.length < 14) return undefined;
  const tagged = frame.readUInt16BE(12) === VLAN_TAG ? 4 : 0;
  if (frame.length < 14 + tagged || frame.readUInt16BE(12 + tagged) !== ETHER_TYPE) return undefined;
  let found: Neighbour = {};
  for (const { type, value } of tlvs(frame.subarray(14 + tagged))) {
    if (type === 1) found = { ...found, ...field("chassis", idOf(value, MAC_OF_CHASSIS, 64)) };
    else if (type === 2) found = { ...found, ...field("port", idOf(value, MAC_OF_PORT, 64)) };
    else if (type === 4) found = { ...found, ...field("portDescription", told(value.toString("utf8"), 96)) };
    else if (type === 5) found = { ...found, ...field("system", told(value.toString("utf8"), 96)) };
    // IEEE 802.1: port VLAN id.
    else if (type === 127 && value.length >= 6 && value.readUIntBE(0, 3) === 0x0080c2 && value[3] === 1)
      found = { ...found, ...field("vlan", value.readUInt16BE(4) & 0xfff || undefined) };
  }
  return found.port === undefined && found.system === undefined ? undefined : found;
}

const MAC_OF_CHASSIS = 4;
const MAC_OF_PORT = 3;
const ADDRESS = 5;
const ADDRESS_OF_PORT = 4;

function idOf(value: Buffer, macKind: number, most: number): string | undefined {
  const [kind, rest] = [value[0], value.subarray(1)];
  if (kind === macKind && rest.length === 6) return rest.toString("hex").match(/../g)!.join(":");
  const isAddress = kind === (macKind === MAC_OF_CHASSIS ? ADDRESS : ADDRESS_OF_PORT);
  if (isAddress && rest[0] === 1 && rest.length === 5) return [...rest.subarray(1)].join(".");
  return told(cut(rest.toString("utf8"), most), most);
}

function* tlvs(bytes: Buffer): Generator<{ type: number; value: Buffer }> {
  for (let at = 0; at + 2 <= bytes.length; ) {
    const head = bytes.readUInt16BE(at);
    const [type, length] = [head >> 9, head & 0x1ff];
    at += 2;
    if (type === 0 || at + length > bytes.length) return;
    yield { type, value: bytes.subarray(at, at + length) };
    at += length;
  }
}
