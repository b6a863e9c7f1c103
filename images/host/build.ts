// One build of the host image, from package lists to a signed directory: every step's result is named by a digest of what
// went into it, and what exists already is not made again.
import { chmod, cp, mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { readText, syncDirectory, writeFileAtomic } from "#lib/files.ts";
import { formatSize } from "#lib/units.ts";
import { buildEnvironment } from "../config.ts";
import { machineInstallers, noInstallers } from "../installers.ts";
import { debianSources } from "./apt-sources.ts";
import { type Agent, agentBundle, nodeOf } from "./bundle.ts";
import { keepNewest } from "./cache.ts";
import { prependSegment } from "./cpio.ts";
import { customizeTree, dateDirectories, makeInitrd, overlayDirectory, unpackTree } from "./customize.ts";
import { digest, digestBytes, digestDirectory, digestFile } from "./digest.ts";
import { driversOf } from "./drivers.ts";
import { emulatorOf } from "./emulator.ts";
import { createManifest, imageFiles, type Manifest, manifestText, parseManifest } from "./manifest.ts";
import { resolvePackages } from "./packages.ts";
import { requirePrograms } from "./prerequisites.ts";
import * as recipe from "./recipe.ts";
import { tieSegment } from "./segment.ts";
import { signingKey, signManifest } from "./signature.ts";
import { makeSquashfs, squashfsArguments } from "./squashfs.ts";
import { debianTree, newestTreeKey } from "./tree.ts";
import { makeUki, ownKeys, requireUki, type UkiKeys } from "./uki.ts";
import { withWorkDirectory } from "./work.ts";

export interface BuildOptions {
  architecture: recipe.Architecture;
  outDirectory: string;
  cacheDirectory: string;
  signingKeyFile: string;
  /** The agent's entry to bundle, or with `bundleFile` a bundle made elsewhere. */
  agentEntry: string;
  bundleFile?: string;
  /** lz4 instead of zstd: quick to build, larger. */
  fast: boolean;
  /** Take the newest cached tree instead of asking the archives which packages there are. */
  offline: boolean;
  epochSeconds?: number;
  /** A signed unified kernel image beside the rest. */
  uki?: { keys?: UkiKeys; bootServer?: string };
  say: (line: string) => void;
  signal: AbortSignal;
}

export interface BuiltImage {
  directory: string;
  manifest: Manifest;
  publicKeyFile: string;
  /** True when an image of the same inputs was there already. */
  reused: boolean;
}

export async function buildHostImage(options: BuildOptions): Promise<BuiltImage> {
  const { architecture, outDirectory, cacheDirectory, signingKeyFile, fast, offline, say, signal } = options;
  const environment = buildEnvironment(recipe.installEpochSeconds);
  const path = environment["PATH"]!;
  await requirePrograms(path);
  const emulator = await emulatorOf({ architecture, path });
  await mkdir(outDirectory, { recursive: true });
  if (options.uki !== undefined) await requireUki(architecture, path);
  const key = await signingKey(signingKeyFile);
  return await withWorkDirectory(cacheDirectory, async (workDirectory) => {
    const sources = offline ? [] : await debianSources(recipe);
    const machine = offline ? noInstallers : await machineInstallers({ directory: workDirectory, signal });
    const { apt } = machine;
    const run = { environment: { ...machine.proxies, ...environment }, signal, emulator };
    const host: Agent = {
      bundle: await agentBundle({ entry: options.agentEntry, bundleFile: options.bundleFile }),
      nodePath: await nodeOf({ architecture, cacheDirectory, workDirectory, environment: machine.environment, signal }),
    };
    const treeKey = offline
      ? await newestTreeKey(cacheDirectory, architecture)
      : await currentTreeKey({ architecture, workDirectory, sources, apt, say, run });
    if (treeKey === undefined)
      throw new Error(
        `no Debian tree of ${architecture} in ${cacheDirectory} yet: the first build needs the package archives`,
      );
    const uki = options.uki && {
      bootServer: options.uki.bootServer,
      keys: options.uki.keys ?? (await ownKeys(`${signingKeyFile}-uki`, { environment, signal })),
    };
    const signed = uki && [await digestFile(uki.keys.certificateFile), uki.bootServer ?? ""];
    const { epochSeconds: epoch } = options;
    const inputs = await inputsDigest({ architecture, treeKey, host, fast, epochSeconds: epoch, signed });
    const publicKeyFile = `${signingKeyFile}.pub`;
    const existing = await findImage(outDirectory, inputs);
    if (existing) {
      say(`image ${existing.manifest.id} of the same inputs is there already`);
      await sign(existing.directory, key.privateKey);
      return { ...existing, publicKeyFile, reused: true };
    }

    const { tar, cached } = await debianTree({
      cacheDirectory,
      workDirectory,
      architecture,
      key: treeKey,
      sources,
      apt,
      say,
      run,
    });
    say(cached ? "Debian tree taken from the cache" : "Debian tree made");
    const tree = join(workDirectory, "root");
    await unpackTree(tar, tree, run);
    say("putting the host's files into the tree");
    const custom = await customizeTree({ tree, workDirectory, architecture, run });
    const epochSeconds = options.epochSeconds ?? custom.newestPackageSeconds;
    const dated = { environment: buildEnvironment(epochSeconds), signal, emulator };

    const initrdFile = join(cacheDirectory, `initrd-${await initrdDigest(architecture, treeKey, epochSeconds)}`);
    const initrd = await cachedFile(initrdFile, async () => {
      say("making the initrd");
      return await makeInitrd({ tree, architecture, version: custom.kernel.version, run: dated });
    });
    await keepNewest(cacheDirectory, /^initrd-[0-9a-f]+$/, 4);
    await rm(join(tree, "boot"), { recursive: true });
    await mkdir(join(tree, "boot"));

    await installAgent(tree, host);
    await dateDirectories(tree, epochSeconds, run);
    say(`packing the root image (${fast ? "lz4" : "zstd"})`);
    const staged = join(workDirectory, "image");
    await mkdir(staged);
    const squashfsPath = join(staged, imageFiles.squashfs);
    await makeSquashfs({ tree, output: squashfsPath, fast, ...dated });
    const squashfs = await digestFile(squashfsPath);
    const memoryNeedBytes = squashfs.sizeBytes + recipe.memoryBesideImageBytes;
    const tie = { squashfsSha256: squashfs.sha256, squashfsBytes: squashfs.sizeBytes, memoryNeedBytes };
    // Development images go without: a virtual machine's processor is its host's to mend, and it is 20 MB of each boot.
    const segment = tieSegment(tie, epochSeconds, fast ? [] : custom.microcode);
    await writeFile(join(staged, imageFiles.initrd), prependSegment(segment, initrd));
    await cp(custom.kernel.path, join(staged, imageFiles.kernel));
    if (uki !== undefined) {
      say("making the signed unified kernel image");
      const [kernelFile, initrdPath] = [join(staged, imageFiles.kernel), join(staged, imageFiles.initrd)];
      const cmdline = recipe.cmdlineOf(architecture);
      const output = join(staged, imageFiles.uki);
      await makeUki({ kernelFile, initrdFile: initrdPath, cmdline, ...uki, output, workDirectory, ...dated });
    }

    const manifest = createManifest({
      name: "host",
      createdAt: new Date(epochSeconds * 1000).toISOString(),
      architecture,
      kernel: { ...(await digestFile(join(staged, imageFiles.kernel))), version: custom.kernel.version },
      initrd: await digestFile(join(staged, imageFiles.initrd)),
      squashfs,
      ...(uki === undefined ? {} : { uki: await digestFile(join(staged, imageFiles.uki)) }),
      cmdline: recipe.cmdlineOf(architecture),
      packages: custom.packages,
      memoryNeedBytes,
      inputs,
    });
    await writeFile(join(staged, "manifest.json"), manifestText(manifest));
    await sign(staged, key.privateKey);
    const directory = await publish(staged, outDirectory, manifest.id);
    say(
      `image ${manifest.id}: root ${formatSize(squashfs.sizeBytes)}, initrd ${formatSize(manifest.initrd.sizeBytes)}`,
    );
    return { directory, manifest, publicKeyFile, reused: false };
  });
}

async function currentTreeKey(options: {
  architecture: recipe.Architecture;
  workDirectory: string;
  sources: string[];
  apt: readonly string[];
  say: (line: string) => void;
  run: { environment: NodeJS.ProcessEnv; signal: AbortSignal };
}): Promise<string> {
  const { architecture, workDirectory, sources, apt, say, run } = options;
  say("asking the Debian archives which packages the image would get");
  const packages = recipe.packagesOf(architecture);
  const resolved = await resolvePackages({
    directory: join(workDirectory, "apt"),
    sources,
    packages,
    architecture,
    apt,
    ...run,
  });
  return digest([
    recipe.suite,
    recipe.components,
    packages,
    recipe.dpkgPaths,
    recipe.installEpochSeconds,
    resolved,
  ]).slice(0, 16);
}

/** What decides the initrd: the tree, what is put over it and taken out, how it is dated. */
async function initrdDigest(architecture: recipe.Architecture, treeKey: string, epochSeconds: number): Promise<string> {
  const own = [recipe.prunedOf(architecture), driversOf(architecture)];
  return digest([treeKey, await digestDirectory(overlayDirectory), ...own, epochSeconds]).slice(0, 16);
}

async function inputsDigest(from: {
  architecture: recipe.Architecture;
  treeKey: string;
  host: Agent;
  fast: boolean;
  epochSeconds?: number;
  signed?: unknown;
}): Promise<string> {
  const { architecture, treeKey, host, fast, epochSeconds = "newest package" } = from;
  const units = [recipe.maskedUnits, recipe.enabledUnits, recipe.disabledUnits];
  const parts = [
    treeKey,
    await digestDirectory(overlayDirectory),
    recipe.prunedOf(architecture),
    units,
    recipe.cmdlineOf(architecture),
    recipe.memoryBesideImageBytes,
  ];
  return digest([
    ...parts,
    squashfsArguments(fast),
    epochSeconds,
    digestBytes(host.bundle),
    await digestFile(host.nodePath),
    ...(from.signed === undefined ? [] : [from.signed]),
  ]);
}

async function installAgent(tree: string, host: Agent): Promise<void> {
  const directory = join(tree, "usr/lib/flynn");
  await mkdir(directory, { recursive: true });
  await cp(host.nodePath, join(directory, "node"));
  await chmod(join(directory, "node"), 0o755);
  await writeFile(join(directory, "hostd.mjs"), host.bundle);
}

async function cachedFile(path: string, make: () => Promise<Buffer>): Promise<Buffer> {
  const cached = await readFile(path).catch(() => undefined);
  if (cached) return cached;
  const made = await make();
  await writeFileAtomic(path, made);
  return made;
}

/** An image directory whose manifest names these inputs and whose files still have the manifest's hashes. */
async function findImage(
  outDirectory: string,
  inputs: string,
): Promise<{ directory: string; manifest: Manifest } | undefined> {
  for (const name of (await readdir(outDirectory)).filter((each) => /^[0-9a-f]{16}$/.test(each))) {
    const directory = join(outDirectory, name);
    const text = await readText(join(directory, "manifest.json"));
    if (text === undefined || !text.includes(inputs)) continue;
    const manifest = parseManifest(text);
    if (manifest.inputs === inputs && (await isWhole(directory, manifest))) return { directory, manifest };
  }
  return undefined;
}

async function isWhole(directory: string, manifest: Manifest): Promise<boolean> {
  for (const part of ["kernel", "initrd", "squashfs", "uki"] as const) {
    if (manifest[part] === undefined) continue;
    const found = await digestFile(join(directory, imageFiles[part])).catch(() => undefined);
    if (found?.sha256 !== manifest[part].sha256) return false;
  }
  return true;
}

async function sign(directory: string, privateKey: Parameters<typeof signManifest>[1]): Promise<void> {
  const bytes = await readFile(join(directory, "manifest.json"));
  await writeFileAtomic(join(directory, "manifest.sig"), signManifest(bytes, privateKey));
}

/** Copies beside the target, then renames: a reader sees the whole image or none. */
async function publish(staged: string, outDirectory: string, id: string): Promise<string> {
  const target = join(outDirectory, id);
  return await withWorkDirectory(outDirectory, async (beside) => {
    const copy = join(beside, "image");
    await cp(staged, copy, { recursive: true });
    await rm(target, { recursive: true, force: true });
    await rename(copy, target);
    await syncDirectory(outDirectory);
    return target;
  });
}
