// Reads a disk, every byte or by samples, past the page cache and in two buffers (one is read into while the other is looked at):
// is all of it zero, or else what we wrote ourselves?
import { constants, type FileHandle, open } from "node:fs/promises";
import type { DiskImage, Extent } from "./image.ts";
import { MARK_BYTES } from "./mark.ts";

const CHUNK_BYTES = 4 << 20;
const SECTOR = 512;
const SAMPLES = 64;
const SAMPLE_BYTES = 1 << 20;

export type ScanEnd =
  | { end: "clean"; bytes: number }
  /** The first byte that is neither zero nor ours. */
  | { end: "data"; byte: number }
  /** It would take longer than there is time now. */
  | { end: "late"; msLeft: number };

export interface ScanProgress {
  bytes: number;
  ofBytes: number;
  bytesPerSecond: number;
  msLeft: number;
}

export interface ScanOptions {
  disk: FileHandle;
  sizeBytes: number;
  verify: "all" | "ends";
  /** The disk's first sector holds our mark: it is passed over, and what we may have written since is no foreign data. */
  begun?: Pick<DiskImage, "extents" | "read"> | undefined;
  /** Give up once the end is further away than this. */
  withinMs?: number | undefined;
  onProgress?: (progress: ScanProgress) => void;
  nowMs?: () => number;
  signal: AbortSignal;
}

/** A global of the runtime that the type library without a browser does not know. */
declare const WebAssembly: { Memory: new (size: { initial: number }) => { buffer: ArrayBuffer } };

/** O_DIRECT wants memory that begins at a page; a WebAssembly memory does. */
export function pageBuffer(bytes: number): Buffer {
  return Buffer.from(new WebAssembly.Memory({ initial: Math.ceil(bytes / 65_536) }).buffer, 0, bytes);
}

/** Past the page cache, but where a file system of old kernels has no such thing (tmpfs). */
export function openDirect(path: string, flags: number): Promise<FileHandle> {
  return open(path, flags | constants.O_DIRECT).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "EINVAL") throw error;
    return open(path, flags);
  });
}

/** Whether to give up on reading within a time: at once when it is far too slow, else after a fair part of the time. */
export function isLate(of: { elapsedMs: number; msLeft: number; withinMs: number }): boolean {
  const { elapsedMs, msLeft, withinMs } = of;
  const allMs = elapsedMs + msLeft;
  return (
    elapsedMs > withinMs ||
    (elapsedMs > 1_500 && allMs > 4 * withinMs) ||
    (elapsedMs > withinMs / 4 && allMs > withinMs)
  );
}

export async function scan(options: ScanOptions): Promise<ScanEnd> {
  const { disk, sizeBytes, verify, begun, withinMs, onProgress, nowMs = () => performance.now(), signal } = options;
  const ranges = verify === "all" ? [{ at: 0, length: sizeBytes }] : samplesOf(sizeBytes);
  const ofBytes = ranges.reduce((sum, { length }) => sum + length, 0);
  const zero = Buffer.alloc(CHUNK_BYTES);
  const beganMs = nowMs();
  let bytes = 0;
  for await (const { at, chunk } of chunksOf(disk, ranges)) {
    signal.throwIfAborted();
    if (begun !== undefined && at === 0) chunk.fill(0, 0, MARK_BYTES);
    if (!chunk.equals(zero.subarray(0, chunk.length))) {
      const byte = await foreignByte(chunk, at, begun);
      if (byte !== undefined) return { end: "data", byte };
    }
    bytes += chunk.length;
    const elapsedMs = Math.max(1, nowMs() - beganMs);
    const msLeft = ((ofBytes - bytes) / bytes) * elapsedMs;
    if (withinMs !== undefined && bytes < ofBytes && isLate({ elapsedMs, msLeft, withinMs }))
      return { end: "late", msLeft };
    onProgress?.({ bytes, ofBytes, bytesPerSecond: (bytes * 1_000) / elapsedMs, msLeft });
  }
  return { end: "clean", bytes };
}

/** Each chunk is good until the next is asked for, which is on its way meanwhile. */
async function* chunksOf(disk: FileHandle, ranges: readonly Extent[]): AsyncGenerator<{ at: number; chunk: Buffer }> {
  const pieces = piecesOf(ranges);
  const buffers = [pageBuffer(CHUNK_BYTES), pageBuffer(CHUNK_BYTES)];
  const readNext = (): Promise<{ at: number; chunk: Buffer } | undefined> => {
    const piece = pieces.next();
    if (piece.done) return Promise.resolve(undefined);
    const buffer = buffers.reverse()[0]!;
    const reading = readWhole(disk, buffer, piece.value).then((chunk) => ({ at: piece.value.at, chunk }));
    reading.catch(() => undefined); // thrown where it is waited for
    return reading;
  };
  let next = readNext();
  try {
    for (let now = await next; now !== undefined; now = await next) {
      next = readNext();
      yield now;
    }
  } finally {
    await next.catch(() => undefined); // nothing is on its way into a buffer, or on the handle, when this is over
  }
}

function* piecesOf(ranges: readonly Extent[]): Generator<Extent, undefined> {
  for (const { at: from, length } of ranges)
    for (let at = from; at < from + length; at += CHUNK_BYTES)
      yield { at, length: Math.min(CHUNK_BYTES, from + length - at) };
}

async function readWhole(disk: FileHandle, buffer: Buffer, { at, length }: Extent): Promise<Buffer> {
  const { bytesRead } = await disk.read(buffer, 0, length, at).catch((cause: unknown) => {
    throw new Error(`read ${length} bytes at byte ${at}`, { cause });
  });
  if (bytesRead !== length) throw new Error(`byte ${at + bytesRead} of the disk could not be read`);
  return buffer.subarray(0, length);
}

/** Both ends, and places between them at equal distances. */
export function samplesOf(sizeBytes: number): Extent[] {
  const end = Math.min(CHUNK_BYTES, sizeBytes);
  if (sizeBytes <= 2 * CHUNK_BYTES + SAMPLES * SAMPLE_BYTES) return [{ at: 0, length: sizeBytes }];
  const step = Math.floor((sizeBytes - 2 * end - SAMPLE_BYTES) / (SAMPLES - 1) / 4096) * 4096;
  const between = Array.from({ length: SAMPLES }, (_, n) => ({ at: end + n * step, length: SAMPLE_BYTES }));
  return [{ at: 0, length: end }, ...between, { at: sizeBytes - end, length: end }];
}

/** Each byte is zero, or as the image has it there. */
async function foreignByte(chunk: Buffer, at: number, begun: ScanOptions["begun"]): Promise<number | undefined> {
  const ours = Buffer.alloc(chunk.length);
  for (const extent of begun?.extents ?? []) {
    const from = Math.max(at, extent.at);
    const to = Math.min(at + chunk.length, extent.at + extent.length);
    if (from < to) await begun!.read(ours.subarray(from - at, to - at), from);
  }
  const nothing = Buffer.alloc(SECTOR);
  for (let sector = 0; sector < chunk.length; sector += SECTOR) {
    const seen = chunk.subarray(sector, sector + SECTOR);
    const wanted = ours.subarray(sector, sector + SECTOR);
    if (seen.equals(nothing.subarray(0, seen.length)) || seen.equals(wanted)) continue;
    const foreign = seen.findIndex((byte, n) => byte !== 0 && byte !== wanted[n]);
    if (foreign >= 0) return at + sector + foreign;
  }
  return undefined;
}
