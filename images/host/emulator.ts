// How programs of an architecture run here: natively, by the kernel's table of interpreters (binfmt_misc), or each under an emulator
// that this build starts itself. The last needs nothing of the kernel, and is several times slower than the others.
import { access, constants } from "node:fs/promises";
import { arch } from "node:os";
import { join } from "node:path";
import { readText } from "#lib/files.ts";
import type { Architecture } from "./recipe.ts";

/** As the kernel, QEMU and Node.js name what Debian names. */
const NAMES: Readonly<Record<Architecture, { qemu: string; node: string }>> = {
  amd64: { qemu: "x86_64", node: "x64" },
  arm64: { qemu: "aarch64", node: "arm64" },
};

export const thisArchitecture = (node: string = arch()): Architecture => (node === "arm64" ? "arm64" : "amd64");

export interface EmulatorOptions {
  architecture: Architecture;
  /** PATH. */
  path: string;
  /** Tests give their own. */
  machine?: Architecture;
  binfmt?: string;
}

/** The emulator to start such programs under; undefined when they start by themselves. */
export async function emulatorOf(options: EmulatorOptions): Promise<string | undefined> {
  const { architecture, path, machine = thisArchitecture(), binfmt = "/proc/sys/fs/binfmt_misc" } = options;
  if (architecture === machine) return undefined;
  const { qemu } = NAMES[architecture];
  const entry = await readText(join(binfmt, `qemu-${qemu}`)).catch(() => undefined);
  if (entry?.startsWith("enabled")) return undefined;
  const emulator = await onPath(`qemu-${qemu}-static`, path);
  if (emulator !== undefined) return emulator;
  throw new Error(
    `an ${architecture} image on this ${machine} machine needs a program that runs ${architecture}'s; install with: ` +
      `apt-get install qemu-user-static, or build on an ${architecture} machine`,
  );
}

export async function onPath(program: string, path: string): Promise<string | undefined> {
  for (const directory of path.split(":")) {
    const file = join(directory, program);
    const found = await access(file, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (found) return file;
  }
  return undefined;
}
