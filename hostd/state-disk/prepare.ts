// Makes a state disk of one that is ours to take: read it, mark it, write the new file system, mark it ready. Each step is on the
// disk before the next begins, so a power cut at any point leaves what the next boot finishes:
//
//   erasing     a person gave it: all but the mark becomes zero; then as if it had been found so
//   (no mark)   every byte is read; the first that is not zero ends it, and nothing is written
//   formatting  every byte is zero, or as the image of the new file system has it; then the image is written, its superblock last
//   ready       used by this boot or the next
import { constants, type FileHandle, readFile } from "node:fs/promises";
import { basename } from "node:path";
import { ExecError, exec } from "#lib/exec.ts";
import type { Beginning } from "./disk.ts";
import { type DiskImage, type Extent, makeImage } from "./image.ts";
import { type DiskOwner, encodeMark, fileSystemOf, type Mark } from "./mark.ts";
import { openDirect, pageBuffer, type ScanProgress, scan } from "./scan.ts";
import { sizeAt } from "./words.ts";

export interface PrepareOptions {
  disk: { path: string; sizeBytes: number; serial?: string; wwn?: string };
  owner: DiskOwner;
  begin: Beginning;
  orderId: string;
  verify: "all" | "ends";
  /** For the image of the file system; in memory. */
  directory: string;
  /** Leave it to another run when the end is further away. */
  withinMs?: number;
  onProgress?: (doing: "read" | "erased", progress: ScanProgress) => void;
  signal: AbortSignal;
}

export type Prepared =
  | { end: "ready" }
  /** Nothing was written by this run, and why. */
  | { end: "refused"; why: string }
  | { end: "late"; msLeft: number };

const BLOCK = 4096;
const ERASE_STEP_BYTES = 1 << 30;
const WRITE_BYTES = 4 << 20;

export async function prepareDisk(options: PrepareOptions): Promise<Prepared> {
  const { disk, owner, begin, orderId, verify, directory, withinMs, onProgress, signal } = options;
  const { path } = disk;
  // The file system is of whole blocks; what is left at the end stays as it is read: zero.
  const sizeBytes = disk.sizeBytes;
  const fileSystem = fileSystemOf(owner, disk);
  const mark = (state: Mark["state"]) => encodeMark({ ...owner, state, fileSystem, sizeBytes, orderId });
  const beganMs = performance.now();
  const timeLeft = () => (withinMs === undefined ? undefined : Math.max(1, withinMs - (performance.now() - beganMs)));

  // Before anything is written. O_EXCL on a block device: until we let go nobody mounts it or builds on it (it has no meaning for a file without O_CREAT).
  const reader = await openDirect(path, constants.O_RDONLY | constants.O_EXCL);
  try {
    if (begin === "erase") {
      await writeBlock(path, mark("erasing"));
      const late = await erase({ path, sizeBytes, withinMs: timeLeft(), onProgress, signal });
      if (late !== undefined) return late;
      await writeBlock(path, mark("formatting"));
    }
    const image =
      begin === "verify"
        ? undefined
        : await makeImage({ directory, sizeBytes: wholeBlocks(sizeBytes), fileSystem, signal });
    try {
      const before = await writesTo(path);
      const found = await scan({
        disk: reader,
        sizeBytes,
        verify,
        begun: image,
        withinMs: timeLeft(),
        onProgress: (progress) => onProgress?.("read", progress),
        signal,
      });
      if (found.end === "late") return found;
      if (found.end === "data")
        return { end: "refused", why: `holds data at ${sizeAt(found.byte)}; nothing was written` };
      await reader.sync();
      if ((await writesTo(path)) !== before)
        return {
          end: "refused",
          why: "was written to by something else while it was read; nothing was written by Flynn",
        };
      await writeBlock(path, mark("formatting"));
      await format({ path, mark, image, verify, directory, fileSystem, sizeBytes: wholeBlocks(sizeBytes), signal });
      return { end: "ready" };
    } finally {
      await image?.close();
    }
  } finally {
    await reader.close();
  }
}

const wholeBlocks = (bytes: number): number => Math.floor(bytes / BLOCK) * BLOCK;

