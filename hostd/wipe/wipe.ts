// Wipes one disk and reads it back. Our mark is the first thing written and the last that goes, so that a power cut leaves what the next
// boot goes on with; it begins again from the start then, since nothing else is remembered.
import { constants, type FileHandle } from "node:fs/promises";
import type { WipeEvidence, WipeTask } from "#api/wipes.ts";
import { ExecError, exec } from "#lib/exec.ts";
import { formatDuration, formatSize } from "#lib/units.ts";
import { type DiskOwner, encodeMark, fileSystemOf } from "../state-disk/mark.ts";
import { openDirect, pageBuffer, scan } from "../state-disk/scan.ts";
import { ARGUMENTS, meansOf, type PartMeans, WORDS } from "./methods.ts";
import { ownErase } from "./own-erase.ts";

export interface WipeOptions {
  disk: { path: string; sizeBytes: number; serial?: string; wwn?: string };
  task: WipeTask;
  owner: DiskOwner;
  canDiscard: boolean;
  onProgress: (step: string, percent: number, progress: string) => void;
  /** Erases a part of the disk, unless by blkdiscard. */
  erasePart?: typeof discardPart;
  /** What the disk can do by itself, unless it is asked. */
  own?: typeof ownErase;
  now?: () => Date;
  signal: AbortSignal;
}

const BLOCK = 4096;
const STEP_BYTES = 1 << 30;

/** Throws what is to be told: what could not be done, and how much is lost. */
export async function wipeDisk(options: WipeOptions): Promise<WipeEvidence> {
  const { disk, task, owner, signal, erasePart = discardPart, own = ownErase, now = () => new Date() } = options;
  const { path, sizeBytes } = disk;
  const startedAt = now();
  const did: string[] = [];
  // O_EXCL on a block device: until we let go nobody mounts it or builds on it.
  const held = await openDirect(path, constants.O_RDWR | constants.O_EXCL).catch((cause: NodeJS.ErrnoException) => {
    throw new Error(`${path} is in use; nothing was erased`, { cause });
  });
  let erased = 0;
  try {
    const mark = {
      ...owner,
      state: "wiping" as const,
      fileSystem: fileSystemOf(owner, disk),
      sizeBytes,
      orderId: task.orderId,
    };
    await writeFirst(held, encodeMark(mark), sizeBytes);
    const means = meansOf(task.method, options.canDiscard);
    for (const [n, one] of means.entries()) {
      const isLast = n === means.length - 1;
      if (one === "own") {
        const words = await eraseItself(options, own);
        if (words === undefined) continue;
        erased = sizeBytes;
        did.push(words);
      } else
        try {
          await erase({ ...options, means: one, erasePart, onErased: (bytes) => (erased = Math.max(erased, bytes)) });
          did.push(WORDS[one]);
        } catch (cause) {
          // A means that a disk has not got leaves it as it was; the next one writes every byte.
          if (signal.aborted || isLast || !isUnsupported(cause)) throw cause;
          if (task.method === "secure" && did.length === 0)
            throw new Error(`${path} has no secure erase that this host can use; --method zero writes zeros`, {
              cause,
            });
          continue;
        }
      const found = await readBack(options, held);
      if (found.end === "data") {
        if (isLast)
          throw new Error(`byte ${found.byte} of ${path} is not zero after zeros were written; the disk is faulty`);
        continue;
      }
      if (found.end !== "clean") throw new Error("reading it back ended early");
      await writeFirst(held, Buffer.alloc(0), sizeBytes);
      await held.sync();
      const first = await scan({ disk: held, sizeBytes: Math.min(BLOCK, sizeBytes), verify: "all", signal });
      if (first.end !== "clean") throw new Error(`the first block of ${path} is not zero; the disk is faulty`);
      const endedAt = now();
      return {
        did: did.join(", then "),
        bytesRead: found.bytes,
        startedAt: startedAt.toISOString(),
        endedAt: endedAt.toISOString(),
        seconds: Math.max(0, (endedAt.getTime() - startedAt.getTime()) / 1_000),
      };
    }
    throw new Error("there is no means to erase it");
  } catch (cause) {
    throw new Error(lost(path, erased, sizeBytes, signal.aborted), { cause });
  } finally {
    await held.close();
  }
}

