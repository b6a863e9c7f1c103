// The firmwares that the lab's machines have, as Debian packages them (seabios, ipxe, ovmf, qemu-efi-aarch64). A UEFI machine's variables
// are its own file and survive power cycles.
import { copyFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

export type FirmwareName =
  | "seabios"
  | "seabios-undi"
  | "seabios-stick"
  | "ovmf"
  | "ovmf-http"
  | "ovmf-secure"
  | "ovmf-own-keys"
  | "aavmf";

export interface Firmware {
  emulator?: string;
  machine: string;
  cpu?: string;
  /** Its code, and the variables that it starts with, of parallel flash. */
  flash?: { code: string; variables: string; secure?: boolean };
  argv?: readonly string[];
  /** The card's boot ROM; "" for none. */
  romFile?: string;
  /** False: something before the card boots it. */
  bootsCard?: boolean;
}

const OVMF = "/usr/share/OVMF";
const AAVMF = "/usr/share/AAVMF";
const plainFlash = { code: `${OVMF}/OVMF_CODE_4M.fd`, variables: `${OVMF}/OVMF_VARS_4M.fd` };
const without = (what: string): string[] => ["-fw_cfg", `name=opt/org.tianocore/${what},string=n`];
/** iPXE from a stick, with drivers of its own for every card: it knows nothing but where autoexec.ipxe is. */
const STICK = fileURLToPath(new URL("stick.ipxe", import.meta.url));
/** A PXE ROM of another maker: iPXE that does not call itself so, and loads what such a ROM would. */
const FOREIGN_ROM = fileURLToPath(new URL("foreign-rom.ipxe", import.meta.url));

export const FIRMWARES: Readonly<Record<FirmwareName, Firmware>> = {
  seabios: { machine: "pc,graphics=off" },
  "seabios-undi": {
    machine: "pc,graphics=off",
    argv: ["-kernel", "/usr/lib/ipxe/ipxe.lkrn", "-initrd", FOREIGN_ROM],
    bootsCard: false,
    romFile: "",
  },
  "seabios-stick": {
    machine: "pc,graphics=off",
    argv: ["-kernel", "/usr/lib/ipxe/ipxe.lkrn", "-initrd", STICK],
    bootsCard: false,
    romFile: "",
  },
  // Without the card's ROM: OVMF brings a driver of its own for virtio cards.
  ovmf: { machine: "pc,graphics=off", flash: plainFlash, romFile: "" },
  "ovmf-http": {
    machine: "pc,graphics=off",
    flash: plainFlash,
    romFile: "",
    argv: [...without("IPv4PXESupport"), ...without("IPv6PXESupport")],
  },
  /** Secure Boot on, Microsoft's keys enrolled: what a server's maker delivers. */
  "ovmf-secure": {
    machine: "q35,graphics=off,smm=on",
    flash: { code: `${OVMF}/OVMF_CODE_4M.secboot.fd`, variables: `${OVMF}/OVMF_VARS_4M.ms.fd`, secure: true },
    romFile: "",
    // It would ask for IPv6 addresses for minutes before it goes on to HTTP.
    argv: without("IPv6PXESupport"),
  },
  /** Secure Boot on, and nothing trusted but Debian's key for tests. By HTTP: a signed image is large for TFTP. */
  "ovmf-own-keys": {
    machine: "q35,graphics=off,smm=on",
    flash: { code: `${OVMF}/OVMF_CODE_4M.secboot.fd`, variables: `${OVMF}/OVMF_VARS_4M.snakeoil.fd`, secure: true },
    romFile: "",
    argv: [...without("IPv4PXESupport"), ...without("IPv6PXESupport")],
  },
  aavmf: {
    emulator: "qemu-system-aarch64",
    machine: "virt",
    cpu: "cortex-a72",
    flash: { code: `${AAVMF}/AAVMF_CODE.fd`, variables: `${AAVMF}/AAVMF_VARS.fd` },
    romFile: "",
  },
};

/** Copies the variables to `base`.vars and says how both chips are given to QEMU. */
export async function flashArgv({ flash }: Firmware, base: string): Promise<string[]> {
  if (flash === undefined) return [];
  const variables = `${base}.vars`;
  await copyFile(flash.variables, variables);
  const chips = [`readonly=on,file=${flash.code}`, `file=${variables}`].flatMap((chip, unit) => [
    "-drive",
    `if=pflash,format=raw,unit=${unit},${chip}`,
  ]);
  if (!flash.secure) return chips;
  // Only code in system management mode may write its variables; and from sleep it would wake up without that.
  return [...["-global", "driver=cfi.pflash01,property=secure,value=on", "-global", "ICH9-LPC.disable_s3=1"], ...chips];
}
