// Our own files of the two images as trees: /flynn/start, /flynn/build as one bundled file, the buildpacks.
import { chmod, cp, mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { bundleProgram } from "../host/bundle.ts";
import { digestDirectory } from "../host/digest.ts";

const here = import.meta.dirname;
export const buildpacksDirectory = join(here, "buildpacks");

export interface Overlays {
  trees: { runner: string; builder: string };
  /** Over both. */
  digest: string;
}

export async function overlays(directory: string): Promise<Overlays> {
  const trees = { runner: join(directory, "runner"), builder: join(directory, "builder") };
  await cp(join(here, "rootfs"), join(trees.runner, "flynn"), { recursive: true });
  await chmodAll(join(trees.runner, "flynn"));
  const target = join(trees.builder, "flynn");
  await mkdir(target, { recursive: true });
  await writeFile(join(target, "build"), await bundleProgram(join(here, "program/main.ts"), "#!/usr/bin/node"));
  await chmod(join(target, "build"), 0o755);
  await cp(buildpacksDirectory, join(target, "buildpacks"), { recursive: true });
  await chmodAll(join(target, "buildpacks"));
  return { trees, digest: `${await digestDirectory(trees.runner)} ${await digestDirectory(trees.builder)}` };
}

/** The same modes whatever the checkout's umask was; what was a program stays one. */
async function chmodAll(directory: string): Promise<void> {
  await chmod(directory, 0o755);
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    const isProgram = /(^|\/)bin$/.test(entry.parentPath) || entry.parentPath === directory;
    await chmod(path, entry.isDirectory() || isProgram ? 0o755 : 0o644);
  }
}
