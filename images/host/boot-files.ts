// What an installed disk starts from (hostd/install), put where the agent finds it: Debian's signed shim and GRUB for UEFI, and for a BIOS
// GRUB's boot sector with a core made here, which reads its configuration from the disk's first partition. The packages that they come
// from go again (recipe.ts).
import { cp, mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { Architecture } from "./recipe.ts";

/** From the tree's root. */
const FOLDER = "usr/lib/flynn/boot";
const COPIED: Readonly<Record<string, string>> = {
  "shimx64.efi": "usr/lib/shim/shimx64.efi.signed",
  "mmx64.efi": "usr/lib/shim/mmx64.efi.signed",
  "grubx64.efi": "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed",
  "boot.img": "usr/lib/grub/i386-pc/boot.img",
};
/** Those that grub-config.ts has commands of, and those that find a file on the disk. */
const MODULES = [
  ...["biosdisk", "part_gpt", "fat", "ext2", "normal", "configfile", "echo", "test", "sleep", "reboot"],
  ...["linux", "loadenv", "search", "search_fs_uuid", "minicmd"],
];

export async function keepBootFiles(
  tree: string,
  architecture: Architecture,
  inside: (argv: readonly string[]) => Promise<unknown>,
): Promise<void> {
  if (architecture !== "amd64") return;
  await mkdir(join(tree, FOLDER), { recursive: true });
  for (const [name, from] of Object.entries(COPIED)) await cp(join(tree, from), join(tree, FOLDER, name));
  // No device: the disk that the BIOS booted; and so no other disk's configuration is read.
  const prefix = "(,gpt1)/EFI/DEBIAN";
  const core = `/${FOLDER}/core.img`;
  await inside(["grub-mkimage", "-O", "i386-pc", "-d", "/usr/lib/grub/i386-pc", "-p", prefix, "-o", core, ...MODULES]);
}
