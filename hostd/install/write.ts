// Writes an installed disk, and a new image into the slot that is not in use. Whether the disk may be written is decided before, by whoever
// calls: here it is empty, or ours. The table is written last, so that a power cut leaves no disk that half boots.
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { copyFile, link, mkdir, mkdtemp, open, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { BootImageManifest } from "#api/boot.ts";
import { exec } from "#lib/exec.ts";
import { makeFat } from "./fat.ts";
import { gptOf } from "./gpt.ts";
import { grubConfig, slotConfig } from "./grub-config.ts";
import type { Layout } from "./layout.ts";
import { afterUpdate, decodeState, ENV_BYTES, encodeState, type Slot, type SlotState } from "./slots.ts";

const ENV_FILE = "FLYNN/GRUBENV";
const FILES = { vmlinuz: "kernel", initrd: "initrd", "root.squashfs": "squashfs" } as const;

export interface BootFiles {
  /** Debian's signed shim, GRUB and key manager, by the names that firmware and shim look for. */
  shim: Buffer;
  grub: Buffer;
  keyManager: Buffer;
}
export type InstallImage = Pick<BootImageManifest, "kernel" | "initrd" | "squashfs" | "cmdline">;

interface Target {
  path: string;
  layout: Layout;
  /** For what is on its way; in memory. */
  directory: string;
  signal: AbortSignal;
}

const espOf = (layout: Layout, boot: BootFiles, state: SlotState) =>
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

export async function installDisk(
  options: Target & { boot: BootFiles; image: InstallImage; imageDir: string; diskUuid: string; sizeBytes: number },
): Promise<void> {
  const { path, layout, boot, diskUuid, sizeBytes } = options;
  await writeSlot({ ...options, slot: "a" });
  await writeAt(path, espOf(layout, boot, { good: "a", left: 0 }).bytes, layout.esp.at);
  const { esp, slots, state } = layout;
  for (const { at, bytes } of gptOf([esp, slots.a, slots.b, state], sizeBytes, diskUuid))
    await writeAt(path, bytes, at);
}

/** The other slot gets the image; it is tried from the next boot on. */
export async function updateDisk(options: Target & { image: InstallImage; imageDir: string }): Promise<SlotState> {
  const state = afterUpdate(await readState(options));
  await writeSlot({ ...options, slot: state.trying! });
  await writeState(options, state);
  return state;
}

/** An ext4 with the image's files, read back from the disk and compared with their hashes. */
async function writeSlot({
  path,
  layout,
  directory,
  image,
  imageDir,
  slot,
  signal,
}: Target & { image: InstallImage; imageDir: string; slot: Slot }): Promise<void> {
  const part = layout.slots[slot];
  const folder = await mkdtemp(join(directory, "slot-"));
  try {
    const files = join(folder, "files");
    await mkdir(files);
    for (const name of Object.keys(FILES))
      await link(join(imageDir, name), join(files, name)).catch(() =>
        copyFile(join(imageDir, name), join(files, name)),
      );
    await writeFile(join(files, "slot.cfg"), slotConfig(image.cmdline, part.uuid));
    // GRUB 2.06 reads none of the features taken out.
    const features = "^metadata_csum_seed,^has_journal";
    const where = `offset=${part.at},nodiscard,lazy_itable_init=0`;
    const options = [
      "-q",
      "-F",
      "-b",
      "4096",
      "-m",
      "0",
      "-O",
      features,
      "-L",
      part.name,
      "-U",
      part.uuid,
      "-E",
      where,
    ];
    await exec(["mkfs.ext4", ...options, "-d", files, path, `${part.sizeBytes / 1024}k`], {
      timeoutMs: 1_800_000,
      signal,
    });
    await writeAt(path, Buffer.alloc(0), 0); // what mke2fs wrote is on the disk before it is read back
    for (const [name, of] of Object.entries(FILES)) {
      const read = join(folder, name);
      await exec(["debugfs", "-R", `dump /${name} ${read}`, `${path}?offset=${part.at}`], {
        timeoutMs: 1_800_000,
        signal,
      });
      const sha256 = await hashOf(read);
      if (sha256 !== image[of].sha256)
        throw new Error(`${name} in slot ${slot} of ${path} is not what the image has: ${sha256}`);
      await rm(read);
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function hashOf(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  return hash.digest("hex");
}

/** Where GRUB's block of state lies on the disk. */
export function stateAt(layout: Layout): number {
  const nothing = { shim: Buffer.alloc(0), grub: Buffer.alloc(0), keyManager: Buffer.alloc(0) };
  return layout.esp.at + espOf(layout, nothing, { good: "a", left: 0 }).at.get(ENV_FILE)!;
}

export async function readState({ path, layout }: Pick<Target, "path" | "layout">): Promise<SlotState> {
  const file = await open(path, "r");
  try {
    const block = Buffer.alloc(ENV_BYTES);
    await file.read(block, 0, ENV_BYTES, stateAt(layout));
    const state = decodeState(block);
    if (state === undefined) throw new Error(`${path} carries no state of two slots where this host wrote it`);
    return state;
  } finally {
    await file.close();
  }
}

export async function writeState(target: Pick<Target, "path" | "layout">, state: SlotState): Promise<void> {
  await readState(target); // never over anything else
  await writeAt(target.path, encodeState(state), stateAt(target.layout));
}

async function writeAt(path: string, bytes: Buffer, at: number): Promise<void> {
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