/** What is gone, for whoever stopped it or whom it failed. */
export function lost(path: string, erased: number, sizeBytes: number, stopped: boolean): string {
  const what =
    erased === 0
      ? `the first ${formatSize(BLOCK)} of ${path} are lost`
      : erased >= sizeBytes
        ? `all that was on ${path} is lost`
        : `the first ${formatSize(erased)} of ${path} (${formatSize(sizeBytes)}) are lost`;
  return `${stopped ? "stopped" : "not finished"}: ${what}`;
}

/** In words what it did; undefined when it cannot, or says so when it is asked to: the next means writes every byte. */
async function eraseItself(
  { disk: { path }, task, onProgress, signal }: WipeOptions,
  own: typeof ownErase,
): Promise<string | undefined> {
  const offered = await own({ path, thorough: task.method === "secure", signal });
  if (offered === undefined) return undefined;
  onProgress(`${path}: it erases itself, which cannot be stopped`, 1, "it does not say how far it is");
  try {
    await offered.erase();
    return offered.words;
  } catch (error) {
    if (signal.aborted || !(error instanceof ExecError)) throw error;
    return undefined;
  }
}

async function erase(
  options: WipeOptions & { means: PartMeans; erasePart: typeof discardPart; onErased: (bytes: number) => void },
): Promise<void> {
  const { disk, means, erasePart, onErased, onProgress, signal } = options;
  const { path, sizeBytes } = disk;
  const beganMs = performance.now();
  for (let at = BLOCK; at < sizeBytes; ) {
    signal.throwIfAborted();
    const length = Math.min(STEP_BYTES - (at % STEP_BYTES), sizeBytes - at);
    await erasePart({ path, means, at, length, signal });
    at += length;
    onErased(at);
    const step = `${path}: ${means === "zero" ? "writing zeros" : "discarding"}`;
    onProgress(step, (at / sizeBytes) * 50, progressText(at, sizeBytes, performance.now() - beganMs));
  }
}

function readBack({ disk, task, onProgress, signal }: WipeOptions, held: FileHandle): ReturnType<typeof scan> {
  const { path, sizeBytes } = disk;
  return scan({
    disk: held,
    sizeBytes,
    verify: task.verify === "all" ? "all" : "ends",
    // Our own mark, and nothing else, is there still.
    begun: { extents: [], read: async (into) => void into.fill(0) },
    onProgress: ({ bytes, ofBytes, bytesPerSecond }) =>
      onProgress(
        `${path}: reading it back`,
        50 + (bytes / ofBytes) * 50,
        progressText(bytes, ofBytes, (bytes / Math.max(1, bytesPerSecond)) * 1_000),
      ),
    signal,
  });
}

export function progressText(bytes: number, ofBytes: number, elapsedMs: number): string {
  const rate = (bytes * 1_000) / Math.max(1, elapsedMs);
  const leftMs = ((ofBytes - bytes) / Math.max(1, rate)) * 1_000;
  const left = bytes >= ofBytes ? "" : `, about ${formatDuration(Math.ceil(leftMs / 1_000) * 1_000)} left`;
  return `${formatSize(bytes)} of ${formatSize(ofBytes)}, ${formatSize(rate)}/s${left}`;
}

async function writeFirst(held: FileHandle, sector: Buffer, sizeBytes: number): Promise<void> {
  const block = pageBuffer(Math.min(BLOCK, sizeBytes));
  sector.copy(block);
  const { bytesWritten } = await held.write(block, 0, block.length, 0);
  if (bytesWritten !== block.length) throw new Error(`only ${bytesWritten} bytes of the first block were written`);
  await held.sync();
}

const isUnsupported = (error: unknown): boolean =>
  error instanceof ExecError && /not supported|inappropriate ioctl/i.test(error.stderr);

export async function discardPart(part: {
  path: string;
  means: PartMeans;
  at: number;
  length: number;
  signal: AbortSignal;
}): Promise<void> {
  const { path, means, at, length, signal } = part;
  const where = ["--offset", String(at), "--length", String(length)];
  // --force: not O_EXCL, which we hold ourselves.
  await exec(["blkdiscard", "--force", ...ARGUMENTS[means], ...where, path], { timeoutMs: 1_800_000, signal });
}
