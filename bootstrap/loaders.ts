// The programs that firmware is given, from Debian's packages, and the small scripts they ask for: by the name they are served under,
// over TFTP and over HTTP alike. What only some machines need may be missing: then that road is not offered.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Fault } from "#api/fault.ts";
import type { Log } from "#lib/log.ts";
import { startGrub } from "./grub/script.ts";
import { autoexecScript } from "./http/ipxe.ts";

export interface LoaderFolders {
  /** undionly.kpxe, snponly.efi, ipxe-arm64.efi. */
  ipxeDir: string;
  /** `shim/` and `grub/` of the packages shim-signed and grub-efi-*-signed. */
  signedDir: string;
}

const ALWAYS = ["undionly.kpxe", "snponly.efi"];

/** Where shim looks for what it starts is beside itself; where GRUB looks for grub.cfg was built into it. */
const GRUB_CONFIGS = ["grub/grub.cfg", "grub/x86_64-efi/grub.cfg", "grub/arm64-efi/grub.cfg"];

export async function readLoaders(folders: LoaderFolders, base: string, log: Log): Promise<Map<string, Buffer>> {
  const { ipxeDir, signedDir } = folders;
  const grub = Buffer.from(startGrub({ base }));
  const files = new Map<string, Buffer>([
    ["autoexec.ipxe", Buffer.from(autoexecScript({ base }))],
    ...GRUB_CONFIGS.map((name) => [name, grub] as const),
  ]);
  for (const name of ALWAYS) {
    const content = await readFile(join(ipxeDir, name)).catch((cause) => {
      throw new Fault("unavailable", `${join(ipxeDir, name)} cannot be read; install it with: apt-get install ipxe`, {
        cause,
      });
    });
    files.set(name, content);
  }
  const arm = await ifThere(join(ipxeDir, "ipxe-arm64.efi"));
  if (arm !== undefined) files.set("ipxe-arm64.efi", arm);
  for (const [cpu, grubFolder] of [
    ["x64", "x86_64-efi-signed"],
    ["aa64", "arm64-efi-signed"],
  ] as const) {
    const paths = [
      join(signedDir, `shim/shim${cpu}.efi.signed`),
      join(signedDir, `grub/${grubFolder}/grubnet${cpu}.efi.signed`),
    ];
    const [shim, grubImage] = await Promise.all(paths.map(ifThere));
    if (shim === undefined || grubImage === undefined) {
      log.info({ paths }, "no signed loader for these machines with Secure Boot: a package is not installed");
      continue;
    }
    files.set(`shim${cpu}.efi`, shim);
    files.set(`grub${cpu}.efi`, grubImage);
  }
  return files;
}

function ifThere(path: string): Promise<Buffer | undefined> {
  return readFile(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
}
