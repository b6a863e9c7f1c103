// The journal's files: `journal-<first seq>.log`, one per snapshot, appended and synced group by group beside LevelDB.
// It is the second copy that tells a log that ends early from one that is complete.
import { constants } from "node:fs";
import { type FileHandle, open, readdir, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { makeDirectory, syncDirectory } from "#lib/files.ts";
import { encodeHeader, type Scan, type SegmentHeader, scanSegment } from "./journal-format.ts";
import { paddedSeq } from "./record.ts";

/** A write returns when its bytes are on disk: one trip through the thread pool instead of write and sync. */
const SYNCED = constants.O_WRONLY | constants.O_DSYNC;

export interface Segment {
  path: string;
  firstSeq: number;
}

export interface JournalWriter {
  readonly sizeBytes: number;
  append(frame: Buffer): Promise<void>;
  close(): Promise<void>;
}

/** Oldest first. */
export async function listSegments(directory: string): Promise<Segment[]> {
  const names = await readdir(directory).catch(() => [] as string[]);
  return names
    .flatMap((name) => {
      const match = /^journal-(\d{16})\.log$/.exec(name);
      return match === null ? [] : [{ path: join(directory, name), firstSeq: Number(match[1]) }];
    })
    .sort((a, b) => a.firstSeq - b.firstSeq);
}

export async function scanFile(segment: Segment): Promise<Scan> {
  const scan = scanSegment(await readFile(segment.path));
  // A name and a header that disagree mean that one of them is damaged.
  if (scan.header !== undefined && scan.header.firstSeq !== segment.firstSeq)
    return { ...scan, header: undefined, tail: "damaged" };
  return scan;
}

/**
 * The records from `fromSeq` on, over as many segments as hold them; undefined when they are not all there. Segments
 * before the newest one must verify to their end.
 */
export async function scanFrom(directory: string, fromSeq: number, baseHash: string): Promise<Scan | undefined> {
  const segments = await listSegments(directory);
  const first = segments.findLastIndex((segment) => segment.firstSeq <= fromSeq);
  if (first === -1) return undefined;
  let whole: Scan | undefined;
  for (const [index, segment] of segments.slice(first).entries()) {
    const scan = await scanFile(segment);
    if (scan.header === undefined) return undefined;
    if (whole === undefined) {
      const before =
        fromSeq === scan.header.firstSeq
          ? scan.header.baseHash
          : scan.frames.find((frame) => frame.lastSeq === fromSeq - 1)?.hash;
      if (before !== baseHash) return undefined;
      whole = { ...scan, frames: scan.frames.filter((frame) => frame.firstSeq >= fromSeq) };
    } else {
      if (
        whole.tail !== "clean" ||
        scan.header.baseHash !== whole.headHash ||
        scan.header.firstSeq !== whole.headSeq + 1
      )
        return undefined;
      whole = {
        ...scan,
        frames: whole.frames.concat(scan.frames),
        lastFrameSeq: scan.lastFrameSeq || whole.lastFrameSeq,
      };
    }
    if (index < segments.length - first - 1 && whole.tail !== "clean") return undefined;
  }
  return whole;
}

export async function createSegment(directory: string, header: Omit<SegmentHeader, "format">): Promise<JournalWriter> {
  await makeDirectory(directory);
  const path = join(directory, `journal-${paddedSeq(header.firstSeq)}.log`);
  const bytes = Buffer.from(encodeHeader(header));
  const file = await open(path, SYNCED | constants.O_CREAT | constants.O_TRUNC, 0o600);
  try {
    await file.writeFile(bytes);
    await syncDirectory(directory);
  } catch (error) {
    await file.close();
    await rm(path, { force: true }); // the one before it goes on
    throw error;
  }
  return writer(file, bytes.length);
}

/** Goes on after the part that verifies; what follows it is cut off. */
export async function reopenSegment(path: string, soundBytes: number): Promise<JournalWriter> {
  const file = await open(path, SYNCED);
  await file.truncate(soundBytes);
  await file.sync();
  return writer(file, soundBytes);
}

/** Keeps the file for whoever looks into the damage, out of the way of the next opening. One is kept. */
export async function setAside(path: string, directory: string): Promise<void> {
  const aside = join(directory, "journal.damaged");
  await rm(aside, { force: true });
  await rename(path, aside);
}

function writer(file: FileHandle, initialBytes: number): JournalWriter {
  let sizeBytes = initialBytes;
  return {
    get sizeBytes() {
      return sizeBytes;
    },
    async append(frame) {
      for (let done = 0; done < frame.length; ) {
        const { bytesWritten } = await file.write(frame, done, frame.length - done, sizeBytes + done);
        done += bytesWritten;
      }
      sizeBytes += frame.length;
    },
    close: () => file.close(),
  };
}
