// One build of the stack: Debian trees to two large layers, kept by what went into them; our own small layers on top; two
// `docker save` archives. What exists already is not made again.
import { mkdir, rename, stat } from "node:fs/promises";
import { join } from "node:path";
import { readJson, writeFileAtomic } from "#lib/files.ts";
import { causeChain } from "#lib/run.ts";
import { formatSize } from "#lib/units.ts";
import { buildEnvironment } from "../config.ts";
import { debianSources } from "../host/apt-sources.ts";
import { nodeFolder } from "../host/bundle.ts";
import { byAge, keepNewest } from "../host/cache.ts";
import { digest, digestDirectory, digestFile } from "../host/digest.ts";
import { resolvePackages } from "../host/packages.ts";
import { requirePrograms } from "../host/prerequisites.ts";
import { withWorkDirectory } from "../host/work.ts";
import { type Installers, machineInstallers, noInstallers } from "../installers.ts";
import { type ImageDescription, writeArchive } from "./archive.ts";
import { type Layer, makeLayer } from "./layer.ts";
import { overlays } from "./overlays.ts";
import * as recipe from "./recipe.ts";
import { difference, snapshot } from "./snapshot.ts";
import { makeTrees, toolsDirectory } from "./trees.ts";

export interface StackOptions {
  cacheDirectory: string;
  /** Take the newest layers of the cache instead of asking the archives which packages there are. */
  offline: boolean;
  say: (line: string) => void;
  signal: AbortSignal;
}

export interface BuiltStack {
  name: string;
  runner: BuiltArchive;
  builder: BuiltArchive;
  /** True when both archives of the same inputs were there already. */
  reused: boolean;
}

export interface BuiltArchive {
  path: string;
  /** `sha256:...` of the image's configuration. */
  id: string;
  sizeBytes: number;
  /** Bytes of all layers, unpacked. */
  unpackedBytes: number;
}

/** The large layers, as the cache describes them. */
interface DebianLayers {
  runner: Omit<Layer, "path">;
  builder: Omit<Layer, "path">;
  epochSeconds: number;
}

const LAYERS = /^layers-[0-9a-f]{16}\.json$/;
const LAYER_FILES = /^layer-[0-9a-f]{16}-(runner|builder)\.tar\.gz$/;
const STACKS = /^stack-[0-9a-f]{16}\.json$/;
const ARCHIVES = /^(runner|builder)-[0-9a-f]{16}\.tar$/;
const KEPT = 2;

type Doing = Pick<StackOptions, "cacheDirectory" | "say" | "signal"> & { workDirectory: string; machine: Installers };

export async function buildStack(options: StackOptions): Promise<BuiltStack> {
  const { cacheDirectory, offline, say } = options;
  await requirePrograms(buildEnvironment(recipe.installEpochSeconds)["PATH"]!);
  await mkdir(cacheDirectory, { recursive: true });
  return await withWorkDirectory(cacheDirectory, async (workDirectory) => {
    const machine = offline
      ? noInstallers
      : await machineInstallers({ directory: workDirectory, signal: options.signal });
    const doing = { ...options, workDirectory, machine };
    const sources = offline ? [] : withBackports(await debianSources(recipe));
    const key = offline ? await newestKey(cacheDirectory) : await currentKey(sources, doing);
    if (key === undefined)
      throw new Error(`no layers in ${cacheDirectory} yet: the first build needs the package archives`);
    const ours = await overlays(join(workDirectory, "ours"));
    const steps = await digestFile(join(import.meta.dirname, "archive.ts"));
    const id = digest([key, ours.digest, recipe.runnerEnvironment, recipe.builderEnvironment, steps]).slice(0, 16);
    const existing = await findStack(cacheDirectory, id);
    if (existing) {
      say("the stack of the same inputs is there already");
      return { ...existing, reused: true };
    }
    const debian = await debianLayers(key, sources, doing);
    const built = await assemble({ id, key, debian, ours: ours.trees, doing });
    await keepNewest(cacheDirectory, ARCHIVES, 2 * KEPT);
    await keepNewest(cacheDirectory, STACKS, KEPT);
    return { ...built, reused: false };
  });
}

