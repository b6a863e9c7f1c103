// Writes an installed disk, and a new image into the slot that is not in use. Whether the disk may be written is decided before: it was
// divided here (divide.ts). What makes firmware boot it is written last, and a slot is written while nothing boots it.
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { copyFile, link, mkdir, mkdtemp, open, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { InstallImage } from "#api/host-agents.ts";
import { exec } from "#lib/exec.ts";
import { writeArchive } from "./archive.ts";
import { type BiosFiles, biosBoot } from "./bios.ts";
import { makeFat } from "./fat.ts";
import { firstSector, gptOf } from "./gpt.ts";
import { grubConfig, SLOT_FILES, slotConfig } from "./grub-config.ts";
import { type Layout, type Part, partsOf } from "./layout.ts";
import {
  afterUpdate,
  beforeUpdate,
  decodeState,
  ENV_BYTES,
  encodeState,
  otherSlot,
  type Slot,
  type SlotState,
} from "./slots.ts";

const ENV_FILE = "FLYNN/GRUBENV";
const MKFS_MS = 1_800_000;

export interface BootFiles {
  /** Debian's signed shim, GRUB and key manager, by the names that firmware and shim look for. */
  shim: Buffer;
  grub: Buffer;
  keyManager: Buffer;
  bios: BiosFiles;
}

export interface Target {
  path: string;
  sizeBytes: number;
  layout: Layout;
  /** For what is on its way. */
  directory: string;
  signal: AbortSignal;
  /** Told what is written next; a test ends there. */
  onStep?: (step: string) => void;
}

/** An image as it lies here, and what its hosts start with. */
export interface SlotContent {
  image: InstallImage;
  files: Record<"kernel" | "initrd" | "squashfs", string>;
  seed: Readonly<Record<string, string>>;
  /** The boot server that later images come from. */
  server: string;
}

const espOf = (layout: Layout, boot: Omit<BootFiles, "bios">, state: SlotState) =>
  makeFat({
    sizeBytes: layout.esp.sizeBytes,
    label: layout.esp.name,
    hiddenSectors: layout.esp.at / 512,
    files: new Map([
      // First, so that its place depends on nothing else in it.
      [ENV_FILE, encodeState(state)],
      ["EFI/BOOT/BOOTX64.EFI", boot.shim],
      ["EFI/BOOT/GRUBX64.EFI", boot.grub],
      ["EFI/BOOT/MMX64.EFI", boot.keyManager],
      ["EFI/DEBIAN/GRUB.CFG", Buffer.from(grubConfig({ a: layout.slots.a.uuid, b: layout.slots.b.uuid }))],
    ]),
  });

/** The disk's parts and nothing in them: nothing boots it. The first sector comes last. */
export async function writeTable(
  { path, sizeBytes, layout }: Pick<Target, "path" | "sizeBytes" | "layout">,
  diskUuid: string,
): Promise<void> {
  for (const { at, bytes } of gptOf(partsOf(layout), sizeBytes, diskUuid)) await writeAt(path, bytes, at);
  await writeAt(path, firstSector(sizeBytes), 0);
}

export async function installDisk(options: Target & SlotContent & { boot: BootFiles }): Promise<void> {
  const { boot, image } = options;
  await writeSlot({ ...options, slot: "a" });
  await writeBoot(options, boot, { good: "a", left: 0, strikes: 0, images: { a: image.id } });
}

/** What firmware starts from, with the state that GRUB finds. */
export async function writeBoot(
  { path, sizeBytes, layout, onStep }: Pick<Target, "path" | "sizeBytes" | "layout" | "onStep">,
  boot: BootFiles,
  state: SlotState,
): Promise<void> {
  const bios = biosBoot(boot.bios, layout.bios);
  onStep?.("core");
  await writeAt(path, bios.core, layout.bios.at);
  const esp = espOf(layout, boot, state).bytes;
  onStep?.("esp");
  await writeAt(path, esp.subarray(512), layout.esp.at + 512);
  onStep?.("esp-first");
  await writeAt(path, esp.subarray(0, 512), layout.esp.at);
  onStep?.("first-sector");
  await writeAt(path, firstSector(sizeBytes, bios.code), 0);
}

/**
 * What a power cut kept back of the first installation, when UEFI boots the disk all the same: only the first sector, for a BIOS, was missing.
 * True if it was so.
 */
export async function finishInstall(target: Place, read: () => Promise<Pick<BootFiles, "bios">>): Promise<boolean> {
  const { path, sizeBytes, layout } = target;
  if ((await installedState(target)) !== undefined) return false;
  await readState(target); // nothing else was to be written before it
  const bios = biosBoot((await read()).bios, layout.bios);
  await writeAt(path, bios.core, layout.bios.at);
  await writeAt(path, firstSector(sizeBytes, bios.code), 0);
  return true;
}

/** The other slot gets the image; it is tried from the next boot on. */
export async function updateDisk(options: Target & SlotContent): Promise<SlotState> {
  const { image, onStep } = options;
  const before = beforeUpdate(await readState(options));
  onStep?.("forget");
  await writeState(options, before);
  await writeSlot({ ...options, slot: otherSlot(before.good) });
  const state = afterUpdate(before, image.id);
  onStep?.("try");
  await writeState(options, state);
  return state;
}

/** An ext4 with the image's files, read back from the disk and compared with what was to be written. */
async function writeSlot(options: Target & SlotContent & { slot: Slot }): Promise<void> {
  const { path, layout, directory, image, files, seed, server, slot, signal, onStep } = options;
  const part = layout.slots[slot];
  const folder = await mkdtemp(join(directory, "slot-"));
  try {
    const staged = join(folder, "files");
    await mkdir(staged);
    for (const each of ["kernel", "initrd"] as const) await linkOrCopy(files[each], join(staged, SLOT_FILES[each]));
    const root = await writeArchive(join(staged, SLOT_FILES.root), { squashfs: files.squashfs, seed });
    for (const [what, sha256] of [
      ["root image", root === image.squashfs.sha256],
      ["kernel", (await hashOf(files.kernel)) === image.kernel.sha256],
      ["initrd", (await hashOf(files.initrd)) === image.initrd.sha256],
    ] as const)
      if (!sha256) throw new Error(`what was fetched is not the ${what} of image ${image.id}`);
    await writeFile(join(staged, SLOT_FILES.words), slotConfig(image, server));
    const device = await deviceOf(path, part);
    onStep?.("mkfs");
    // GRUB 2.06 reads none of the features taken out.
    const how = ["-q", "-F", "-b", "4096", "-m", "0", "-O", "^metadata_csum_seed,^has_journal"];
    const which = ["-L", part.name, "-U", part.uuid, "-E", `${device.mkfs}nodiscard,lazy_itable_init=0`];
    const argv = ["mkfs.ext4", ...how, ...which, "-d", staged, device.path, `${part.sizeBytes / 1024}k`];
    await exec(argv, { timeoutMs: MKFS_MS, signal });
    await flush(device.path, signal); // what mke2fs wrote is on the disk before it is read back
    onStep?.("read back");
    for (const name of Object.values(SLOT_FILES)) {
      const read = join(folder, name);
      await exec(["debugfs", "-R", `dump /${name} ${read}`, `${device.path}${device.debugfs}`], {
        timeoutMs: MKFS_MS,
        signal,
      });
      if (!(await isSame(read, join(staged, name))))
        throw new Error(`${name} in slot ${slot} of ${path} is not what was written; the disk is faulty`);
      await rm(read);
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

const linkOrCopy = (from: string, to: string): Promise<void> => link(from, to).catch(() => copyFile(from, to));

/** A disk's part as the programs of ext4 are told it: the kernel's own device, or a place in a file. */
async function deviceOf(path: string, { number, at }: Part): Promise<{ path: string; mkfs: string; debugfs: string }> {
  if ((await stat(path)).isBlockDevice()) return { path: partitionPath(path, number), mkfs: "", debugfs: "" };
  return { path, mkfs: `offset=${at},`, debugfs: `?offset=${at}` };
}

/** /dev/sda2, /dev/nvme0n1p2 */
export const partitionPath = (path: string, number: number): string => `${path}${/\d$/.test(path) ? "p" : ""}${number}`;

async function flush(path: string, signal: AbortSignal): Promise<void> {
  await writeAt(path, Buffer.alloc(0), 0);
  if ((await stat(path)).isBlockDevice()) await exec(["blockdev", "--flushbufs", path], { timeoutMs: 300_000, signal });
}

async function isSame(one: string, two: string): Promise<boolean> {
  const [a, b] = [await open(one, "r"), await open(two, "r")];
  try {
    if ((await a.stat()).size !== (await b.stat()).size) return false;
    const [left, right] = [Buffer.alloc(1 << 20), Buffer.alloc(1 << 20)];
    for (;;) {
      const [read, other] = [await a.read(left, 0, left.length), await b.read(right, 0, right.length)];
      if (read.bytesRead !== other.bytesRead) return false;
      if (read.bytesRead === 0) return true;
      if (!left.subarray(0, read.bytesRead).equals(right.subarray(0, read.bytesRead))) return false;
    }
  } finally {
    await a.close();
    await b.close();
  }
}

async function hashOf(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(chunk as Buffer);
  return hash.digest("hex");
}

/** Where GRUB's block of state lies on the disk. */
export function stateAt(layout: Layout): number {
  const nothing = { shim: Buffer.alloc(0), grub: Buffer.alloc(0), keyManager: Buffer.alloc(0) };
  return layout.esp.at + espOf(layout, nothing, { good: "a", left: 0, strikes: 0, images: {} }).at.get(ENV_FILE)!;
}

type Place = Pick<Target, "path" | "sizeBytes" | "layout">;

/** Undefined where the disk was divided and nothing was installed yet, to the end. */
export async function installedState({ path, sizeBytes, layout }: Place): Promise<SlotState | undefined> {
  const [block, first] = await Promise.all([readAt(path, ENV_BYTES, stateAt(layout)), readAt(path, 512, 0)]);
  return first.equals(firstSector(sizeBytes)) ? undefined : decodeState(block);
}

export async function readState({ path, layout }: Pick<Place, "path" | "layout">): Promise<SlotState> {
  const state = decodeState(await readAt(path, ENV_BYTES, stateAt(layout)));
  if (state === undefined) throw new Error(`${path} carries no state of two slots where this host wrote it`);
  return state;
}

export async function writeState(target: Pick<Place, "path" | "layout">, state: SlotState): Promise<void> {
  await readState(target); // never over anything else
  await writeAt(target.path, encodeState(state), stateAt(target.layout));
}

/** The boot loaders that the image has (images/host/boot-files.ts). */
export async function bootFilesIn(folder: string): Promise<BootFiles> {
  const names = ["shimx64.efi", "grubx64.efi", "mmx64.efi", "boot.img", "core.img"];
  const [shim, grub, keyManager, boot, core] = await Promise.all(names.map((name) => readFile(join(folder, name))));
  return { shim: shim!, grub: grub!, keyManager: keyManager!, bios: { boot: boot!, core: core! } };
}

async function readAt(path: string, length: number, at: number): Promise<Buffer> {
  const file = await open(path, "r");
  try {
    const bytes = Buffer.alloc(length);
    const { bytesRead } = await file.read(bytes, 0, length, at);
    return bytes.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}

export async function writeAt(path: string, bytes: Buffer, at: number): Promise<void> {
  const file = await open(path, "r+");
  try {
    const { bytesWritten } = await file.write(bytes, 0, bytes.length, at);
    if (bytesWritten !== bytes.length)
      throw new Error(`only ${bytesWritten} of ${bytes.length} bytes were written at ${at}`);
    await file.sync();
  } finally {
    await file.close();
  }
}
