// A FAT12 image with a few files, which is what UEFI firmware boots from on a CD. Names are DOS's (8.3, capitals). Pure.
import { type Folder, treeOf } from "#lib/file-tree.ts";

const SECTOR = 512;
const ROOT_ENTRIES = 64;
const ENTRY = 32;
const FATS = 2;
const RESERVED = 1;
/** FAT12 holds fewer; the firmware tells it from FAT16 by that alone. */
const CLUSTERS_MOST = 4_084;
/** El Torito counts in 16 bits. */
const SECTORS_MOST = 0xffff;
const LAST = 0xfff;

/** `files`: by path, such as `EFI/BOOT/BOOTX64.EFI`. */
export function fatImage(files: ReadonlyMap<string, Buffer>): Buffer {
  const root = treeOf(files);
  let perCluster = 4;
  while (clustersOf(root, perCluster * SECTOR, true) > CLUSTERS_MOST - 2) perCluster *= 2;
  const clusterBytes = perCluster * SECTOR;
  const clusters = clustersOf(root, clusterBytes, true);
  const fatSectors = Math.ceil(((clusters + 2) * 12) / 8 / SECTOR);
  const dataAt = RESERVED + FATS * fatSectors + (ROOT_ENTRIES * ENTRY) / SECTOR;
  const sectors = dataAt + clusters * perCluster;
  if (sectors > SECTORS_MOST || perCluster > 64) throw new Error("the files are too large for a CD's boot image");

  const image = Buffer.alloc(sectors * SECTOR);
  image.set([0xeb, 0x3c, 0x90], 0);
  image.write("FLYNN   ", 3, "latin1");
  image.writeUInt16LE(SECTOR, 11);
  image.writeUInt8(perCluster, 13);
  image.writeUInt16LE(RESERVED, 14);
  image.writeUInt8(FATS, 16);
  image.writeUInt16LE(ROOT_ENTRIES, 17);
  image.writeUInt16LE(sectors, 19);
  image.writeUInt8(0xf8, 21);
  image.writeUInt16LE(fatSectors, 22);
  image.writeUInt16LE(32, 24);
  image.writeUInt16LE(64, 26);
  image.writeUInt8(0x80, 36);
  image.writeUInt8(0x29, 38);
  image.writeUInt32LE(0x464c594e, 39);
  image.write("FLYNN      FAT12   ", 43, "latin1");
  image.writeUInt16LE(0xaa55, 510);

  const fat: number[] = [0xff8, LAST];
  const place = (content: Buffer): number => {
    if (content.length === 0) return 0;
    const first = fat.length;
    const count = Math.ceil(content.length / clusterBytes);
    for (let at = 1; at <= count; at++) fat.push(at === count ? LAST : first + at);
    content.copy(image, (dataAt + (first - 2) * perCluster) * SECTOR);
    return first;
  };
  /** The folder's entries, once what is in it has its place. */
  const entriesOf = (folder: Folder, own: number): Buffer[] => [
    ...[...folder.folders].map(([name, inside]) => {
      const bytes = folderBytes(inside, clusterBytes);
      const first = place(Buffer.alloc(bytes));
      const lines = [entry(".", first, 0, true), entry("..", own, 0, true), ...entriesOf(inside, first)];
      Buffer.concat(lines).copy(image, (dataAt + (first - 2) * perCluster) * SECTOR);
      return entry(name, first, 0, true);
    }),
    ...[...folder.files].map(([name, { content }]) => entry(name, place(content), content.length, false)),
  ];
  const entries = entriesOf(root, 0);
  if (entries.length > ROOT_ENTRIES) throw new Error("too many files for a CD's boot image");
  Buffer.concat(entries).copy(image, (RESERVED + FATS * fatSectors) * SECTOR);
  for (let copy = 0; copy < FATS; copy++) writeFat(image, (RESERVED + copy * fatSectors) * SECTOR, fat);
  return image;
}

const folderBytes = ({ folders, files }: Folder, clusterBytes: number): number =>
  Math.ceil(((folders.size + files.size + 2) * ENTRY) / clusterBytes) * clusterBytes;

function clustersOf(folder: Folder, clusterBytes: number, isRoot: boolean): number {
  let count = isRoot ? 0 : folderBytes(folder, clusterBytes) / clusterBytes;
  for (const { content } of folder.files.values()) count += Math.ceil(content.length / clusterBytes);
  for (const inside of folder.folders.values()) count += clustersOf(inside, clusterBytes, false);
  return count;
}

function entry(name: string, cluster: number, size: number, isFolder: boolean): Buffer {
  const bytes = Buffer.alloc(ENTRY);
  const [stem = "", kind = ""] = name.startsWith(".") ? [name] : name.split(".");
  if (stem.length > 8 || kind.length > 3) throw new Error(`${name} is no name of DOS`);
  bytes.write(stem.padEnd(8) + kind.padEnd(3), 0, "latin1");
  bytes.writeUInt8(isFolder ? 0x10 : 0x21, 11);
  bytes.writeUInt16LE(0x21, 24); // the first day that DOS knows
  bytes.writeUInt16LE(cluster, 26);
  bytes.writeUInt32LE(size, 28);
  return bytes;
}

function writeFat(image: Buffer, at: number, fat: readonly number[]): void {
  for (const [n, value] of fat.entries()) {
    const byte = at + Math.floor((n * 3) / 2);
    const two = image.readUInt16LE(byte);
    image.writeUInt16LE(n % 2 === 0 ? (two & 0xf000) | value : (two & 0x000f) | (value << 4), byte);
  }
}
