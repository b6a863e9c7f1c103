// What is on a machine's ISO: iPXE by isolinux for a BIOS, Debian's signed shim and GRUB for UEFI (Secure Boot or not), each with the
// script that asks for the machine's own one and shows the order's token.
import { startGrub } from "../grub/script.ts";
import { autoexecScript } from "../http/ipxe.ts";
import { fatImage } from "./fat.ts";
import { filesOfIso, isoImage } from "./iso.ts";

export interface MediaParts {
  /** Debian's `ipxe.iso`: isolinux and iPXE as a kernel are taken from it. */
  ipxeIso: Buffer | undefined;
  /** Of the boot server, by name: `shimx64.efi`, `grubx64.efi` and those for arm64. */
  bootFiles: ReadonlyMap<string, Buffer>;
  /** `http://10.77.0.1:7780` */
  base: string;
  token: string;
}

export type MediaFirmware = "bios" | "uefi";

const ISOLINUX = ["isolinux.bin", "ldlinux.c32"] as const;
const UEFI = [
  ["shimx64.efi", "EFI/BOOT/BOOTX64.EFI"],
  ["grubx64.efi", "EFI/BOOT/GRUBX64.EFI"],
  ["shimaa64.efi", "EFI/BOOT/BOOTAA64.EFI"],
  ["grubaa64.efi", "EFI/BOOT/GRUBAA64.EFI"],
] as const;

/** The ISO, and the firmware that it boots; what it lacks files for is not on it. */
export function machineIso({ ipxeIso, bootFiles, base, token }: MediaParts): { iso: Buffer; boots: MediaFirmware[] } {
  const files = new Map<string, Buffer>();
  const found = ipxeIso === undefined ? new Map<string, Buffer>() : filesOfIso(ipxeIso);
  const kernel = found.get("ipxe.krn") ?? found.get("ipxe.lkrn");
  const isBios = kernel !== undefined && ISOLINUX.every((name) => found.has(name));
  if (isBios) {
    for (const name of ISOLINUX) files.set(name.toUpperCase(), found.get(name)!);
    files.set("IPXE.KRN", kernel);
    files.set("FLYNN.IPX", Buffer.from(autoexecScript({ base, media: token })));
    files.set(
      "ISOLINUX.CFG",
      Buffer.from("SERIAL 0 115200\nDEFAULT flynn\nLABEL flynn\n  KERNEL ipxe.krn\n  INITRD flynn.ipx\n"),
    );
  }
  const isUefi = bootFiles.has("shimx64.efi") && bootFiles.has("grubx64.efi");
  if (isUefi) {
    const script = Buffer.from(startGrub({ base, media: token }));
    const programs = UEFI.flatMap(([name, path]) => {
      const program = bootFiles.get(name);
      return program === undefined ? [] : [[path, program] as const];
    });
    // GRUB looks beside itself or on the CD, as its firmware names where it came from.
    files.set("EFI.IMG", fatImage(new Map([...programs, ["GRUB/GRUB.CFG", script]])));
    files.set("GRUB/GRUB.CFG", script);
  }
  return {
    iso: isoImage({
      files,
      bios: isBios ? "ISOLINUX.BIN" : undefined,
      efi: isUefi ? "EFI.IMG" : undefined,
    }),
    boots: [...(isBios ? (["bios"] as const) : []), ...(isUefi ? (["uefi"] as const) : [])],
  };
}
