// Processor microcode as the kernel loads it before anything else: two files at the front of the initrd, in an archive that is not
// compressed (Documentation/x86/microcode.rst). Debian's own hooks would ask the machine that builds which processor it has.
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { CpioEntry } from "./cpio.ts";

const FOLDER = "kernel/x86/microcode";
/** Of the packages intel-microcode and amd64-microcode: one file per processor family, each a container that others may follow. */
const VENDORS = [
  { folder: "usr/lib/firmware/intel-ucode", name: /^[0-9a-f]{2}-[0-9a-f]{2}-[0-9a-f]{2}$/, to: "GenuineIntel.bin" },
  { folder: "usr/lib/firmware/amd-ucode", name: /^microcode_amd.*\.bin$/, to: "AuthenticAMD.bin" },
] as const;

export async function microcodeEntries(tree: string): Promise<CpioEntry[]> {
  const files: CpioEntry[] = [];
  for (const { folder, name, to } of VENDORS) {
    const names = (await readdir(join(tree, folder))).filter((one) => name.test(one)).sort();
    if (names.length === 0) throw new Error(`${folder} of the tree holds no microcode`);
    const content = Buffer.concat(await Promise.all(names.map((one) => readFile(join(tree, folder, one)))));
    files.push({ path: `${FOLDER}/${to}`, content });
  }
  return [{ path: "kernel" }, { path: "kernel/x86" }, { path: FOLDER }, ...files];
}
