// The view as one file, the base the journal goes on from: a header line, one `[key, version, value]` per line, and the
// sha256 of all that. Written beside, synced, renamed: a snapshot with its name is complete.
import { createHash } from "node:crypto";
import { type FileHandle, open, readdir, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { makeDirectory, syncDirectory } from "#lib/files.ts";
import type { ViewEntry } from "./log.ts";
import { paddedSeq } from "./record.ts";

const DIGEST_LINE_BYTES = 65;

export interface SnapshotHeader {
  format: 1;
  id: string;
  term: number;
  /** Last record in the view. */
  seq: number;
  hash: string;
  /** When nothing newer was on record; not in files of before this was kept. */
  at?: string;
}

export interface SnapshotFile {
  path: string;
  seq: number;
}

/** Newest first. */
export async function listSnapshots(directory: string): Promise<SnapshotFile[]> {
  const names = await readdir(directory).catch(() => [] as string[]);
  return names
    .flatMap((name) => {
      const match = /^snapshot-(\d{16})\.ndjson$/.exec(name);
      return match === null ? [] : [{ path: join(directory, name), seq: Number(match[1]) }];
    })
    .sort((a, b) => b.seq - a.seq);
}

/** The snapshot of this seq in the state directory. Returns the size. */
export function writeSnapshot(directory: string, header: SnapshotHeader, chunks: Chunks): Promise<number> {
  return writeSnapshotFile(join(directory, `snapshot-${paddedSeq(header.seq)}.ndjson`), header, chunks);
}

type Chunks = AsyncIterable<string> | Iterable<string>;

/** Writes the rows as they come, a chunk of finished lines at a time. Returns the size. */
export async function writeSnapshotFile(path: string, header: SnapshotHeader, chunks: Chunks): Promise<number> {
  const directory = dirname(path);
  await makeDirectory(directory);
  const beside = `${path}.tmp`;
  const file = await open(beside, "w", 0o600);
  const sha = createHash("sha256");
  let sizeBytes = 0;
  const put = async (text: string) => {
    const bytes = Buffer.from(text);
    sha.update(bytes);
    await file.writeFile(bytes);
    sizeBytes += bytes.length;
  };
  try {
    await put(`${JSON.stringify(header)}\n`);
    for await (const chunk of chunks) await put(chunk);
    await file.writeFile(`${sha.digest("hex")}\n`);
    await file.sync();
  } catch (error) {
    await file.close();
    await rm(beside, { force: true });
    throw error;
  }
  await file.close();
  await rename(beside, path);
  await syncDirectory(directory);
  return sizeBytes;
}

/** Lines of entries, a thousand at a time. */
export function* snapshotChunks(entries: readonly ViewEntry[]): Generator<string, void, undefined> {
  for (let at = 0; at < entries.length; at += 1000) {
    const chunk = entries.slice(at, at + 1000);
    yield chunk.map(({ key, version, value }) => snapshotLine(key, version, JSON.stringify(value))).join("");
  }
}

export function snapshotLine(key: string, version: number, valueText: string): string {
  return `[${JSON.stringify(key)},${version},${valueText}]\n`;
}

/** Whether the file is what was written, without reading it into memory. */
export async function verifySnapshot(path: string): Promise<boolean> {
  const file = await open(path, "r");
  try {
    const { size } = await file.stat();
    const lastLine = size - DIGEST_LINE_BYTES;
    if (lastLine <= 0) return false;
    const sha = createHash("sha256");
    for await (const chunk of file.createReadStream({ start: 0, end: lastLine - 1, autoClose: false }))
      sha.update(chunk);
    const { buffer } = await file.read(Buffer.alloc(DIGEST_LINE_BYTES), 0, DIGEST_LINE_BYTES, lastLine);
    return buffer.toString("latin1") === `${sha.digest("hex")}\n`;
  } finally {
    await file.close();
  }
}

/** Undefined when the file does not verify to its last byte. */
export async function readSnapshot(
  path: string,
): Promise<{ header: SnapshotHeader; entries: ViewEntry[] } | undefined> {
  let file: FileHandle | undefined;
  try {
    file = await open(path, "r");
    const sha = createHash("sha256");
    const entries: ViewEntry[] = [];
    let header: SnapshotHeader | undefined;
    let held: string | undefined; // one line behind, since the last one is the digest
    for await (const line of file.readLines({ autoClose: false })) {
      if (held !== undefined) {
        sha.update(`${held}\n`);
        if (header === undefined) header = JSON.parse(held) as SnapshotHeader;
        else {
          const [key, version, value] = JSON.parse(held) as [string, number, ViewEntry["value"]];
          entries.push({ key, version, value });
        }
      }
      held = line;
    }
    if (header === undefined || header.format !== 1 || held !== sha.digest("hex")) return undefined;
    return { header, entries };
  } catch (error) {
    if (error instanceof SyntaxError || (error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  } finally {
    await file?.close();
  }
}