/** Backports of the same archives: where Debian keeps newer Go compilers. */
function withBackports(sources: readonly string[]): string[] {
  const main = ` ${recipe.suite} ${recipe.components.join(" ")}`;
  const more = sources
    .filter((line) => line.endsWith(main))
    .map((line) => line.replace(` ${recipe.suite} `, ` ${recipe.backports} `));
  return [...sources, ...more];
}

/** Without an answer of the archives the last build's packages do, if there was one: an appliance may have no way out. */
async function currentKey(sources: readonly string[], doing: Doing): Promise<string> {
  try {
    return await layersKey(sources, doing);
  } catch (error) {
    const last = await newestKey(doing.cacheDirectory);
    if (last === undefined || doing.signal.aborted) throw error;
    doing.say(`the archives do not answer (${causeChain(error).join(": ")}); the packages of the last build are used`);
    return last;
  }
}

async function layersKey(sources: readonly string[], doing: Doing): Promise<string> {
  doing.say("asking the Debian archives which packages the images would get");
  const { runnerPackages, builderPackages, architecture } = recipe;
  const resolved = await resolvePackages({
    directory: join(doing.workDirectory, "apt"),
    sources,
    packages: [...runnerPackages, ...builderPackages],
    architecture,
    apt: doing.machine.apt,
    environment: { ...doing.machine.proxies, ...buildEnvironment(recipe.installEpochSeconds) },
    signal: doing.signal,
  });
  const inputs = [
    resolved,
    runnerPackages,
    recipe.runnerPurged,
    recipe.dpkgPaths,
    recipe.pruned,
    recipe.uvRequirement,
    recipe.goCompiled,
    await digestDirectory(toolsDirectory),
    await digestFile(join(nodeFolder(), "bin/node")),
    // the steps themselves
    await digestFile(join(import.meta.dirname, "trees.ts")),
  ];
  return digest(inputs).slice(0, 16);
}

async function newestKey(cacheDirectory: string): Promise<string | undefined> {
  return (await byAge(cacheDirectory, LAYERS))[0]?.slice("layers-".length, -".json".length);
}

async function debianLayers(key: string, sources: readonly string[], doing: Doing): Promise<DebianLayers> {
  const { cacheDirectory, workDirectory, machine, say, signal } = doing;
  const description = join(cacheDirectory, `layers-${key}.json`);
  const cached = await readJson<DebianLayers>(description);
  if (cached !== undefined && (await areThere(["runner", "builder"].map((name) => layerFile(doing, key, name))))) {
    say("Debian layers taken from the cache");
    return cached;
  }
  const environment = { ...machine.proxies, ...buildEnvironment(recipe.installEpochSeconds) };
  const trees = await makeTrees({ workDirectory, sources, machine, say, run: { environment, signal } });
  const { epochSeconds } = trees;
  const [before, after] = [await snapshot(trees.runner), await snapshot(trees.builder)];
  const pack = async (name: "runner" | "builder", written: readonly string[], removed: readonly string[] = []) => {
    const own = join(workDirectory, `layer-${name}`);
    await mkdir(own);
    const fresh = join(own, "layer.tar.gz");
    const made = await makeLayer({
      ...{ tree: trees[name], written, removed, output: fresh, workDirectory: own, epochSeconds },
      ...{ environment: buildEnvironment(epochSeconds), signal },
    });
    await rename(fresh, layerFile(doing, key, name));
    say(`${name} layer: ${formatSize(made.unpackedBytes)}, packed ${formatSize(made.sizeBytes)}`);
    const { path: _, ...rest } = made;
    return rest;
  };
  const more = difference(before, after);
  say("packing the layers");
  const [runner, builder] = await Promise.all([
    pack("runner", [...before.keys()]),
    pack("builder", more.written, more.removed),
  ]);
  const layers: DebianLayers = { runner, builder, epochSeconds };
  await writeFileAtomic(description, JSON.stringify(layers));
  await keepNewest(cacheDirectory, LAYER_FILES, 2 * KEPT);
  await keepNewest(cacheDirectory, LAYERS, KEPT);
  return layers;
}

