// LevelDB as it is bound here does not check the blocks of its tables as it reads them, and ends the whole process when damage made
// their keys come in the wrong order. So every block's checksum is verified before LevelDB sees them.
// Format: LevelDB's doc/table_format.md and table/format.h; Snappy's format_description.txt.
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

const FOOTER_BYTES = 48;
const MAGIC = 0xdb4775248b80fb57n;
/** Of each block: one byte for its compression, four for its checksum. */
const TRAILER_BYTES = 5;
const BLOCK_MOST_BYTES = 64 << 20;
const [RAW, SNAPPY] = [0, 1];

/** What is wrong with the first damaged table of the database in `directory`, if there is one; undefined: every block verifies. */
export async function damagedTable(directory: string): Promise<string | undefined> {
  const names = await readdir(directory).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT" || error.code === "ENOTDIR") return [];
    throw error;
  });
  const tables = names.filter((name) => /^\d+\.(ldb|sst)$/.test(name)).sort();
  for (const name of tables) {
    const reason = tableDamage(await readFile(join(directory, name)));
    if (reason !== undefined) return `table ${name}: ${reason}`;
  }
  return undefined;
}

/** What is wrong with a table; undefined when all its blocks match their checksums. */
export function tableDamage(table: Buffer): string | undefined {
  try {
    const footer = table.subarray(table.length - FOOTER_BYTES);
    if (footer.length < FOOTER_BYTES || footer.readBigUInt64LE(FOOTER_BYTES - 8) !== MAGIC)
      return "its end is not there";
    const reader = new Reader(footer);
    const [meta, index] = [handle(reader), handle(reader)];
    for (const one of [...handlesIn(block(table, meta)), ...handlesIn(block(table, index))]) checked(table, one);
    return undefined;
  } catch (error) {
    if (error instanceof Damage) return error.message;
    throw error;
  }
}

class Damage extends Error {}

interface Handle {
  offset: number;
  size: number;
}

class Reader {
  readonly bytes: Buffer;
  at = 0;
  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }
  take(length: number): Buffer {
    if (this.at + length > this.bytes.length) throw new Damage("it breaks off");
    this.at += length;
    return this.bytes.subarray(this.at - length, this.at);
  }
  /** Below 2^53: no offset in a file is larger. */
  varint(): number {
    let value = 0;
    for (let factor = 1; factor <= 2 ** 49; factor *= 128) {
      const byte = this.take(1)[0]!;
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
    throw new Damage("a number in it has no end");
  }
}

function handle(reader: Reader): Handle {
  return { offset: reader.varint(), size: reader.varint() };
}

/** The block's bytes as they are stored, once they match their checksum. */
function checked(table: Buffer, { offset, size }: Handle): { type: number; bytes: Buffer } {
  if (size > BLOCK_MOST_BYTES || offset + size + TRAILER_BYTES > table.length)
    throw new Damage(`the block at ${offset} is said to end after the table`);
  const stored = table.readUInt32LE(offset + size + 1);
  if (masked(crc32c(table.subarray(offset, offset + size + 1))) !== stored)
    throw new Damage(`the block at ${offset} does not match its checksum`);
  return { type: table[offset + size]!, bytes: table.subarray(offset, offset + size) };
}

function block(table: Buffer, at: Handle): Buffer {
  const { type, bytes } = checked(table, at);
  if (type === RAW) return bytes;
  if (type === SNAPPY) return unsnappy(bytes);
  throw new Damage(`the block at ${at.offset} is compressed in a way that is not known`);
}

/** The handles that a block of handles names: its values, keys left aside. */
function handlesIn(bytes: Buffer): Handle[] {
  const restarts = bytes.length < 4 ? -1 : bytes.readUInt32LE(bytes.length - 4);
  const end = bytes.length - 4 - 4 * restarts;
  if (restarts < 0 || end < 0) throw new Damage("a block of it has no end");
  const found: Handle[] = [];
  const reader = new Reader(bytes.subarray(0, end));
  while (reader.at < end) {
    reader.varint(); // of the key, what it shares with the one before
    const [keyBytes, valueBytes] = [reader.varint(), reader.varint()];
    reader.take(keyBytes);
    found.push(handle(new Reader(reader.take(valueBytes))));
  }
  return found;
}

function unsnappy(bytes: Buffer): Buffer {
  const reader = new Reader(bytes);
  const size = reader.varint();
  if (size > BLOCK_MOST_BYTES) throw new Damage("a block of it is too large");
  const out = Buffer.alloc(size);
  let at = 0;
  const room = (length: number) => {
    if (at + length > size) throw new Damage("a block of it unpacks to more than it says");
  };
  while (reader.at < bytes.length) {
    const tag = reader.take(1)[0]!;
    if ((tag & 3) === 0) {
      const short = tag >> 2;
      const length = (short < 60 ? short : reader.take(short - 59).readUIntLE(0, short - 59)) + 1;
      room(length);
      at += reader.take(length).copy(out, at);
      continue;
    }
    const wide = (tag & 3) === 3 ? 4 : tag & 3;
    const length = wide === 1 ? ((tag >> 2) & 7) + 4 : (tag >> 2) + 1;
    const back = reader.take(wide).readUIntLE(0, wide) + (wide === 1 ? (tag >> 5) * 256 : 0);
    if (back === 0 || back > at) throw new Damage("a block of it copies from before its begin");
    room(length);
    for (const end = at + length; at < end; at++) out[at] = out[at - back]!; // what it copies may be what it writes
  }
  if (at !== size) throw new Damage("a block of it unpacks to less than it says");
  return out;
}

/** CRC-32C (RFC 3720, appendix B.4), a table per byte of four. */
const TABLES = tables();

function tables(): Uint32Array[] {
  const first = new Uint32Array(256);
  for (let n = 0; n < 256; n++) {
    let crc = n;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
    first[n] = crc >>> 0;
  }
  const all = [first];
  for (let k = 1; k < 4; k++) all.push(all[k - 1]!.map((crc) => (crc >>> 8) ^ first[crc & 255]!));
  return all;
}

export function crc32c(bytes: Buffer): number {
  const [t0, t1, t2, t3] = TABLES as [Uint32Array, Uint32Array, Uint32Array, Uint32Array];
  let crc = 0xffffffff;
  let at = 0;
  for (const end = bytes.length - 3; at < end; at += 4) {
    crc ^= bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
    crc = t3[crc & 255]! ^ t2[(crc >>> 8) & 255]! ^ t1[(crc >>> 16) & 255]! ^ t0[crc >>> 24]!;
  }
  for (; at < bytes.length; at++) crc = (crc >>> 8) ^ t0[(crc ^ bytes[at]!) & 255]!;
  return (crc ^ 0xffffffff) >>> 0;
}

/** As LevelDB stores a checksum: checksums of what holds checksums are to be no weaker (util/crc32c.h). */
const masked = (crc: number): number => (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
