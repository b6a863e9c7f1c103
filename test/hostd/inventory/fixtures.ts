// SMBIOS tables (DMTF DSP0134) and LLDP frames (IEEE 802.1AB), put together as firmware and switches do.

/** `bytes`: the formatted part after the header. */
export function structure(type: number, bytes: readonly number[], strings: readonly string[]): Buffer {
  const head = Buffer.from([type, 4 + bytes.length, 0, type]);
  const text = strings.length === 0 ? Buffer.from([0, 0]) : Buffer.from(`${strings.join("\0")}\0\0`, "latin1");
  return Buffer.concat([head, Buffer.from(bytes), text]);
}

export const table = (...structures: readonly Buffer[]): Buffer => Buffer.concat(structures);

export interface Module {
  slot: string;
  megabytes: number;
  kind: number;
  speed?: number;
  serial?: string;
  part?: string;
}

/** Structure type 17, as of SMBIOS 2.8 (0x28 bytes). */
export function dimm({ slot, megabytes, kind, speed = 0, serial, part }: Module): Buffer {
  const body = Buffer.alloc(0x28 - 4);
  const at = (offset: number) => offset - 4;
  const far = megabytes >= 0x7fff;
  body.writeUInt16LE(far ? 0x7fff : megabytes, at(0x0c));
  if (far) body.writeUInt32LE(megabytes, at(0x1c));
  body[at(0x10)] = 1;
  body[at(0x12)] = kind;
  body.writeUInt16LE(speed, at(0x15));
  const strings = [slot];
  for (const [text, offset] of [
    [serial, 0x18],
    [part, 0x1a],
  ] as const)
    if (text !== undefined) body[at(offset)] = strings.push(text);
  return structure(17, [...body], strings);
}

const tlv = (type: number, value: Buffer): Buffer => {
  const head = Buffer.alloc(2);
  head.writeUInt16BE((type << 9) | value.length);
  return Buffer.concat([head, value]);
};

export function lldpFrame(of: { system: string; port: string; description?: string; vlan?: number }): Buffer {
  const { system, port, description, vlan } = of;
  return Buffer.concat([
    Buffer.from("0180c200000e0200000000fe88cc", "hex"),
    tlv(1, Buffer.from("040200000000fe", "hex")),
    tlv(2, Buffer.concat([Buffer.from([5]), Buffer.from(port)])),
    tlv(3, Buffer.from([0, 120])),
    ...(description === undefined ? [] : [tlv(4, Buffer.from(description))]),
    tlv(5, Buffer.from(system)),
    ...(vlan === undefined ? [] : [tlv(127, Buffer.from([0, 0x80, 0xc2, 1, vlan >> 8, vlan & 255]))]),
    tlv(0, Buffer.alloc(0)),
  ]);
}

/** A file of /run/systemd/netif/lldp: each frame with its length, 64 bits little-endian, before it. */
export function savedFrames(...frames: readonly Buffer[]): Buffer {
  return Buffer.concat(
    frames.flatMap((frame) => {
      const size = Buffer.alloc(8);
      size.writeBigUInt64LE(BigInt(frame.length));
      return [size, frame];
    }),
  );
}
