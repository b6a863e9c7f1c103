// The two trees that the stack's large layers are made from: the runner's, and the builder's, which is the runner's and
// more. Both go through the same steps, so that what they share is the same to the byte.
import { chmod, chown, cp, mkdir, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { exec } from "#lib/exec.ts";
import { readText } from "#lib/files.ts";
import { nodeFolder } from "../host/bundle.ts";
import { newestPackage, prune } from "../host/customize.ts";
import { contained, type InsideOptions, inTree } from "../host/inside.ts";
import { bootstrap } from "../host/tree.ts";
import type { Installers } from "../installers.ts";
import * as recipe from "./recipe.ts";

export const toolsDirectory = join(import.meta.dirname, "tools");

type Run = Omit<InsideOptions, "timeoutMs" | "onLine">;

export interface TreesOptions {
  workDirectory: string;
  sources: readonly string[];
  /** How this machine reaches registries and archives. */
  machine: Installers;
  say: (line: string) => void;
  run: Run;
}

export interface Trees {
  runner: string;
  builder: string;
  /** Date of the newest package, seconds. */
  epochSeconds: number;
}

export async function makeTrees(options: TreesOptions): Promise<Trees> {
  const { workDirectory, sources, machine, say, run } = options;
  const tools = await nodeTools(join(workDirectory, "tools"), machine.environment, run.signal);
  const { suite, architecture, dpkgPaths, runnerPackages, builderPackages } = recipe;
  const tree = async (name: string, packages: readonly string[]): Promise<string> => {
    say(`installing the ${name}'s Debian packages`);
    const root = join(workDirectory, name);
    const told = (line: string) => say(`${name}: ${line}`);
    await bootstrap({
      root,
      workDirectory,
      suite,
      architecture,
      packages,
      dpkgPaths,
      sources,
      apt: machine.apt,
      say: told,
      run,
    });
    await customize(root, tools, run);
    return root;
  };
  const runner = await tree("runner", runnerPackages);
  await inTree(runner, ["apt-get", "--yes", "purge", ...recipe.runnerPurged], { ...run, timeoutMs: 120_000 });
  await prune(runner, recipe.pruned);
  const builder = await tree("builder", [...runnerPackages, ...builderPackages]);
  await customizeBuilder(builder, machine, run);
  return { runner, builder, epochSeconds: await newestPackage(builder) };
}

/** npm, yarn and pnpm as the lock file pins them; their integrity is npm's to check, scripts do not run. */
async function nodeTools(directory: string, environment: NodeJS.ProcessEnv, signal: AbortSignal): Promise<string> {
  await cp(toolsDirectory, directory, { recursive: true });
  const argv = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-bin-links"];
  await exec(argv, { cwd: directory, env: environment, signal, timeoutMs: 300_000 }).catch((cause) => {
    throw new Error("fetch npm, yarn and pnpm for the images", { cause });
  });
  const modules = join(directory, "node_modules");
  await rm(join(modules, ".package-lock.json"), { force: true });
  return modules;
}

/** What both images have beside Debian's packages. */
async function customize(tree: string, tools: string, run: Run): Promise<void> {
  const { name, id, home } = recipe.appUser;
  await cp(join(nodeFolder(), "bin/node"), join(tree, "usr/bin/node"));
  await chmod(join(tree, "usr/bin/node"), 0o755);
  // A copy made while npm was still unpacking the package would end every app with SIGSEGV, and stay in the cache.
  await exec([join(tree, "usr/bin/node"), "--version"], { timeoutMs: 30_000, signal: run.signal });
  const modules = join(tree, "usr/lib/node_modules");
  await cp(tools, modules, { recursive: true });
  await exec(["chown", "--recursive", "--no-dereference", "0:0", modules], {
    env: run.environment,
    signal: run.signal,
  });
  const programs = {
    npm: "npm/bin/npm-cli.js",
    npx: "npm/bin/npx-cli.js",
    pnpm: "pnpm/bin/pnpm.cjs",
    pnpx: "pnpm/bin/pnpx.cjs",
    yarn: "yarn/bin/yarn.js",
    "yarn-berry": "@yarnpkg/cli-dist/bin/yarn.js",
  };
  for (const [program, file] of Object.entries(programs)) {
    await chmod(join(modules, file), 0o755);
    await symlink(`../lib/node_modules/${file}`, join(tree, "usr/bin", program));
  }
  // npm's own defaults: it asks nobody about newer versions when an app starts.
  await writeFile(join(modules, "npm/npmrc"), "update-notifier=false\nfund=false\n");
  await symlink("python3", join(tree, "usr/bin/python"));
  const useradd = ["useradd", "--uid", String(id), "--user-group", "--home-dir", home, "--no-create-home"];
  await inTree(tree, [...useradd, "--shell", "/bin/bash", name], { ...run, timeoutMs: 30_000 });
  await ownDirectory(join(tree, home), id);
  await prune(tree, recipe.pruned);
}

async function customizeBuilder(tree: string, machine: Installers, run: Run): Promise<void> {
  for (const path of ["in", "in/env", "out", "cache"]) await ownDirectory(join(tree, path), recipe.appUser.id);
  const headers = join(nodeFolder(), "include/node");
  const otherMachines = /\/openssl\/archs\/(?!linux-x86_64(\/|$))/;
  const filter = (path: string) => !otherMachines.test(path);
  await cp(headers, join(tree, "usr/include/node"), { recursive: true, filter });
  for (const program of ["go", "gofmt"]) {
    await symlink(`../lib/go-1.23/bin/${program}`, join(tree, "usr/bin", program));
  }
  await compileGo(tree, run);
  await installUv(tree, machine, run);
  // Packages go into environments of an app's own; a buildpack that asks for this Python's folder asks for its own copy.
  await rm(join(tree, "usr/lib/python3.11/EXTERNALLY-MANAGED"), { force: true });
  const gitConfig = '[safe]\n\tdirectory = *\n[protocol "ext"]\n\tallow = never\n[advice]\n\tdetachedHead = false\n';
  await writeFile(join(tree, "etc/gitconfig"), gitConfig);
  await prune(tree, recipe.pruned);
  // Programs that add to the list of archives find one; which archive that is, is the app's to say.
  await writeFile(join(tree, "etc/apt/sources.list"), "# None: an Aptfile names its own with :repo:\n");
}

/** The standard library as the Go buildpack builds it, which takes longer than most apps do. */
async function compileGo(tree: string, run: Run): Promise<void> {
  const { directory, flags, variables } = recipe.goCompiled;
  const environment = { ...run.environment, ...variables, HOME: "/tmp/go", GOCACHE: `/${directory}` };
  // Go finds its own folder by /proc.
  const inside = ["unshare", "--mount", `--mount-proc=${join(tree, "proc")}`, "chroot", tree];
  await contained([...inside, "go", "build", ...flags, "std"], { ...run, environment, timeoutMs: 600_000 });
  const root = join(tree, directory);
  for (const entry of await readdir(root, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (!entry.isFile()) continue;
    if (entry.parentPath === root) await rm(path);
    // An entry's last field is when it was made, in nanoseconds and 20 columns: the same for every build.
    else if (entry.name.endsWith("-a")) {
      const made = `${String(recipe.installEpochSeconds * 1_000_000_000).padStart(20)}\n`;
      const text = await readFile(path, "latin1");
      await writeFile(path, text.slice(0, -made.length) + made, "latin1");
    }
  }
}

/** The tree's own pip fetches it, with this machine's certificates and names. */
async function installUv(tree: string, machine: Installers, run: Run): Promise<void> {
  const certificates = await readText(machine.caFile ?? "/etc/ssl/certs/ca-certificates.crt");
  if (certificates !== undefined) await writeFile(join(tree, "tmp/ca.crt"), certificates);
  await writeFile(join(tree, "etc/resolv.conf"), await readFile("/etc/resolv.conf"));
  const environment = {
    ...machine.environment,
    PATH: run.environment["PATH"],
    HOME: "/tmp",
    PIP_DISABLE_PIP_VERSION_CHECK: "1",
    // Files of this machine are none of the tree's; what pip's say is in the variables.
    PIP_CONFIG_FILE: "/dev/null",
    ...(certificates === undefined
      ? {}
      : { PIP_CERT: "/tmp/ca.crt", SSL_CERT_FILE: "/tmp/ca.crt", REQUESTS_CA_BUNDLE: "/tmp/ca.crt" }),
  };
  const argv = [
    "pip",
    "install",
    "--quiet",
    "--no-deps",
    "--no-cache-dir",
    "--only-binary=:all:",
    "--root-user-action=ignore",
  ];
  await inTree(tree, [...argv, "--target=/tmp/uv", recipe.uvRequirement], {
    ...run,
    environment,
    timeoutMs: 300_000,
  }).catch((cause) => {
    throw new Error(`fetch ${recipe.uvRequirement} for the builder image`, { cause });
  });
  await cp(join(tree, "tmp/uv/bin/uv"), join(tree, "usr/bin/uv"));
  await chmod(join(tree, "usr/bin/uv"), 0o755);
  await rm(join(tree, "etc/resolv.conf"), { force: true });
}

async function ownDirectory(path: string, id: number): Promise<void> {
  await mkdir(path, { recursive: true });
  await chown(path, id, id);
}
