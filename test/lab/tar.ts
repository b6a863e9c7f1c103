// Writes ustar archives that depend on their entries alone: time 0, owner root, entries in the order given.
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";

export type TarEntry =
  | { path: string; kind: "folder"; mode?: number }
  | { path: string; kind: "link"; target: string }
  | { path: string; kind: "file"; mode?: number; content: string | Buffer }
  | { path: string; kind: "file"; mode?: number; from: string };

const BLOCK = 512;
const TYPES = { file: "0", link: "2", folder: "5" } as const;

/** The archive as chunks; contents named by `from` are streamed from their file. */
export async function* tar(entries: Iterable<TarEntry>): AsyncGenerator<Buffer> {
  for (const entry of entries) {
    if (entry.kind !== "file") {
      yield header(entry, 0);
      continue;
    }
    if ("content" in entry) {
      const content = Buffer.from(entry.content as string);
      yield header(entry, content.length);
      yield content;
      yield padding(content.length);
      continue;
    }
    const { size } = await stat(entry.from);
    yield header(entry, size);
    yield* createReadStream(entry.from) as AsyncIterable<Buffer>;
    yield padding(size);
  }
  yield Buffer.alloc(2 * BLOCK);
}

function header(entry: TarEntry, sizeBytes: number): Buffer {
  const block = Buffer.alloc(BLOCK);
  const path = entry.kind === "folder" ? `${entry.path}/` : entry.path;
  if (Buffer.byteLength(path) > 100) throw new Error(`path too long for a plain tar header: ${path}`);
  const mode = "mode" in entry && entry.mode !== undefined ? entry.mode : entry.kind === "file" ? 0o644 : 0o755;
  const octal = (value: number, length: number) => `${value.toString(8).padStart(length - 1, "0")}\0`;
  block.write(path, 0);
  block.write(octal(mode, 8), 100);
  block.write(octal(0, 8), 108);
  block.write(octal(0, 8), 116);
  block.write(octal(sizeBytes, 12), 124);
  block.write(octal(0, 12), 136);
  block.write(" ".repeat(8), 148);
  block.write(TYPES[entry.kind], 156);
  if (entry.kind === "link") block.write(entry.target, 157);
  block.write("ustar\x0000", 257);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  return block;
}

function padding(sizeBytes: number): Buffer {
  return Buffer.alloc((BLOCK - (sizeBytes % BLOCK)) % BLOCK);
}