async function format(options: {
  path: string;
  mark: (state: Mark["state"]) => Buffer;
  image: Awaited<ReturnType<typeof makeImage>> | undefined;
  verify: "all" | "ends";
  directory: string;
  fileSystem: string;
  sizeBytes: number;
  signal: AbortSignal;
}): Promise<void> {
  const { path, mark, verify, directory, fileSystem, sizeBytes, signal } = options;
  const image = options.image ?? (await makeImage({ directory, sizeBytes, fileSystem, signal }));
  try {
    const disk = await openDirect(path, constants.O_WRONLY);
    try {
      const nothing: Pick<DiskImage, "read"> = { read: async (into) => void into.fill(0) };
      // Where not all was read, an older file system's journal could be taken for this one's.
      if (verify === "ends") for (const extent of image.journal) await copy(nothing, extent, disk, signal);
      for (const extent of image.extents) await copy(image, extent, disk, signal);
      await disk.sync();
    } finally {
      await disk.close();
    }
    const first = Buffer.alloc(BLOCK);
    await image.read(first, 0);
    await writeBlock(path, mark("formatting"), first);
    await writeBlock(path, mark("ready"), first);
  } finally {
    if (options.image === undefined) await image.close();
  }
}

/** All but the first block, which has the mark and, at the very end, the superblock. */
async function copy(
  from: Pick<DiskImage, "read">,
  extent: Extent,
  disk: FileHandle,
  signal: AbortSignal,
): Promise<void> {
  const buffer = pageBuffer(WRITE_BYTES);
  const end = extent.at + extent.length;
  for (let at = Math.max(BLOCK, extent.at); at < end; ) {
    signal.throwIfAborted();
    const piece = buffer.subarray(0, Math.min(WRITE_BYTES, end - at));
    await from.read(piece, at);
    await writeAll(disk, piece, at);
    at += piece.length;
  }
}

/** The first block, durable when this resolves: the mark, and of `rest` what lies behind it. */
async function writeBlock(path: string, mark: Buffer, rest: Buffer = Buffer.alloc(BLOCK)): Promise<void> {
  const block = pageBuffer(BLOCK);
  rest.copy(block);
  mark.copy(block);
  const disk = await openDirect(path, constants.O_WRONLY);
  try {
    await writeAll(disk, block, 0);
    await disk.sync();
  } finally {
    await disk.close();
  }
}

async function writeAll(disk: FileHandle, bytes: Buffer, at: number): Promise<void> {
  const { bytesWritten } = await disk.write(bytes, 0, bytes.length, at);
  if (bytesWritten !== bytes.length)
    throw new Error(`only ${bytesWritten} of ${bytes.length} bytes were written at ${at}`);
}

/** In steps, so that it can be stopped. The kernel asks the disk for zeros and writes them itself where that is not to be had. */
async function erase(options: {
  path: string;
  sizeBytes: number;
  withinMs: number | undefined;
  onProgress: PrepareOptions["onProgress"];
  signal: AbortSignal;
}): Promise<Extract<Prepared, { end: "late" }> | undefined> {
  const { path, sizeBytes, withinMs, onProgress, signal } = options;
  const beganMs = performance.now();
  for (let at = BLOCK; at < sizeBytes; ) {
    signal.throwIfAborted();
    const length = Math.min(ERASE_STEP_BYTES - (at % ERASE_STEP_BYTES), sizeBytes - at);
    // --force: not O_EXCL, which we hold ourselves.
    await exec(["blkdiscard", "--force", "--zeroout", "--offset", String(at), "--length", String(length), path], {
      timeoutMs: 1_800_000,
      signal,
    }).catch((cause: unknown) => {
      const why = cause instanceof ExecError && /busy/i.test(cause.stderr) ? " (it is in use)" : "";
      throw new Error(`erase ${path} at ${sizeAt(at)}${why}`, { cause });
    });
    at += length;
    const elapsedMs = Math.max(1, performance.now() - beganMs);
    const msLeft = ((sizeBytes - at) / at) * elapsedMs;
    if (withinMs !== undefined && at < sizeBytes && elapsedMs + msLeft > withinMs) return { end: "late", msLeft };
    onProgress?.("erased", { bytes: at, ofBytes: sizeBytes, bytesPerSecond: (at * 1_000) / elapsedMs, msLeft });
  }
  return undefined;
}

/** Sectors that the kernel counted as written and discarded (not requests: a flush is one on some kernels); nothing for what is no block device. */
async function writesTo(path: string): Promise<string> {
  const text = await readFile(`/sys/class/block/${basename(path)}/stat`, "utf8").catch(() => "");
  const counts = text.trim().split(/\s+/); // Documentation/block/stat.rst
  return [6, 13].map((field) => counts[field] ?? "").join(" ");
}
