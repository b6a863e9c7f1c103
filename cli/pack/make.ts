// `npm run package:cli [-- --out DIR]`: the CLI as one file, `flynn.mjs`, and as a package for `npm i -g`, `flynn-cli-VERSION.tgz`. The same
// tree gives the same bytes.
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import process from "node:process";
import { buffer } from "node:stream/consumers";
import { fileURLToPath, pathToFileURL } from "node:url";
import { gzipSync } from "node:zlib";
import { pack } from "tar-stream";
import { VERSION } from "#lib/version.ts";

const TREE = fileURLToPath(new URL("../..", import.meta.url));
/** What a laptop has no use for, and must not be given. */
const SERVER_PARTS = ["bootstrap", "control", "hostd", "images", "packer", "router", "test"];
const OLDEST_NODE = "20";

export interface Packed {
  file: string;
  archive: string;
  /** What went into the file, by path in the tree. */
  inputs: string[];
}

export async function makePackage(outDir: string): Promise<Packed> {
  const { text, inputs } = await bundle();
  const server = inputs.filter((path) => SERVER_PARTS.includes(path.split("/")[0]!));
  if (server.length > 0) throw new Error(`the packed CLI would hold parts of the server: ${server.join(", ")}`);
  await mkdir(outDir, { recursive: true });
  const file = join(outDir, "flynn.mjs");
  const archive = join(outDir, `flynn-cli-${VERSION}.tgz`);
  await writeFile(file, text, { mode: 0o755 });
  await writeFile(archive, await npmPackage(text));
  return { file, archive, inputs };
}

async function bundle(): Promise<{ text: string; inputs: string[] }> {
  const { build } = await import("esbuild");
  const { outputFiles, metafile } = await build({
    absWorkingDir: TREE, // paths inside must not depend on where it is made
    entryPoints: ["cli/pack/packed.ts"],
    bundle: true,
    minify: true,
    write: false,
    metafile: true,
    format: "esm",
    platform: "node",
    target: `node${OLDEST_NODE}`,
    legalComments: "eof",
    logLevel: "silent",
    define: { FLYNN_PACKED: "true" },
    // CommonJS packages inside still use what only CommonJS has.
    banner: {
      js: [
        "#!/usr/bin/env node",
        'import { createRequire as __createRequire } from "node:module";',
        "const require = __createRequire(import.meta.url);",
      ].join("\n"),
    },
  });
  return { text: outputFiles[0]!.text, inputs: Object.keys(metafile.inputs) };
}

async function npmPackage(program: string): Promise<Buffer> {
  const manifest = {
    name: "flynn-cli",
    version: VERSION,
    description: "The command line of Flynn: from the power button to a running app.",
    license: "BSD-3-Clause",
    type: "module",
    bin: { flynn: "flynn.mjs" },
    engines: { node: `>=${OLDEST_NODE}` },
  };
  const entries = [
    { name: "package.json", text: `${JSON.stringify(manifest, null, 2)}\n` },
    { name: "flynn.mjs", text: program, mode: 0o755 },
    { name: "README.md", text: await readFile(join(TREE, "cli/pack/README.md"), "utf8") },
    { name: "LICENSE", text: await readFile(join(TREE, "LICENSE"), "utf8") },
  ];
  const tar = pack();
  for (const { name, text, mode = 0o644 } of entries)
    tar.entry({ name: `package/${name}`, mode, mtime: new Date(0) }, text);
  tar.finalize();
  return gzipSync(await buffer(tar), { level: 9 });
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const at = process.argv.indexOf("--out");
  const outDir = at < 0 ? join(TREE, "dist") : resolve(process.argv[at + 1] ?? "");
  const { file, archive } = await makePackage(outDir);
  process.stdout.write(`${file}\n${archive}\n`);
  process.stderr.write(
    `Install it: npm i -g ${archive}\nOr copy ${dirname(file)}/flynn.mjs and run it with Node ${OLDEST_NODE} or newer: node flynn.mjs help\n`,
  );
}
