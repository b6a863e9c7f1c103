// The Debian tree of the image as a tar: made by mmdebstrap once for a list of package versions, kept in the cache.
import { rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { exec } from "#lib/exec.ts";
import { byAge, keepNewest } from "./cache.ts";
import { contained, type InsideOptions } from "./inside.ts";
import { type Architecture, dpkgPaths, packagesOf, suite } from "./recipe.ts";
import { FIRST_STAGE, secondStage } from "./second-stage.ts";

/** Trees of each architecture are kept apart: those of amd64 have no more than a key in their name. */
const prefixOf = (architecture: Architecture) => (architecture === "amd64" ? "tree-" : `tree-${architecture}-`);
const treesOf = (architecture: Architecture) => new RegExp(`^${prefixOf(architecture)}[0-9a-f]+\\.tar$`);
const KEPT_TREES = 2;

/** As Debian's own installer makes it; a tree that was filled before cannot be merged without running a program of it. */
const MERGED =
  '--setup-hook=for each in bin lib sbin; do mkdir -p "$1/usr/$each" && ln -s "usr/$each" "$1/$each"; done';

export interface TreeOptions {
  cacheDirectory: string;
  workDirectory: string;
  architecture: Architecture;
  key: string;
  sources: readonly string[];
  /** Settings of apt, `Name=value`. */
  apt: readonly string[];
  say: (line: string) => void;
  run: Omit<InsideOptions, "timeoutMs" | "onLine">;
}

/** Path of the tree's tar, from the cache or newly made. */
export async function debianTree(options: TreeOptions): Promise<{ tar: string; cached: boolean }> {
  const { cacheDirectory, workDirectory, architecture, key, sources, apt, say, run } = options;
  const tar = join(cacheDirectory, `${prefixOf(architecture)}${key}.tar`);
  if (await stat(tar).catch(() => undefined)) return { tar, cached: true };
  const root = join(workDirectory, "debian");
  const fresh = join(workDirectory, "tree.tar");
  const packages = packagesOf(architecture);
  await bootstrap({ root, workDirectory, suite, architecture, packages, dpkgPaths, sources, apt, say, run });
  const pack = [
    "tar",
    "--create",
    "--file",
    fresh,
    "--directory",
    root,
    "--sort=name",
    "--numeric-owner",
    "--xattrs",
    ".",
  ];
  await exec(pack, { env: run.environment, signal: run.signal, timeoutMs: 600_000 });
  await rename(fresh, tar);
  await rm(root, { recursive: true });
  await keepNewest(cacheDirectory, treesOf(architecture), KEPT_TREES);
  return { tar, cached: false };
}

/** A new Debian tree of these packages at `root`. A directory: mmdebstrap's own tar would date all files SOURCE_DATE_EPOCH. */
export async function bootstrap(options: {
  root: string;
  workDirectory: string;
  suite: string;
  architecture: string;
  packages: readonly string[];
  dpkgPaths: readonly string[];
  sources: readonly string[];
  apt: readonly string[];
  say: (line: string) => void;
  run: Omit<InsideOptions, "timeoutMs" | "onLine">;
}): Promise<void> {
  const { root, workDirectory, suite: release, sources, say, run } = options;
  const isEmulated = run.emulator !== undefined;
  const argv = [
    "mmdebstrap",
    "--mode=root",
    ...(options.packages.includes("usr-is-merged") ? [MERGED] : []),
    ...(isEmulated ? FIRST_STAGE : ["--variant=minbase"]),
    "--format=directory",
    `--architectures=${options.architecture}`,
    `--include=${options.packages.join(",")}`,
    "--dpkgopt=force-unsafe-io",
    ...options.dpkgPaths.map((rule) => `--dpkgopt=${rule}`),
    ...options.apt.map((setting) => `--aptopt=${setting.replace("=", ' "')}"`),
    release,
    root,
    ...sources,
  ];
  await contained(argv, {
    ...run,
    environment: { ...run.environment, TMPDIR: workDirectory },
    timeoutMs: 1_800_000,
    onLine: (line) => {
      const step = /^I: (.*)/.exec(line)?.[1];
      if (step !== undefined && !step.includes("--setup-hook")) say(`mmdebstrap: ${step}`);
    },
  });
  if (isEmulated) await secondStage({ root, workDirectory, say, run });
}

/** The key of the newest tree in the cache, for a build without a network. */
export async function newestTreeKey(cacheDirectory: string, architecture: Architecture): Promise<string | undefined> {
  const [newest] = await byAge(cacheDirectory, treesOf(architecture));
  return newest?.slice(prefixOf(architecture).length, -".tar".length);
}
