// Boot loaders that Debian 12 does not have, fetched from Debian's next release and from its arm64 archive, over the same archives and
// settings that this machine's apt has: iPXE of 2025 (its UEFI boot waits for no IPv6 router, and it has an arm64 program), GRUB's
// signed network image with HTTP, and shim and GRUB for arm64. Files are taken out of the packages; nothing is installed.
import { access, copyFile, mkdir, readdir, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { exec } from "#lib/exec.ts";
import { debianSources } from "./host/apt-sources.ts";
import { machineInstallers } from "./installers.ts";

const SUITE = "bookworm";
const NEWER = "trixie";
const PACKAGES = [
  "ipxe",
  "shim-signed:amd64",
  "grub-efi-amd64-signed:amd64",
  "shim-signed:arm64",
  "grub-efi-arm64-signed:arm64",
];
/** What is kept of them, at the places a boot server looks for it in (`loadersDir`). */
const KEPT = [
  ...["undionly.kpxe", "snponly.efi", "ipxe-arm64.efi"].map((name) => `ipxe/${name}`),
  ...["shimx64", "shimaa64"].map((name) => `shim/${name}.efi.signed`),
  ...["x86_64-efi-signed/grubnetx64", "arm64-efi-signed/grubnetaa64"].map((name) => `grub/${name}.efi.signed`),
];

export interface LoadersOptions {
  /** Made as a whole or not at all; left as it is when it holds all of them. */
  directory: string;
  workDirectory: string;
  say: (line: string) => void;
  signal: AbortSignal;
}

export async function fetchLoaders({ directory, workDirectory, say, signal }: LoadersOptions): Promise<void> {
  const missing = (name: string) =>
    access(join(directory, name)).then(
      () => false,
      () => true,
    );
  if (!(await Promise.all(KEPT.map(missing))).includes(true)) return;
  const work = join(workDirectory, "loaders");
  await rm(work, { recursive: true, force: true });
  for (const folder of ["lists/partial", "cache/archives/partial", "tree", "kept"])
    await mkdir(join(work, folder), { recursive: true });
  const machine = await machineInstallers({ directory: work, signal });
  const sources = await debianSources({ suite: SUITE, components: ["main"] });
  const source = sources.find((line) => line.includes(` ${SUITE} `));
  if (source === undefined) throw new Error(`this machine's apt has no source of Debian ${SUITE} itself`);
  await writeFile(join(work, "newer.list"), `${source.replace(` ${SUITE} `, ` ${NEWER} `)}\n`);
  const settings = [
    ...machine.apt,
    `Dir::Etc::SourceList=${join(work, "newer.list")}`,
    "Dir::Etc::SourceParts=/dev/null",
    `Dir::State::Lists=${join(work, "lists")}`,
    `Dir::Cache=${join(work, "cache")}`,
    "Dir::State::status=/dev/null",
    "APT::Architectures::=amd64",
    "APT::Architectures::=arm64",
    "APT::Sandbox::User=root",
    "Acquire::Languages=none",
  ].flatMap((setting) => ["-o", setting]);
  const options = { cwd: join(work, "tree"), env: { ...machine.environment }, signal, timeoutMs: 600_000 };
  say(`boot loaders of Debian ${NEWER}: ${PACKAGES.join(", ")}`);
  await exec(["apt-get", "-q", ...settings, "update"], options);
  await exec(["apt-get", "-q", ...settings, "download", ...PACKAGES], options);
  for (const name of await readdir(join(work, "tree"))) {
    if (name.endsWith(".deb")) await exec(["dpkg-deb", "-x", name, "."], options);
  }
  for (const name of KEPT) {
    await mkdir(dirname(join(work, "kept", name)), { recursive: true });
    await copyFile(join(work, "tree/usr/lib", name), join(work, "kept", name));
  }
  await mkdir(join(directory, ".."), { recursive: true });
  await rm(directory, { recursive: true, force: true });
  await rename(join(work, "kept"), directory);
  await rm(work, { recursive: true });
}
