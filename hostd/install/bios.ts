// GRUB for a BIOS, placed as its own installer would: the boot sector's code, told where the core lies, and the core, told where it goes on.
// GRUB 2, grub-core/boot/i386/pc/boot.S and diskboot.S. Pure.
import type { Part } from "./layout.ts";

const SECTOR = 512;
/** boot.S: where the core's first sector is; the drive, 0xff for the one that the BIOS says; a jump over its correction. */
const [CORE_SECTOR, DRIVE, DRIVE_CHECK] = [0x5c, 0x64, 0x66];
/** diskboot.S: the last entry of its list of blocks, start and count. */
const BLOCKS = 0x1f4;

export interface BiosFiles {
  /** boot.img and core.img. */
  boot: Buffer;
  core: Buffer;
}

export function biosBoot({ boot, core }: BiosFiles, { at, sizeBytes }: Part): { code: Buffer; core: Buffer } {
  if (boot.length !== SECTOR || core.length <= SECTOR) throw new Error("GRUB's boot sector or core is none");
  if (core.length > sizeBytes) throw new Error(`GRUB's core of ${core.length} bytes is too large for its partition`);
  const [code, placed] = [Buffer.from(boot.subarray(0, 440)), Buffer.from(core)];
  const first = at / SECTOR;
  code.writeBigUInt64LE(BigInt(first), CORE_SECTOR);
  code[DRIVE] = 0xff;
  code.fill(0x90, DRIVE_CHECK, DRIVE_CHECK + 2); // some BIOSes name a floppy where they boot a disk
  placed.writeBigUInt64LE(BigInt(first + 1), BLOCKS);
  placed.writeUInt16LE(Math.ceil(core.length / SECTOR) - 1, BLOCKS + 8);
  return { code, core: placed };
}
