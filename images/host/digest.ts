// sha256 of files, of a directory's files by path and mode, and of JSON values: what the cache keys are made from.
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { readdir, readFile, stat } from "node:fs/promises";
import { join, relative } from "node:path";
import { pipeline } from "node:stream/promises";
import type { ImageFile } from "./manifest.ts";

export function digest(value: unknown): string {
  return createHash("sha256").update(JSON.stringify(value)).digest("hex");
}

export function digestBytes(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}

export async function digestFile(path: string): Promise<ImageFile> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(path), hash);
  return { sha256: hash.digest("hex"), sizeBytes: (await stat(path)).size };
}

/** One digest over path, executable bit and content of every file below. */
export async function digestDirectory(directory: string): Promise<string> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  const lines: string[] = [];
  for (const file of files.sort()) {
    const executable = ((await stat(file)).mode & 0o111) !== 0;
    lines.push(`${relative(directory, file)} ${executable} ${digestBytes(await readFile(file))}`);
  }
  return digest(lines);
}
