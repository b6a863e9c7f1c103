// A FAT32 file system with a few files, made in memory and the same to the byte each time: what UEFI firmware starts from. Names are
// 8.3, one sector is one cluster, and each file lies in one piece, so that its place on the disk is known without reading anything.
// Microsoft, "FAT32 File System Specification" 1.03.
import { type Folder, treeOf } from "#lib/file-tree.ts";

const SECTOR = 512;
const RESERVED = 32;
const END_OF_CHAIN = 0x0fffffff;

export interface FatOptions {
  sizeBytes: number;
  label: string;
  /** Sectors before it on the disk. */
  hiddenSectors: number;
  /** By path, such as `EFI/BOOT/BOOTX64.EFI`. */
  files: ReadonlyMap<string, Buffer>;
}
export interface Fat {
  bytes: Buffer;
  /** Where each file begins in it. */
  at: ReadonlyMap<string, number>;
}

export function makeFat({ sizeBytes, label, hiddenSectors, files }: FatOptions): Fat {
  const sectors = Math.floor(sizeBytes / SECTOR);
  const fatSectors = Math.ceil(((sectors - RESERVED) * 4) / (SECTOR + 8)) + 1;
  const dataSector = RESERVED + 2 * fatSectors;
  // By this count, and nothing else, readers tell FAT32 from FAT16.
  if (sectors - dataSector < 65_525) throw new Error("a FAT32 needs 65525 clusters");
  const bytes = Buffer.alloc(sectors * SECTOR);
  bootSector(bytes, { sectors, fatSectors, label, hiddenSectors });
  const fat = [0x0ffffff8, END_OF_CHAIN];
  const at = new Map<string, number>();
  const offsetOf = (cluster: number) => (dataSector + cluster - 2) * SECTOR;
  const place = (content: Buffer): number => {
    const first = fat.length;
    const count = Math.max(1, Math.ceil(content.length / SECTOR));
    if (offsetOf(first + count) > bytes.length) throw new Error("the files do not fit the partition");
    for (let n = 1; n <= count; n++) fat.push(n === count ? END_OF_CHAIN : first + n);
    content.copy(bytes, offsetOf(first));
    return first;
  };
  /** Its place first, as entries in it name their folder's own; its bytes when they are known. */
  const write = (folder: Folder, parent: number | undefined): number => {
    const size = 2 + folder.folders.size + folder.files.size;
    const own = place(Buffer.alloc(size * 32));
    const rows = parent === undefined ? [entry(label, 8, 0, 0)] : [entry(".", 16, own, 0), entry("..", 16, parent, 0)];
    for (const [name, { path, content }] of folder.files) {
      const first = place(content);
      at.set(path, offsetOf(first));
      rows.push(entry(shortName(name), 32, first, content.length));
    }
    // The root is 0 to the folders in it.
    for (const [name, one] of folder.folders)
      rows.push(entry(shortName(name), 16, write(one, parent === undefined ? 0 : own), 0));
    Buffer.concat(rows).copy(bytes, offsetOf(own));
    return own;
  };
  write(treeOf(files), undefined);
  for (const copy of [0, 1])
    for (const [n, value] of fat.entries()) bytes.writeUInt32LE(value, (RESERVED + copy * fatSectors) * SECTOR + n * 4);
  return { bytes, at };
}

function shortName(name: string): string {
  const [, base, extension = ""] = /^([A-Z0-9_-]{1,8})(?:\.([A-Z0-9]{1,3}))?$/.exec(name) ?? [];
  if (base === undefined) throw new Error(`${name} is no 8.3 name`);
  return base.padEnd(8) + extension.padEnd(3);
}

function entry(name: string, attributes: number, cluster: number, sizeBytes: number): Buffer {
  const row = Buffer.alloc(32);
  row.write(name.padEnd(11), 0, 11, "latin1");
  row[11] = attributes;
  row.writeUInt16LE(cluster >>> 16, 20);
  row.writeUInt16LE(cluster & 0xffff, 26);
  row.writeUInt16LE(0x21, 16); // 1980-01-01
  row.writeUInt16LE(0x21, 24);
  row.writeUInt32LE(sizeBytes, 28);
  return row;
}

function bootSector(
  bytes: Buffer,
  {
    sectors,
    fatSectors,
    label,
    hiddenSectors,
  }: { sectors: number; fatSectors: number; label: string; hiddenSectors: number },
): void {
  const boot = Buffer.alloc(SECTOR);
  boot.write("eb5890", 0, "hex");
  boot.write("FLYNN   ", 3, "latin1");
  boot.writeUInt16LE(SECTOR, 11);
  boot[13] = 1;
  boot.writeUInt16LE(RESERVED, 14);
  boot[16] = 2;
  boot[21] = 0xf8;
  boot.writeUInt16LE(63, 24);
  boot.writeUInt16LE(255, 26);
  boot.writeUInt32LE(hiddenSectors, 28);
  boot.writeUInt32LE(sectors, 32);
  boot.writeUInt32LE(fatSectors, 36);
  boot.writeUInt32LE(2, 44);
  boot.writeUInt16LE(1, 48);
  boot.writeUInt16LE(6, 50);
  boot[64] = 0x80;
  boot[66] = 0x29;
  boot.write(label.padEnd(11), 71, 11, "latin1");
  boot.write("FAT32   ", 82, "latin1");
  boot.writeUInt16BE(0x55aa, 510);
  const info = Buffer.alloc(SECTOR);
  info.write("RRaA", 0, "latin1");
  info.write("rrAa", 484, "latin1");
  info.fill(0xff, 488, 496);
  info.writeUInt16BE(0x55aa, 510);
  for (const first of [0, 6]) {
    boot.copy(bytes, first * SECTOR);
    info.copy(bytes, (first + 1) * SECTOR);
  }
}
