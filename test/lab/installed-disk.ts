// A disk that a host installed, on emulated machines: what firmware, GRUB and the initrd make of it. Shared by the lab and the soak `slots`.
import { open } from "node:fs/promises";
import { join } from "node:path";
import { exec } from "#lib/exec.ts";
import { divideDisk } from "../../hostd/install/divide.ts";
import { bootFilesIn, installDisk, type Target } from "../../hostd/install/write.ts";
import { parseManifest } from "../../images/host/manifest.ts";
import { type BuiltImage, bootImage } from "../e2e/boot-image.ts";
import { GIB, look, MIB, owner } from "../hostd/state-disk/fixture.ts";
import type { FirmwareName } from "./firmware/firmwares.ts";
import { type Lan, openLan } from "./network.ts";
import { addMachine, type Machine } from "./qemu.ts";
import type { Scope } from "./scope.ts";

export interface InstalledDisk {
  scope: Scope;
  lan: Lan;
  built: BuiltImage;
  /** A whole installed disk, to be copied. */
  target: Target;
}

const SIZE = 4 * GIB;
const SEED = { "user-data": "#cloud-config\n{}\n", "meta-data": "instance-id: i-disk\nlocal-hostname: lab\n" };
export const started = (slot: string) => new RegExp(`Flynn: starting slot ${slot} of this disk`, "g");
export const VERIFIED = /flynn: root image verified/g;

/** The built image for a slot, with more words for its kernel. */
export function contentOf({ built, words = [] }: { built: BuiltImage; words?: string[] }) {
  const { id, kernel, initrd, squashfs, cmdline } = parseManifest(built.manifest);
  const at = (name: string) => join(built.imagesDir, built.id, name);
  return {
    image: { id: words.length === 0 ? id : `${id}-other`, kernel, initrd, squashfs, cmdline: [...cmdline, ...words] },
    files: { kernel: at("vmlinuz"), initrd: at("initrd"), squashfs: at("root.squashfs") },
    server: "http://10.79.0.1:7780",
    seed: SEED,
  };
}

/** Made once, as the agent makes it; machines get copies. */
export async function installedDisk(scope: Scope, say: (line: string) => void): Promise<InstalledDisk> {
  const lan = await openLan(scope, { ip: "10.79.0.1" });
  const built = await bootImage({ say, signal: scope.signal, fast: true });
  const path = join(scope.folder, "installed");
  const file = await open(path, "w");
  await file.truncate(SIZE);
  await file.close();
  const { signal } = scope;
  const divided = await divideDisk({
    ...{
      disk: await look({ path, sizeBytes: SIZE, serial: "S1" }),
      owner,
      imageBytes: 512 * MIB,
      verify: "ends",
      signal,
    },
  });
  const target: Target = { path, sizeBytes: SIZE, layout: divided.layout!, directory: scope.folder, signal };
  const files = join(scope.folder, "boot-files");
  const squashfs = join(built.imagesDir, built.id, "root.squashfs");
  await exec(["unsquashfs", "-quiet", "-no-progress", "-dest", files, squashfs, "usr/lib/flynn/boot"], {
    timeoutMs: 120_000,
  });
  const boot = await bootFilesIn(join(files, "usr/lib/flynn/boot"));
  await installDisk({ ...target, ...contentOf({ built }), boot });
  return { scope, lan, built, target };
}

/** A machine that has a copy of the disk and boots nothing else. */
export async function machineWith({ scope, lan, target }: InstalledDisk, name: string, firmware: FirmwareName) {
  const machine = await addMachine(scope, lan, { name, firmware, memoryMiB: 2_048, diskGiB: 4 });
  machine.bootFrom("disk");
  await exec(["cp", "--sparse=always", target.path, machine.diskFile!], { timeoutMs: 120_000 });
  return { machine, disk: { ...target, path: machine.diskFile! } };
}

/** Its console shows it, from its first boot on. */
export async function bootsTo(machine: Machine, { source }: RegExp, { withinMs = 300_000 } = {}): Promise<void> {
  await machine.waitForConsole(new RegExp(source), withinMs);
}
