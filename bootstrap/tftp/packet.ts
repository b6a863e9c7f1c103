// The TFTP wire format, both ways (RFC 1350 section 5, RFC 2347 for options). Pure; decode never throws: what is not
// TFTP comes back as undefined.

export const OPCODE = { rrq: 1, wrq: 2, data: 3, ack: 4, error: 5, oack: 6 } as const;

/** RFC 1350 appendix I and RFC 2347 section 3. */
export const ERROR_CODE = {
  undefined: 0,
  notFound: 1,
  accessViolation: 2,
  illegalOperation: 4,
  unknownTid: 5,
  optionRefused: 8,
} as const;

/** Option names in lower case; the first of two with one name counts. */
export type Options = ReadonlyMap<string, string>;

export interface Request {
  op: "rrq" | "wrq";
  name: string;
  mode: string;
  options: Options;
}
export type Packet =
  | Request
  | { op: "data"; block: number; payload: Buffer }
  | { op: "ack"; block: number }
  | { op: "error"; code: number; message: string }
  | { op: "oack"; options: Options };

/** Longest request looked at; RFC 2347 allows 512, some firmware pads past it. */
const MAX_REQUEST_BYTES = 2048;
const MAX_OPTIONS = 32;

export function decode(packet: Buffer): Packet | undefined {
  if (packet.length < 4 || packet[0] !== 0) return undefined;
  switch (packet[1]) {
    case OPCODE.ack:
      return { op: "ack", block: packet.readUInt16BE(2) };
    case OPCODE.data:
      return { op: "data", block: packet.readUInt16BE(2), payload: packet.subarray(4) };
    case OPCODE.rrq:
    case OPCODE.wrq:
      return decodeRequest(packet);
    case OPCODE.error: {
      const end = packet.indexOf(0, 4);
      const message = packet.toString("latin1", 4, Math.min(end === -1 ? packet.length : end, 4 + 256));
      return { op: "error", code: packet.readUInt16BE(2), message };
    }
    case OPCODE.oack:
      return { op: "oack", options: pairs(strings(packet, 2)) };
    default:
      return undefined;
  }
}

function decodeRequest(packet: Buffer): Request | undefined {
  if (packet.length > MAX_REQUEST_BYTES) return undefined;
  const [name, mode, ...rest] = strings(packet, 2);
  if (!name || !mode) return undefined;
  return { op: packet[1] === OPCODE.rrq ? "rrq" : "wrq", name, mode: mode.toLowerCase(), options: pairs(rest) };
}

/** The zero-terminated strings from `start` on; an unterminated tail is dropped. Latin-1 keeps every byte (firmware pads with 0xff). */
function strings(packet: Buffer, start: number): string[] {
  const found: string[] = [];
  for (let at = start; at < packet.length && found.length < 2 + 2 * MAX_OPTIONS; ) {
    const end = packet.indexOf(0, at);
    if (end === -1) break;
    found.push(packet.toString("latin1", at, end));
    at = end + 1;
  }
  return found;
}

function pairs(list: readonly string[]): Options {
  const options = new Map<string, string>();
  for (let i = 0; i + 1 < list.length; i += 2) {
    const name = list[i]!.toLowerCase();
    if (name === "") break; // zero padding after the last option
    if (!options.has(name)) options.set(name, list[i + 1]!);
  }
  return options;
}

export function encodeRequest(request: Request): Buffer {
  const fields = [request.name, request.mode, ...[...request.options].flat()];
  return Buffer.concat([Buffer.from([0, OPCODE[request.op]]), Buffer.from(`${fields.join("\0")}\0`, "latin1")]);
}

export function encodeOack(options: Options): Buffer {
  const text = [...options].map(([name, value]) => `${name}\0${value}\0`).join("");
  return Buffer.concat([Buffer.from([0, OPCODE.oack]), Buffer.from(text, "latin1")]);
}

export function encodeAck(block: number): Buffer {
  return Buffer.from([0, OPCODE.ack, (block >> 8) & 0xff, block & 0xff]);
}

export function encodeError(code: number, message: string): Buffer {
  const packet = Buffer.alloc(4 + message.length + 1);
  packet.writeUInt16BE(OPCODE.error, 0);
  packet.writeUInt16BE(code, 2);
  packet.write(message, 4, "latin1");
  return packet;
}

/** Writes the DATA header for an absolute block number, counted from 1; on the wire 65535 is followed by 0. */
export function writeDataHeader(packet: Buffer, offset: number, block: number): void {
  packet.writeUInt16BE(OPCODE.data, offset);
  packet.writeUInt16BE(block & 0xffff, offset + 2);
}
