// The programs that firmware is given, from Debian's packages, and the small scripts they ask for: by the name they are served under,
// over TFTP and over HTTP alike. What only some machines need may be missing: then that road is not offered.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Fault } from "#api/fault.ts";
import type { Log } from "#lib/log.ts";
import { startGrub } from "./grub/script.ts";
import { autoexecScript } from "./http/ipxe.ts";

export interface LoaderFolders {
  ipxeDir: string;
  /** `shim/` and `grub/` of Debian's packages. */
  signedDir: string;
  /** `ipxe/`, `shim/` and `grub/`, taken first; "" for none. */
  loadersDir: string;
}

const ALWAYS = ["undionly.kpxe", "snponly.efi"];
/** Where shim looks for what it starts is beside itself; where GRUB looks for grub.cfg was built into it. */
const GRUB_CONFIGS = ["grub/grub.cfg", "grub/x86_64-efi/grub.cfg", "grub/arm64-efi/grub.cfg"];
const SIGNED = [
  ["x64", "x86_64-efi-signed"],
  ["aa64", "arm64-efi-signed"],
] as const;
/** In a GRUB image that has the module `http`, and in no other: under Secure Boot GRUB loads no module. */
const SPEAKS_HTTP = "User-Agent: GRUB";

export async function readLoaders(folders: LoaderFolders, base: string, log: Log): Promise<Map<string, Buffer>> {
  const { ipxeDir, signedDir, loadersDir } = folders;
  const newer = (path: string): Promise<Buffer | undefined> =>
    loadersDir === "" ? Promise.resolve(undefined) : ifThere(join(loadersDir, path));
  const ipxe = async (name: string) => (await newer(`ipxe/${name}`)) ?? (await ifThere(join(ipxeDir, name)));
  const signed = async (path: string) => (await newer(path)) ?? (await ifThere(join(signedDir, path)));

  const grub = Buffer.from(startGrub({ base }));
  const files = new Map<string, Buffer>([
    ["autoexec.ipxe", Buffer.from(autoexecScript({ base }))],
    ...GRUB_CONFIGS.map((name) => [name, grub] as const),
  ]);
  for (const name of ALWAYS) {
    const content = await ipxe(name);
    if (content === undefined)
      throw new Fault("unavailable", `${join(ipxeDir, name)} is missing; install it with: apt-get install ipxe`);
    files.set(name, content);
  }
  const arm = await ipxe("ipxe-arm64.efi");
  if (arm !== undefined) files.set("ipxe-arm64.efi", arm);
  for (const [cpu, grubFolder] of SIGNED) {
    const shim = await signed(`shim/shim${cpu}.efi.signed`);
    const image = await signed(`grub/${grubFolder}/grubnet${cpu}.efi.signed`);
    if (shim === undefined || image === undefined || !image.includes(SPEAKS_HTTP)) {
      const why = shim && image ? "GRUB's signed image has no HTTP" : "there is no signed shim and GRUB";
      log.info({ cpu, why, todo: "flynn image build" }, "machines with Secure Boot are not served");
      continue;
    }
    files.set(`shim${cpu}.efi`, shim);
    files.set(`grub${cpu}.efi`, image);
  }
  return files;
}

function ifThere(path: string): Promise<Buffer | undefined> {
  return readFile(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw new Fault("unavailable", `${path} cannot be read`, { cause: error });
  });
}
