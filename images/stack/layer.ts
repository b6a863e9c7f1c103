// One image layer: the named entries of a tree as a gzip tar whose bytes depend on nothing else, with the digest of the tar
// inside (diffId), by which images and Docker know it.
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { createWriteStream } from "node:fs";
import { mkdir, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { Transform } from "node:stream";
import { text } from "node:stream/consumers";
import { pipeline } from "node:stream/promises";
import { createGzip } from "node:zlib";
import { whiteouts } from "./snapshot.ts";

export interface Layer {
  /** `sha256:...` of the tar, not of the file. */
  diffId: string;
  path: string;
  sizeBytes: number;
  /** Bytes of the tar. */
  unpackedBytes: number;
}

export interface LayerOptions {
  tree: string;
  /** Paths from the tree's root, folders before what is in them. */
  written: readonly string[];
  removed?: readonly string[];
  /** Ends in .tar.gz. */
  output: string;
  /** An empty folder of this layer's own. */
  workDirectory: string;
  /** No entry is dated later. */
  epochSeconds: number;
  /** Owner of all entries; left out: the tree's own. */
  owner?: string;
  environment: NodeJS.ProcessEnv;
  signal: AbortSignal;
}

const GZIP_LEVEL = 5; // a third of the time of 9 for two hundredths of the size

export async function makeLayer(options: LayerOptions): Promise<Layer> {
  const { tree, written, removed = [], output, workDirectory, epochSeconds, owner, environment, signal } = options;
  const list = join(workDirectory, "entries");
  const gone = join(workDirectory, "gone");
  const goneList = join(workDirectory, "gone-entries");
  await mkdir(gone, { recursive: true });
  const marks = whiteouts(removed);
  for (const mark of marks) {
    await mkdir(join(gone, dirname(mark)), { recursive: true });
    await writeFile(join(gone, mark), "");
  }
  await writeFile(list, written.map((path) => `${path}\0`).join(""));
  await writeFile(goneList, marks.map((path) => `${path}\0`).join(""));
  const argv = [
    "--create",
    "--file=-",
    "--format=gnu",
    "--numeric-owner",
    ...(owner === undefined ? [] : [`--owner=${owner}`, `--group=${owner}`]),
    "--no-recursion",
    `--mtime=@${epochSeconds}`,
    "--clamp-mtime",
    "--null",
    "--verbatim-files-from",
    `--directory=${tree}`,
    `--files-from=${list}`,
    `--directory=${gone}`,
    `--files-from=${goneList}`,
  ];
  const child = spawn("tar", argv, { env: environment, stdio: ["ignore", "pipe", "pipe"], signal });
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", resolve);
  });
  const hash = createHash("sha256");
  let unpackedBytes = 0;
  const hashed = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      hash.update(chunk);
      unpackedBytes += chunk.length;
      done(null, chunk);
    },
  });
  const [said, code] = await Promise.all([
    text(child.stderr),
    ended,
    pipeline(child.stdout, hashed, createGzip({ level: GZIP_LEVEL }), createWriteStream(output), { signal }),
  ]);
  if (code !== 0) throw new Error(`pack ${output}: tar ended with ${code}: ${said.trim().slice(-500)}`);
  const { size: sizeBytes } = await stat(output);
  return { diffId: `sha256:${hash.digest("hex")}`, path: output, sizeBytes, unpackedBytes };
}
