// File systems and swap, by their superblocks: what they are called and how much of them is used, without mounting anything.
import { labelled, type Reader, type Recogniser, text, u64, u64be, usedOf } from "./reader.ts";

const K = 1024;

/** Linux fs/ext4/ext4.h, struct ext4_super_block. */
const ext: Recogniser = async (from) => {
  const sb = await from.read(K, K);
  if (sb.length < K || sb.readUInt16LE(0x38) !== 0xef53) return undefined;
  const [compat, incompat] = [sb.readUInt32LE(0x5c), sb.readUInt32LE(0x60)];
  const blockBytes = K << (sb.readUInt32LE(0x18) & 15);
  const is64 = (incompat & 0x80) !== 0;
  const count = (low: number, high: number) => sb.readUInt32LE(low) + (is64 ? sb.readUInt32LE(high) * 2 ** 32 : 0);
  const [blocks, free] = [count(4, 0x150), count(0x0c, 0x158)];
  const name = (incompat & 0x240) !== 0 ? "ext4" : (compat & 4) !== 0 ? "ext3" : "ext2";
  const mounted = text(sb.subarray(0x88, 0x88 + 64));
  if ((incompat & 8) !== 0) return "the journal of another ext file system";
  return `${name}${labelled(text(sb.subarray(0x78, 0x88)))}${usedOf((blocks - free) * blockBytes, blocks * blockBytes)}${mounted ? `, last mounted at ${mounted}` : ""}`;
};

/** Linux fs/xfs/libxfs/xfs_format.h, struct xfs_dsb. */
const xfs: Recogniser = async (from) => {
  const sb = await from.read(0, 512);
  if (sb.length < 512 || sb.toString("latin1", 0, 4) !== "XFSB") return undefined;
  const blockBytes = sb.readUInt32BE(4);
  const [blocks, free] = [u64be(sb, 8), u64be(sb, 144)];
  return `xfs${labelled(text(sb.subarray(108, 120)))}${usedOf((blocks - free) * blockBytes, blocks * blockBytes)}`;
};

/** Linux include/uapi/linux/btrfs_tree.h, struct btrfs_super_block, at 64 KiB. */
const btrfs: Recogniser = async (from) => {
  const sb = await from.read(64 * K, 4 * K);
  if (sb.length < K || sb.toString("latin1", 0x40, 0x48) !== "_BHRfS_M") return undefined;
  const devices = u64(sb, 0x88);
  const many = devices > 1 ? `, one of its ${devices} disks` : "";
  return `btrfs${labelled(text(sb.subarray(0x12b, 0x12b + 256)))}${usedOf(u64(sb, 0x78), u64(sb, 0x70))}${many}`;
};

/** Magic of 10 bytes at the end of the first page; pages are 4, 8, 16 or 64 KiB. */
const swap: Recogniser = async (from) => {
  for (const page of [4, 8, 16, 64]) {
    const bytes = await from.read(page * K - 10, 10);
    const magic = bytes.toString("latin1");
    if (magic !== "SWAPSPACE2" && magic !== "SWAP-SPACE") continue;
    const label = magic === "SWAPSPACE2" ? text(await from.read(K + 28, 16)) : "";
    return `swap space${labelled(label)}`;
  }
  const hibernated = (await from.read(4 * K - 10, 10)).toString("latin1");
  return /^(S1SUSPEND|S2SUSPEND|ULSUSPEND|LINHIB0001)/.test(hibernated)
    ? "a machine's memory, asleep on disk"
    : undefined;
};

const fat: Recogniser = async (from) => {
  const sector = await from.read(0, 512);
  if (sector.length < 512 || sector.readUInt16BE(510) !== 0x55aa) return undefined;
  const label = (at: number) => text(sector.subarray(at, at + 11));
  const named = (name: string) => labelled(name === "NO NAME" ? "" : name);
  if (sector.toString("latin1", 0x52, 0x57) === "FAT32") return `FAT32${named(label(0x47))}`;
  if (/^FAT1[26]/.test(sector.toString("latin1", 0x36, 0x3b)))
    return `${sector.toString("latin1", 0x36, 0x3b)}${named(label(0x2b))}`;
  return undefined;
};

interface Magic {
  what: string;
  at: number;
  bytes: Buffer;
}
const ascii = (what: string, at: number, magic: string): Magic => ({ what, at, bytes: Buffer.from(magic, "latin1") });
const hex = (what: string, at: number, magic: string): Magic => ({ what, at, bytes: Buffer.from(magic, "hex") });

/** Those of which no more is told than that they are there. */
const PLAIN: readonly Magic[] = [
  ascii("NTFS of Windows", 3, "NTFS    "),
  ascii("exFAT", 3, "EXFAT   "),
  ascii("a disk of Windows, encrypted by BitLocker", 3, "-FVE-FS-"),
  ascii("a squashfs", 0, "hsqs"),
  ascii("APFS of macOS", 32, "NXSB"),
  ascii("HFS+ of macOS", K, "H+\0\x04"),
  ascii("HFS+ of macOS", K, "HX\0\x05"),
  ascii("JFS", 32 * K, "JFS1"),
  ascii("ReiserFS", 64 * K + 52, "ReIsErFs"),
  ascii("ReiserFS", 64 * K + 52, "ReIsEr2Fs"),
  ascii("ReiserFS", 64 * K + 52, "ReIsEr3Fs"),
  ascii("an OCFS2 cluster file system", 2 * K, "OCFSV2"),
  ascii("a CD or DVD image (ISO 9660)", 32 * K + 1, "CD001"),
  ascii("UDF", 32 * K + 1, "NSR0"),
  ascii("bcachefs", 4 * K + 24, "\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef"),
  hex("F2FS", K, "1020f5f2"),
  hex("EROFS", K, "e2e1f5e0"),
  hex("NILFS2", K + 6, "3434"),
  hex("GFS2", 64 * K, "01161970"),
  hex("VMFS of VMware", K * K, "0dd001c0"),
  hex("VMFS of VMware", 2 * K * K, "0dd001c0"),
  hex("UFS of BSD", 64 * K + 1372, "19015419"),
];

const plain: Recogniser = async (from) => (await firstOf(from, PLAIN))?.what;

async function firstOf(from: Reader, magics: readonly Magic[]): Promise<Magic | undefined> {
  for (const magic of magics) if ((await from.read(magic.at, magic.bytes.length)).equals(magic.bytes)) return magic;
  return undefined;
}

export const FILE_SYSTEMS: readonly Recogniser[] = [ext, xfs, btrfs, fat, swap, plain];
