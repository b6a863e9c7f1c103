// The processor architecture types that firmware names in option 93 (RFC 4578 2.1; the IANA registry, whose numbers count where the
// RFC's table differs), and what there is to boot on each (boot-files.ts).
import type { Firmware } from "#api/machine-identity.ts";

/** What there are boot files for. */
export type Platform = "bios-x86" | "uefi-x64" | "uefi-arm64";

export interface MachineType {
  /** As people say it. */
  name: string;
  /** As iPXE and the kernel name processors; absent where the number says nothing of it. */
  architecture?: string;
  firmware: Firmware;
  platform?: Platform;
}

const uefi = (name: string, architecture: string, platform?: Platform): MachineType => ({
  name: `${name} UEFI`,
  architecture,
  firmware: "uefi",
  ...(platform === undefined ? {} : { platform }),
});
const http = (type: MachineType): MachineType => ({ ...type, name: `${type.name} HTTP`, firmware: "uefi-http" });
const other = (name: string, architecture?: string): MachineType => ({
  name,
  firmware: "unknown",
  ...(architecture === undefined ? {} : { architecture }),
});

const BIOS: MachineType = { name: "x86 BIOS", architecture: "i386", firmware: "bios", platform: "bios-x86" };
const X64 = uefi("x86-64", "x86_64", "uefi-x64");
const IA32 = uefi("32-bit x86", "i386");
const ARM32 = uefi("32-bit ARM", "arm32");
const ARM64 = uefi("arm64", "arm64", "uefi-arm64");
const RISCV32 = uefi("32-bit RISC-V", "riscv32");
const RISCV64 = uefi("64-bit RISC-V", "riscv64");
const RISCV128 = uefi("128-bit RISC-V", "riscv128");
const LOONG32 = uefi("32-bit LoongArch", "loong32");
const LOONG64 = uefi("64-bit LoongArch", "loong64");
export const RASPBERRY_PI = other("Raspberry Pi", "arm64");

export const MACHINE_TYPES: ReadonlyMap<number, MachineType> = new Map([
  [0, BIOS],
  [1, other("NEC/PC98", "i386")],
  [2, uefi("Itanium", "ia64")],
  [3, other("DEC Alpha", "alpha")],
  [4, other("Arc x86")],
  [5, other("Intel Lean Client")],
  [6, IA32],
  [7, X64],
  [8, uefi("Xscale", "arm32")],
  [9, X64], // "EFI byte code"; firmware that says it is x86-64 in practice
  [10, ARM32],
  [11, ARM64],
  [12, other("PowerPC Open Firmware", "ppc64")],
  [13, other("PowerPC ePAPR", "ppc64")],
  [14, other("POWER OPAL v3", "ppc64le")],
  [15, http(IA32)],
  [16, http(X64)],
  [17, http(X64)],
  [18, http(ARM32)],
  [19, http(ARM64)],
  [20, { ...BIOS, name: "x86 BIOS HTTP" }],
  [21, other("32-bit ARM U-Boot", "arm32")],
  [22, other("arm64 U-Boot", "arm64")],
  [23, other("32-bit ARM U-Boot HTTP", "arm32")],
  [24, other("arm64 U-Boot HTTP", "arm64")],
  [25, RISCV32],
  [26, http(RISCV32)],
  [27, RISCV64],
  [28, http(RISCV64)],
  [29, RISCV128],
  [30, http(RISCV128)],
  [31, other("s390 Basic", "s390")],
  [32, other("s390 Extended", "s390x")],
  [33, uefi("32-bit MIPS", "mips")],
  [34, uefi("64-bit MIPS", "mips64")],
  [35, uefi("32-bit Sunway", "sw32")],
  [36, uefi("64-bit Sunway", "sw64")],
  [37, LOONG32],
  [38, http(LOONG32)],
  [39, LOONG64],
  [40, http(LOONG64)],
  [41, RASPBERRY_PI],
]);

/** Cards of Raspberry Pi boards, whose boot ROM says 0 (a BIOS) up to the Pi 5. None of these boards is x86. */
const RASPBERRY_CARDS = ["28:cd:c1", "2c:cf:67", "88:a2:9e", "b8:27:eb", "d8:3a:dd", "dc:a6:32", "e4:5f:01"];

/** The first type of the list that there is a file for, else the first one that has a name; no list at all is a BIOS. */
export function machineTypeOf(archs: readonly number[], mac: string): MachineType | undefined {
  if (RASPBERRY_CARDS.includes(mac.slice(0, 8)) && archs.every((arch) => arch === 0 || arch === 41))
    return RASPBERRY_PI;
  if (archs.length === 0) return BIOS;
  const types = archs.flatMap((arch) => MACHINE_TYPES.get(arch) ?? []);
  return types.find(({ platform }) => platform !== undefined) ?? types[0];
}
