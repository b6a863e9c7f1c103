// A GPT with its copy at the end and a protective MBR, as bytes and places. UEFI 2.10, 5.2.3 and 5.3. Sectors of 512 bytes.
import { crc32 } from "node:zlib";
import type { Part } from "./layout.ts";

const SECTOR = 512;
const ENTRIES = 128;
const ENTRY_BYTES = 128;
const TABLE_SECTORS = (ENTRIES * ENTRY_BYTES) / SECTOR;

/** EFI system partition, Linux file system. */
const TYPES = { efi: "c12a7328-f81f-11d2-ba4b-00a0c93ec93b", linux: "0fc63daf-8483-4772-8e79-3d69d8477de4" } as const;

/** In the order in which they are to be written: the front last, since that is what firmware looks for. */
export function gptOf(parts: readonly Part[], sizeBytes: number, diskUuid: string): { at: number; bytes: Buffer }[] {
  const sectors = Math.floor(sizeBytes / SECTOR);
  const last = sectors - 1;
  const entries = Buffer.alloc(ENTRIES * ENTRY_BYTES);
  for (const [n, { type, uuid, at, sizeBytes: length, name }] of parts.entries()) {
    const row = entries.subarray(n * ENTRY_BYTES, (n + 1) * ENTRY_BYTES);
    guid(TYPES[type]).copy(row, 0);
    guid(uuid).copy(row, 16);
    row.writeBigUInt64LE(BigInt(at / SECTOR), 32);
    row.writeBigUInt64LE(BigInt((at + length) / SECTOR - 1), 40);
    row.write(name, 56, 72, "utf16le");
  }
  const header = (own: number, other: number, table: number): Buffer => {
    const bytes = Buffer.alloc(SECTOR);
    bytes.write("EFI PART", 0, "latin1");
    bytes.writeUInt32LE(0x00010000, 8);
    bytes.writeUInt32LE(92, 12);
    bytes.writeBigUInt64LE(BigInt(own), 24);
    bytes.writeBigUInt64LE(BigInt(other), 32);
    bytes.writeBigUInt64LE(BigInt(2 + TABLE_SECTORS), 40);
    bytes.writeBigUInt64LE(BigInt(last - TABLE_SECTORS - 1), 48);
    guid(diskUuid).copy(bytes, 56);
    bytes.writeBigUInt64LE(BigInt(table), 72);
    bytes.writeUInt32LE(ENTRIES, 80);
    bytes.writeUInt32LE(ENTRY_BYTES, 84);
    bytes.writeUInt32LE(crc32(entries), 88);
    bytes.writeUInt32LE(crc32(bytes.subarray(0, 92)), 16);
    return bytes;
  };
  const mbr = Buffer.alloc(SECTOR);
  mbr.write("00000200eeffffff01000000", 446, "hex");
  mbr.writeUInt32LE(Math.min(0xffffffff, last), 458);
  mbr.writeUInt16BE(0x55aa, 510);
  return [
    { at: (last - TABLE_SECTORS) * SECTOR, bytes: Buffer.concat([entries, header(last, 1, last - TABLE_SECTORS)]) },
    { at: 0, bytes: Buffer.concat([mbr, header(1, last, 2), entries]) },
  ];
}

/** The first three parts of a GUID are little endian on the disk. */
function guid(text: string): Buffer {
  const bytes = Buffer.from(text.replaceAll("-", ""), "hex");
  return Buffer.concat([
    bytes.subarray(0, 4).reverse(),
    bytes.subarray(4, 6).reverse(),
    bytes.subarray(6, 8).reverse(),
    bytes.subarray(8),
  ]);
}
