// `hostd install`: writes a disk that its machine boots from without a network, or a new image into its other slot. A disk is written only
// when nothing is seen on it and every byte of it was read as zero; one that was installed before, only where its free slot is.
import { constants } from "node:fs";
import { open, readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { BootImageManifest } from "#api/boot.ts";
import { partitionTable } from "../disk-contents/tables.ts";
import { type Disk, notEmptyBecause } from "../state-disk/disk.ts";
import { readDisks } from "../state-disk/probe.ts";
import { openDirect, scan } from "../state-disk/scan.ts";
import { sizeAt } from "../state-disk/words.ts";
import { layoutFrom, layoutOf, uuidOf } from "./layout.ts";
import { afterReady } from "./slots.ts";
import { installDisk, readState, updateDisk, writeState } from "./write.ts";

export interface InstallOptions {
  disk: string;
  imageDir?: string | undefined;
  /** With shimx64.efi.signed, grubx64.efi.signed and mmx64.efi.signed; Debian's own places unless given. */
  bootDir?: string | undefined;
  /** Into the slot that is not in use. */
  update?: boolean;
  /** The slot whose host is ready. */
  ready?: string | undefined;
  read?: () => Promise<Disk[]>;
  signal: AbortSignal;
}

/** No owner: a mark of ours is a mark like any. */
const NOBODY = { cluster: "", machineId: "", machineName: "" };

/** Says what was done. */
export async function installCommand(options: InstallOptions): Promise<string> {
  const { imageDir, bootDir, update = false, ready, signal } = options;
  const disks = await (options.read?.() ?? readDisks(() => [], signal));
  const disk = disks.find(({ path, links }) => path === options.disk || links?.includes(options.disk));
  if (disk === undefined) throw new Error(`this machine has no disk ${options.disk}`);
  const { path, serial = "", wwn = "", sizeBytes } = disk;
  const diskId = JSON.stringify([serial, wwn, sizeBytes]);
  const target = { path, directory: tmpdir(), signal };
  if (update || ready !== undefined) {
    const layout = await installedLayout(path, sizeBytes, diskId);
    if (layout === undefined) throw new Error(`${path} is no disk that was installed here`);
    if (ready !== undefined) {
      if (ready !== "a" && ready !== "b") throw new Error(`--ready ${ready}: a slot is a or b`);
      await writeState({ path, layout }, afterReady(await readState({ path, layout }), ready));
      return `${path}: slot ${(await readState({ path, layout })).good} is good`;
    }
    const state = await updateDisk({ ...target, ...(await imageIn(imageDir)), layout });
    return `${path}: slot ${state.trying} has the new image; it is tried ${state.left} times`;
  }
  const why = notEmptyBecause(disk, NOBODY);
  if (why !== undefined) throw new Error(`${path} ${why}; nothing was written`);
  const image = await imageIn(imageDir);
  const held = await openDirect(path, constants.O_RDONLY | constants.O_EXCL);
  try {
    const found = await scan({ disk: held, sizeBytes, verify: "all", signal });
    if (found.end === "data") throw new Error(`${path} holds data at ${sizeAt(found.byte)}; nothing was written`);
    const { kernel, initrd, squashfs } = image.image;
    const imageBytes = kernel.sizeBytes + initrd.sizeBytes + squashfs.sizeBytes;
    const layout = layoutOf({ sizeBytes, imageBytes, diskId });
    await installDisk({
      ...target,
      ...image,
      boot: await bootFilesIn(bootDir),
      layout,
      sizeBytes,
      diskUuid: uuidOf(diskId),
    });
  } finally {
    await held.close();
  }
  return `${path} boots by UEFI, slot a; the other slot is empty`;
}

async function installedLayout(path: string, sizeBytes: number, diskId: string) {
  const file = await open(path, "r");
  try {
    const read = async (at: number, length: number): Promise<Buffer> => {
      const bytes = Buffer.alloc(length);
      const { bytesRead } = await file.read(bytes, 0, length, at);
      return bytes.subarray(0, bytesRead);
    };
    const table = await partitionTable({ sizeBytes, read });
    return table && layoutFrom(table.partitions, diskId);
  } finally {
    await file.close();
  }
}

async function imageIn(imageDir: string | undefined) {
  if (imageDir === undefined) throw new Error("--image names the folder of a boot image");
  const image = JSON.parse(await readFile(join(imageDir, "manifest.json"), "utf8")) as BootImageManifest;
  return { image, imageDir };
}

async function bootFilesIn(folder: string | undefined) {
  const read = (place: string, name: string) => readFile(join(folder ?? place, name));
  const [shim, grub, keyManager] = await Promise.all([
    read("/usr/lib/shim", "shimx64.efi.signed"),
    read("/usr/lib/grub/x86_64-efi-signed", "grubx64.efi.signed"),
    read("/usr/lib/shim", "mmx64.efi.signed"),
  ]);
  return { shim, grub, keyManager };
}