function layerFile({ cacheDirectory }: Pick<Doing, "cacheDirectory">, key: string, name: string): string {
  return join(cacheDirectory, `layer-${key}-${name}.tar.gz`);
}

/** Lays our small layers on the large ones and writes both archives. */
async function assemble(from: {
  id: string;
  key: string;
  debian: DebianLayers;
  ours: { runner: string; builder: string };
  doing: Doing;
}): Promise<Omit<BuiltStack, "reused">> {
  const { id, key, debian, ours, doing } = from;
  const { cacheDirectory, workDirectory, say, signal } = doing;
  const { epochSeconds } = debian;
  const environment = buildEnvironment(epochSeconds);
  const large = (name: "runner" | "builder"): Layer => ({ ...debian[name], path: layerFile(doing, key, name) });
  const small = async (name: "runner" | "builder"): Promise<Layer> => {
    const own = join(workDirectory, `ours-${name}`);
    await mkdir(own);
    const written = [...(await snapshot(ours[name])).keys()];
    const output = join(own, "layer.tar.gz");
    return makeLayer({
      ...{ tree: ours[name], written, output, workDirectory: own, epochSeconds, owner: "0" },
      ...{ environment, signal },
    });
  };
  const [runnerTop, builderTop] = [await small("runner"), await small("builder")];
  const runnerLayers = [
    { ...large("runner"), createdBy: "Debian packages of the runner" },
    { ...runnerTop, createdBy: "flynn: start" },
  ];
  const builderLayers = [
    ...runnerLayers,
    { ...large("builder"), createdBy: "Debian packages of the builder" },
    { ...builderTop, createdBy: "flynn: build, buildpacks" },
  ];
  const common = {
    architecture: recipe.architecture,
    createdAt: new Date(epochSeconds * 1000).toISOString(),
    user: recipe.appUser.name,
    workingDirectory: recipe.appUser.home,
    labels: { "io.flynn.stack": recipe.stackName },
  };
  const archive = async (
    name: "runner" | "builder",
    layers: typeof runnerLayers,
    rest: Pick<ImageDescription, "environment" | "entrypoint" | "command">,
  ): Promise<BuiltArchive> => {
    const own = join(workDirectory, `archive-${name}`);
    await mkdir(own);
    const path = join(cacheDirectory, `${name}-${id}.tar`);
    const image = { ...common, ...rest, reference: `flynn/${name}:${recipe.stackName}`, layers };
    const written = await writeArchive({
      ...{ image, layers, output: path, workDirectory: own },
      ...{ epochSeconds, environment, signal },
    });
    const { size: sizeBytes } = await stat(path);
    const unpackedBytes = layers.reduce((sum, layer) => sum + layer.unpackedBytes, 0);
    say(`${name} image: ${formatSize(unpackedBytes)}, archive ${formatSize(sizeBytes)}`);
    return { path, id: written.id, sizeBytes, unpackedBytes };
  };
  const runner = await archive("runner", runnerLayers, {
    environment: recipe.runnerEnvironment,
    entrypoint: ["/flynn/start"],
  });
  const builder = await archive("builder", builderLayers, {
    environment: recipe.builderEnvironment,
    command: ["/flynn/build"],
  });
  const stack = { name: recipe.stackName, runner, builder };
  await writeFileAtomic(join(cacheDirectory, `stack-${id}.json`), JSON.stringify(stack));
  return stack;
}

async function findStack(cacheDirectory: string, id: string): Promise<Omit<BuiltStack, "reused"> | undefined> {
  const found = await readJson<Omit<BuiltStack, "reused">>(join(cacheDirectory, `stack-${id}.json`));
  if (found === undefined) return undefined;
  const paths = (["runner", "builder"] as const).map((name) => join(cacheDirectory, `${name}-${id}.tar`));
  if (!(await areThere(paths))) return undefined;
  // The cache may have been moved since.
  return { ...found, runner: { ...found.runner, path: paths[0]! }, builder: { ...found.builder, path: paths[1]! } };
}

async function areThere(paths: readonly string[]): Promise<boolean> {
  const found = await Promise.all(paths.map((path) => stat(path).catch(() => undefined)));
  return found.every((each) => each !== undefined);
}
