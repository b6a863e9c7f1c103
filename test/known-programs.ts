// The programs that may be started: what Debian's base and the packages of set-up bring, and those that need no package here.
import { basename } from "node:path";
import process from "node:process";
import { BASE_PACKAGES, DEBIAN_SETS, PROGRAMS_OF } from "#lib/setup/packages.mjs";

export const PACKAGES_OF_SETS: ReadonlySet<string> = new Set([...Object.values(DEBIAN_SETS).flat(), ...BASE_PACKAGES]);

/** Each program with its package. */
export const PACKAGE_OF: ReadonlyMap<string, string> = new Map(
  Object.entries(PROGRAMS_OF).flatMap(([name, programs]) => programs.map((program) => [program, name] as const)),
);

/** Known without a package of ours. */
const OTHERS: Readonly<Record<string, readonly string[]>> = {
  "Node's": ["node", "npm", "corepack"],
  "asked for only where they are": ["systemctl", "udevadm", "nvme", "hdparm", "go"],
  "of the trees that images are made from": ["grub-mkimage", "lsinitramfs", "mkinitramfs", "pip", "useradd"],
  "first words that go on after a program": ["archive", "build", "http-backend", "ls-tree", "stack"],
  "none, on purpose": ["nonexistent", "nosuch", "program"],
};

const KNOWN = new Set([...PACKAGE_OF.keys(), ...Object.values(OTHERS).flat()]);

/** By its last name: a path of our own tree or of a test's folder is known by what made it. */
export const isKnownProgram = (program: string): boolean => {
  if (program === process.execPath || KNOWN.has(basename(program))) return true;
  return program.startsWith("/") && !/^\/(usr\/(local\/)?)?s?bin\//.test(program);
};
