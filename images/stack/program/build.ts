// One build, from the source archive to the slug: unpack, leave out, choose buildpacks, compile, say what was found, pack.
// Everything here is the app's own business, inside the app's own sandbox: it trusts nothing but needs no secret either.
import { cp, mkdir, readFile, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { isFault } from "#api/fault.ts";
import { parseProcfile } from "#api/procfile.ts";
import { ExecError, exec } from "#lib/exec.ts";
import { formatSize } from "#lib/units.ts";
import { choose } from "./choose.ts";
import { type Description, readDescription } from "./description.ts";
import { BuildFailure } from "./failure.ts";
import { afterExport, compile, detect, type Pack, type PackRun, type Release, release, report } from "./pack.ts";
import type { Places } from "./places.ts";
import type { Say } from "./say.ts";
import { writeSlug } from "./slug.ts";
import { applySlugIgnore, parseSlugIgnore } from "./slugignore.ts";
import { appTree } from "./tree.ts";

export interface BuildOptions {
  places: Places;
  say: Say;
  /** Where buildpacks' own output goes. */
  outputFd: number;
  path: string;
  stack: string;
  signal: AbortSignal;
}

export interface Built {
  detected: string;
  processes: Record<string, string>;
  /** What bin/report said, by buildpack, of those that have one. */
  report: Record<string, string>;
}

const LARGE_SLUG_BYTES = 500 * 1024 ** 2;
/** Caches that programs leave at home, which here is the app's own folder. */
const droppings = [
  ".npm",
  ".node-gyp",
  ...["pip", "uv", "yarn", "node", "node-gyp", "go-build"].map((name) => `.cache/${name}`),
];

export async function build(options: BuildOptions): Promise<Built> {
  const { places, say, outputFd, path, stack, signal } = options;
  const description = await readDescription(places);
  await unpackSource(places, path, signal);
  await leaveOut(places, say);
  const inSource = new Set(
    (await Promise.all(droppings.map((name) => exists(join(places.app, name))))).flatMap((is, at) =>
      is ? [droppings[at]!] : [],
    ),
  );
  const cache = await openCache(places.cache, { path, signal });
  for (const directory of [places.env, dirname(places.slug)]) await mkdir(directory, { recursive: true });
  // Each buildpack's folder is its own to write to (export): ours are used as copies.
  const own = { ...places, buildpacks: join(places.temporary, "buildpacks") };
  await cp(places.buildpacks, own.buildpacks, { recursive: true });
  const run: PackRun = {
    buildDirectory: places.app,
    cacheDirectory: cache.directory,
    envDirectory: places.env,
    environment: environmentOf(description, { app: places.app, path, stack }),
    outputFd,
    signal,
  };
  const { packs } = await choose(own, run, { configured: description.buildpacks, say });
  const tree = appTree(places, { path, signal });
  const names: string[] = [];
  const compiled: { pack: Pack; run: PackRun }[] = [];
  const reports: Record<string, string> = {};
  try {
    let environment = run.environment;
    for (const { pack, name: known } of packs) {
      const withExports = { ...run, buildDirectory: await tree.enter(pack), environment };
      const name = known ?? (await detect(pack, withExports));
      if (name === undefined) throw new BuildFailure(`the app does not fit the buildpack ${pack.shown}`);
      names.push(name);
      say.step(`${name} app detected`);
      compiled.push({ pack, run: withExports });
      await compile(pack, withExports).catch((error: unknown) => {
        throw error instanceof BuildFailure
          ? new BuildFailure(`failed to compile ${name} app: ${error.message}`)
          : error;
      });
      environment = await afterExport(pack, withExports);
    }
  } finally {
    for (const { pack, run: its } of compiled) {
      const itsNow = { ...its, buildDirectory: tree.directory() };
      const said = signal.aborted ? "" : await report(pack, itsNow).catch(() => "");
      if (said !== "") reports[pack.shown] = said;
    }
  }
  const last = compiled.at(-1)!;
  const defaults = await release(last.pack, last.run);
  await tree.settle();
  const processes = await processTypes(places, last.pack, defaults, say);
  for (const name of droppings)
    if (!inSource.has(name)) await rm(join(places.app, name), { recursive: true, force: true });
  say.step("Compressing...");
  const { sizeBytes } = await writeSlug({ app: places.app, output: places.slug, path, signal });
  say.detail(`Done: ${formatSize(sizeBytes)}`);
  if (sizeBytes > LARGE_SLUG_BYTES)
    say.warn(
      `The slug is large: every host that starts the app fetches ${formatSize(sizeBytes)} first.\nA .slugignore file leaves out what the app does not need.`,
    );
  await cache.keep();
  return { detected: names.join(", "), processes, report: reports };
}

/** Nothing of the builder's own environment and no variable of the app: buildpacks read those from ENV_DIR. */
export function environmentOf(
  { commit, build: id, environment }: Pick<Description, "commit" | "build"> & Partial<Pick<Description, "environment">>,
  { app, path, stack }: { app: string; path: string; stack: string },
): NodeJS.ProcessEnv {
  return {
    ...environment,
    PATH: path,
    HOME: app,
    LANG: "C.UTF-8",
    STACK: stack,
    SOURCE_VERSION: commit,
    REQUEST_ID: id,
    APP_DIR: app,
    CURL_CONNECT_TIMEOUT: "30",
    CURL_TIMEOUT: "180",
  };
}

async function unpackSource(places: Places, path: string, signal: AbortSignal): Promise<void> {
  await mkdir(places.app, { recursive: true });
  const argv = ["tar", "--extract", `--file=${places.source}`, `--directory=${places.app}`, "--no-same-owner"];
  // Not its mode and date for the folder itself: it is ours.
  const options = ["--no-overwrite-dir", "--delay-directory-restore"];
  await exec([...argv, ...options], { env: { PATH: path, LANG: "C.UTF-8" }, signal, timeoutMs: 600_000 }).catch(
    (cause) => {
      signal.throwIfAborted();
      const said = cause instanceof ExecError ? cause.stderr.trim().split("\n").slice(-3).join("\n") : String(cause);
      throw new BuildFailure("the source could not be unpacked", { cause, details: [said.slice(0, 1_000)] });
    },
  );
  await rm(join(places.app, ".git"), { recursive: true, force: true });
}

async function leaveOut(places: Places, say: Say): Promise<void> {
  const text = await readFile(join(places.app, ".slugignore"), "utf8").catch(() => undefined);
  if (text === undefined) return;
  const rules = parseSlugIgnore(text);
  for (const warning of rules.warnings) say.warn(warning);
  const count = await applySlugIgnore(places.app, rules);
  const unused = rules.unused().map((line) => JSON.stringify(line.slice(0, 60)));
  if (unused.length > 0)
    say.detail(`.slugignore: nothing is called ${unused.slice(0, 5).join(", ")}${unused.length > 5 ? ", ..." : ""}`);
  say.detail(`.slugignore: ${count === 1 ? "1 entry" : `${count} entries`} left out`);
}

/** The Procfile's process types over the last buildpack's. */
async function processTypes(
  places: Places,
  pack: Pack,
  { processes: defaults, warnings }: Release,
  say: Say,
): Promise<Record<string, string>> {
  for (const warning of warnings) say.warn(warning);
  const text = await readFile(join(places.app, "Procfile"), "utf8").catch(() => undefined);
  let declared: Record<string, string> = {};
  if (text !== undefined) {
    try {
      const procfile = parseProcfile(text);
      for (const warning of procfile.warnings) say.warn(warning);
      declared = procfile.types;
    } catch (error) {
      if (isFault(error)) throw new BuildFailure(error.message);
      throw error;
    }
  }
  say.step("Discovering process types");
  const added = Object.keys(defaults).filter((name) => !Object.hasOwn(declared, name));
  if (text !== undefined) say.detail(`Procfile declares types -> ${Object.keys(declared).join(", ") || "(none)"}`);
  if (added.length > 0) say.detail(`Default types for ${pack.shown} -> ${added.join(", ")}`);
  const processes = { ...defaults, ...declared };
  if (Object.keys(processes).length === 0)
    say.warn("No process type is known. Add a Procfile with a line such as `web: COMMAND`.");
  return processes;
}

interface Cache {
  directory: string;
  /** Makes what the build left in it the app's cache. */
  keep(): Promise<void>;
}

/** Buildpacks work on a copy, which becomes the app's cache when the build succeeds: a failed one spoils nothing. */
async function openCache(root: string, options: { path: string; signal: AbortSignal }): Promise<Cache> {
  const kept = join(root, "kept");
  const directory = join(root, "work");
  await rm(directory, { recursive: true, force: true });
  await mkdir(directory, { recursive: true });
  if (await exists(kept)) {
    const argv = ["cp", "--archive", "--reflink=auto", "--", `${kept}/.`, directory];
    const copied = exec(argv, { env: { PATH: options.path }, signal: options.signal, timeoutMs: 600_000 });
    await copied.catch(async () => {
      options.signal.throwIfAborted();
      await rm(directory, { recursive: true, force: true }); // a cache that cannot be read is no cache
      await mkdir(directory);
    });
  }
  return {
    directory,
    async keep() {
      const old = join(root, "old");
      await rm(old, { recursive: true, force: true });
      if (await exists(kept)) await rename(kept, old);
      await rename(directory, kept);
      await rm(old, { recursive: true, force: true });
    },
  };
}

async function exists(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined)) !== undefined;
}
