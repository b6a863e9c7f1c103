// Which package versions an image built now would get: apt's own resolver over a private, empty system, so that the
// cached tree is used exactly when it would come out the same.
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { exec } from "#lib/exec.ts";
import type { ImagePackage } from "./manifest.ts";

export interface ResolveOptions {
  /** An empty directory of this build's own. */
  directory: string;
  sources: readonly string[];
  packages: readonly string[];
  architecture: string;
  /** Settings of apt of this machine, `Name=value`. */
  apt: readonly string[];
  environment: NodeJS.ProcessEnv;
  signal: AbortSignal;
}

export async function resolvePackages(options: ResolveOptions): Promise<ImagePackage[]> {
  const { directory, sources, packages, architecture, apt, environment, signal } = options;
  for (const name of ["lists/partial", "cache/archives/partial", "etc/trusted.gpg.d", "etc/parts"]) {
    await mkdir(join(directory, name), { recursive: true });
  }
  const sourceList = join(directory, "etc/sources.list");
  const status = join(directory, "status");
  await writeFile(sourceList, `${sources.join("\n")}\n`);
  await writeFile(status, "");
  const settings = [
    `Dir::State=${directory}`,
    `Dir::State::status=${status}`,
    `Dir::State::extended_states=${join(directory, "extended_states")}`,
    `Dir::Cache=${join(directory, "cache")}`,
    `Dir::Etc::sourcelist=${sourceList}`,
    `Dir::Etc::sourceparts=${join(directory, "etc/parts")}`,
    `Dir::Etc::preferences=${join(directory, "etc/preferences")}`,
    `Dir::Etc::preferencesparts=${join(directory, "etc/parts")}`,
    `APT::Architecture=${architecture}`,
    `APT::Architectures=${architecture}`,
    "APT::Install-Recommends=false",
    "APT::Sandbox::User=root",
    "Acquire::Languages=none",
    "Acquire::Retries=3",
    // Of one connection or read: archives nobody answers for are known after half a minute.
    "Acquire::http::Timeout=20",
    "Acquire::https::Timeout=20",
    ...apt,
  ].flatMap((setting) => ["-o", setting]);
  await exec(["apt-get", ...settings, "--error-on=any", "update"], {
    env: environment,
    signal,
    timeoutMs: 300_000,
  }).catch((cause) => {
    throw new Error("read the Debian package lists", { cause });
  });
  const install = ["apt-get", ...settings, "--simulate", "--yes", "install", "?essential", "apt", ...packages];
  const { stdout } = await exec(install, { env: environment, signal, timeoutMs: 120_000 }).catch((cause) => {
    throw new Error("choose the image's packages", { cause });
  });
  return parseSimulation(stdout);
}

/** Lines `Inst name (version archive [arch])` of apt-get --simulate, sorted by name. */
export function parseSimulation(text: string): ImagePackage[] {
  const found = text.split("\n").flatMap((line) => {
    const match = /^Inst (\S+) (?:\[[^\]]*\] )?\((\S+) /.exec(line);
    return match ? [{ name: match[1]!, version: match[2]! }] : [];
  });
  return found.sort(byName);
}

/** Lines `name<TAB>version` of dpkg-query, sorted by name. */
export function parseInstalled(text: string): ImagePackage[] {
  const lines = text.split("\n").filter((line) => line !== "");
  return lines.map((line) => ({ name: line.split("\t")[0]!, version: line.split("\t")[1] ?? "" })).sort(byName);
}

const byName = (a: ImagePackage, b: ImagePackage): number => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0);
