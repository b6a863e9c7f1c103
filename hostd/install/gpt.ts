// A GPT with its copy at the end and a protective MBR, as bytes and places. UEFI 2.10, 5.2.3 and 5.3. Sectors of 512 bytes.
import { crc32 } from "node:zlib";
import type { Part } from "./layout.ts";

const SECTOR = 512;
const ENTRIES = 128;
const ENTRY_BYTES = 128;
const TABLE_SECTORS = (ENTRIES * ENTRY_BYTES) / SECTOR;

/** EFI system partition, Linux file system, and GRUB's for machines with a BIOS. */
const TYPES = {
  efi: "c12a7328-f81f-11d2-ba4b-00a0c93ec93b",
  linux: "0fc63daf-8483-4772-8e79-3d69d8477de4",
  bios: "21686148-6449-6e6f-744e-656564454649",
} as const;
/** Of a disk that boots nothing yet: `int 18h`, by which a BIOS goes on with what it boots next. */
const NOTHING_YET = "cd18";

/** The protective MBR, with code that a BIOS runs. */
export function firstSector(sizeBytes: number, code: Buffer = Buffer.from(NOTHING_YET, "hex")): Buffer {
  const mbr = Buffer.alloc(SECTOR);
  code.copy(mbr, 0, 0, 440);
  mbr.write("00000200eeffffff01000000", 446, "hex");
  mbr.writeUInt32LE(Math.min(0xffffffff, Math.floor(sizeBytes / SECTOR) - 1), 458);
  mbr.writeUInt16BE(0x55aa, 510);
  return mbr;
}

/** All but the first sector, which comes last: without it nobody takes the rest for a table. */
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
  return [
    { at: (last - TABLE_SECTORS) * SECTOR, bytes: Buffer.concat([entries, header(last, 1, last - TABLE_SECTORS)]) },
    { at: SECTOR, bytes: Buffer.concat([header(1, last, 2), entries]) },
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

/** The disk's own name in a header of the table at its front; undefined where there is none. */
export function diskUuidOf(header: Buffer): string | undefined {
  if (header.length < 92 || header.toString("latin1", 0, 8) !== "EFI PART") return undefined;
  const mixed = header.subarray(56, 72);
  const hex = Buffer.concat([
    Buffer.from(mixed.subarray(0, 4)).reverse(),
    Buffer.from(mixed.subarray(4, 6)).reverse(),
    Buffer.from(mixed.subarray(6, 8)).reverse(),
    mixed.subarray(8),
  ]).toString("hex");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}
