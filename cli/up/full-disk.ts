// `flynn up` on a full disk: what only later runs need is written down once there is room, and what is missing is said in words.
import { statfs } from "node:fs/promises";
import { writeFileInPlace } from "#lib/files.ts";
import { isFullDisk } from "#lib/full-disk.ts";
import { every } from "#lib/time.ts";

const NOTE_EVERY_MS = 1_000;
/** With less a program can write nothing that it would say. */
const ROOM_LEAST_BYTES = 64 << 10;

export const fullDiskText = (directory: string): string =>
  `the disk is full or read-only, make room (look: df -h ${directory})`;

/** False also where nothing can be found out, as of a directory that could not be made. */
export const isWithoutRoom = (directory: string): Promise<boolean> =>
  statfs(directory).then(
    ({ bavail, bsize }) => bavail * bsize < ROOM_LEAST_BYTES,
    () => false,
  );

export interface NoteOptions {
  file: string;
  text: string;
  signal: AbortSignal;
  /** Told once, when it has to wait. */
  onFull: (error: unknown) => void;
}

/** Writes it, at once unless the disk is full; `written` ends when it is there, or the signal aborts. */
export async function startNote({ file, text, signal, onFull }: NoteOptions): Promise<{ written: Promise<void> }> {
  try {
    await writeFileInPlace(file, text);
    return { written: Promise.resolve() };
  } catch (error) {
    if (!isFullDisk(error)) throw error;
    onFull(error);
    return { written: writeLater(file, text, signal) };
  }
}

async function writeLater(file: string, text: string, signal: AbortSignal): Promise<void> {
  for await (const turn of every(NOTE_EVERY_MS, signal)) {
    if (turn === 0) continue;
    try {
      return await writeFileInPlace(file, text);
    } catch {
      // said when it first failed
    }
  }
}
