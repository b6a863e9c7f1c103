// The programs a build runs, each with the Debian package that brings it: a missing one is told before anything starts.
import { onPath } from "./emulator.ts";

export const programs: Readonly<Record<string, string>> = {
  "apt-get": "apt",
  chroot: "coreutils",
  cp: "coreutils",
  find: "findutils",
  mksquashfs: "squashfs-tools",
  mmdebstrap: "mmdebstrap",
  tar: "tar",
  touch: "coreutils",
  unshare: "util-linux",
};

export async function requirePrograms(path: string): Promise<void> {
  const missing: string[] = [];
  for (const [program, debianPackage] of Object.entries(programs)) {
    if ((await onPath(program, path)) === undefined) missing.push(`${program} (Debian package ${debianPackage})`);
  }
  if (missing.length > 0) {
    const packages = [...new Set(missing.map((line) => /package (\S+)\)/.exec(line)![1]))];
    throw new Error(`an image build needs ${missing.join(", ")}; install with: apt-get install ${packages.join(" ")}`);
  }
  if (process.getuid?.() !== 0)
    throw new Error("an image build needs root: it makes a Debian tree with its own owners and devices");
}
