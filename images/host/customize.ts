// Turns the Debian tree into the host's root: unpacks it, puts our files over it, takes out what is not wanted, sets the
// units. What happens here depends on the tree and the recipe only, not on the host agent's bundle.
import { cp, glob, mkdir, readdir, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { exec } from "#lib/exec.ts";
import { keepBootFiles } from "./boot-files.ts";
import type { CpioEntry } from "./cpio.ts";
import { driversOf, missingDrivers } from "./drivers.ts";
import { type InsideOptions, inTree } from "./inside.ts";
import type { ImagePackage } from "./manifest.ts";
import { microcodeEntries } from "./microcode.ts";
import { parseInstalled } from "./packages.ts";
import { type Architecture, disabledUnits, enabledUnits, maskedUnits, prunedOf } from "./recipe.ts";

export const overlayDirectory = join(import.meta.dirname, "rootfs");

export interface CustomTree {
  kernel: { path: string; version: string };
  packages: ImagePackage[];
  microcode: CpioEntry[];
  /** Date of the newest package, seconds: Debian sets every file of a package to at most its changelog's date. */
  newestPackageSeconds: number;
}

// biome-ignore lint/suspicious/noTemplateCurlyInString: the braces are dpkg-query's
const showFormat = "--showformat=${Package}\\t${Version}\\n";

type Run = Omit<InsideOptions, "timeoutMs" | "onLine">;

export async function unpackTree(tar: string, tree: string, run: Run): Promise<void> {
  await mkdir(tree, { recursive: true });
  const argv = [
    "tar",
    "--extract",
    "--file",
    tar,
    "--directory",
    tree,
    "--numeric-owner",
    "--xattrs",
    "--xattrs-include=*",
  ];
  await exec(argv, { env: run.environment, signal: run.signal, timeoutMs: 600_000 });
}

export async function customizeTree(options: {
  tree: string;
  workDirectory: string;
  architecture: Architecture;
  run: Run;
}): Promise<CustomTree> {
  const { tree, workDirectory, architecture, run } = options;
  const inside = (argv: readonly string[]) => inTree(tree, argv, { ...run, timeoutMs: 900_000 });
  const installed = await inside(["dpkg-query", "--show", showFormat]);
  const packages = parseInstalled(installed.stdout);
  const newestPackageSeconds = await newestPackage(tree);
  const version = await kernelVersion(tree);
  const kernelPath = join(workDirectory, "vmlinuz");
  await cp(join(tree, "boot", `vmlinuz-${version}`), kernelPath);
  await cp(join(tree, "boot", `config-${version}`), join(workDirectory, "kernel-config"));

  const microcode = architecture === "amd64" ? await microcodeEntries(tree) : [];
  await keepBootFiles(tree, architecture, inside);
  await prune(tree, prunedOf(architecture));
  await cp(overlayDirectory, tree, { recursive: true, force: true });
  await writeFile(join(tree, "etc/machine-id"), ""); // empty, not absent: absent means "first boot" to systemd
  // mkinitramfs asks the kernel's configuration which compressions it can read.
  await cp(join(workDirectory, "kernel-config"), join(tree, "boot", `config-${version}`));
  for (const unit of maskedUnits) await mask(tree, unit);
  await inside(["systemctl", "--quiet", "disable", ...disabledUnits]);
  await inside(["systemctl", "--quiet", "enable", ...enabledUnits]);
  await inside(["systemctl", "--quiet", "set-default", "multi-user.target"]);
  await inside(["depmod", version]);
  // Compiled files that are believed without a look at their source: the same bytes every time, and cloud-init starts sooner.
  await inside([
    "python3",
    "-m",
    "compileall",
    "-q",
    "-f",
    "--invalidation-mode",
    "unchecked-hash",
    "/usr/lib/python3",
    "/usr/lib/python3.11",
  ]);
  return { kernel: { path: kernelPath, version }, packages, microcode, newestPackageSeconds };
}

/** Makes the initrd inside the tree; the result carries no date but SOURCE_DATE_EPOCH. */
export async function makeInitrd(options: {
  tree: string;
  architecture: Architecture;
  version: string;
  run: Run;
}): Promise<Buffer> {
  const { tree, architecture, version, run } = options;
  // lz4: a third larger than zstd to fetch, but the kernel unpacks it several times faster.
  const argv = ["mkinitramfs", "-c", "lz4", "-o", "/boot/initrd", version];
  await inTree(tree, argv, { ...run, timeoutMs: 1_800_000 });
  const { stdout } = await inTree(tree, ["lsinitramfs", "/boot/initrd"], { ...run, timeoutMs: 600_000 });
  const missing = missingDrivers(stdout.split("\n"), driversOf(architecture));
  if (missing.length > 0) throw new Error(`the initrd lacks what machines boot by: ${missing.join(", ")}`);
  const initrd = await readFile(join(tree, "boot/initrd"));
  await rm(join(tree, "boot"), { recursive: true });
  await mkdir(join(tree, "boot"));
  return initrd;
}

/**
 * One date for all directories: theirs says when something in them was last taken out, and whether there was anything to
 * take out (a temporary file of a package's script) differs from build to build.
 */
export async function dateDirectories(tree: string, epochSeconds: number, run: Run): Promise<void> {
  const argv = ["find", tree, "-xdev", "-type", "d", "-exec", "touch", `--date=@${epochSeconds}`, "{}", "+"];
  await exec(argv, { env: run.environment, signal: run.signal, timeoutMs: 120_000 });
}

export async function prune(tree: string, patterns: readonly string[]): Promise<void> {
  for (const pattern of patterns) {
    for await (const path of glob(pattern, { cwd: tree })) await rm(join(tree, path), { recursive: true, force: true });
  }
}

async function mask(tree: string, unit: string): Promise<void> {
  const link = join(tree, "etc/systemd/system", unit);
  await rm(link, { force: true });
  await symlink("/dev/null", link);
}

async function kernelVersion(tree: string): Promise<string> {
  const kernels = (await readdir(join(tree, "boot"))).filter((name) => name.startsWith("vmlinuz-"));
  if (kernels.length !== 1) throw new Error(`the tree must hold one kernel, not ${kernels.length}`);
  return kernels[0]!.slice("vmlinuz-".length);
}

export async function newestPackage(tree: string): Promise<number> {
  let newest = 0;
  for await (const path of glob("usr/share/doc/*/copyright", { cwd: tree })) {
    newest = Math.max(newest, Math.floor((await stat(join(tree, path))).mtimeMs / 1000));
  }
  return newest;
}
