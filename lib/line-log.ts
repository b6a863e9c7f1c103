// One log of lines on disk: segments in a directory of its own, the oldest dropped. Lines are taken at once and written in order
// behind; a reader gets the past up to a point and all that is taken after it, without gap or repeat.
import { mkdir, open, readdir, readFile, rm, stat, truncate } from "node:fs/promises";
import { join } from "node:path";
import { advance, type Cursor, formatHeader, formatLine, parseSegment, type Row } from "./line-segment.ts";

export interface LineLogOptions<T extends Row> {
  directory: string;
  maxBytes: number;
  /** A new segment is begun at this size; asked at every append, since it may shrink as logs get many. */
  segmentBytes: () => number;
  /** Number for the next line, larger than `last`, the largest known here. */
  nextNumber: (last: number) => number;
  /** Bytes on disk, whenever they have changed. */
  onSize?: (sizeBytes: number) => void;
  /** Every line as it is taken. */
  onLine?: (line: T) => void;
  onError: (error: unknown) => void;
}

export interface LineLog<T extends Row> {
  append(lines: readonly T[]): void;
  /** Resolves once what is pending is below the limit where a reader of containers should pause. */
  ready(): Promise<void>;
  /** More waits to be written than should: whoever cannot pause drops, and says so. */
  isBehind(): boolean;
  cursor(containerId: string): Cursor | undefined;
  /** Forgets a removed container's cursor. */
  forget(containerId: string): void;
  /** Newest lines that match, oldest first, of all taken before this call. */
  read(matches: (line: T) => boolean, limit: number): Promise<T[]>;
  subscribe(listener: (line: T) => void): () => void;
  /** Drops the oldest segment but the newest; false when there is only that. */
  dropOldest(): Promise<boolean>;
  /** Writes what was taken so far; resolves when that was tried. */
  flush(): Promise<void>;
  close(): Promise<void>;
}

const GATHER_MS = 50;
const PAUSE_BYTES = 1 << 20;
const BEHIND_BYTES = 4 << 20;
const SEGMENT_NAME = /^\d{10}\.ndjson$/;
const fileName = (segment: number): string => `${String(segment).padStart(10, "0")}.ndjson`;

/** What a log's directory holds, without opening it. */
export async function lineLogBytes(directory: string): Promise<number> {
  const names = (await readdir(directory).catch(() => [])).filter((name) => SEGMENT_NAME.test(name));
  const sizes = await Promise.all(names.map((name) => stat(join(directory, name)).catch(() => ({ size: 0 }))));
  return sizes.reduce((sum, { size }) => sum + size, 0);
}

export async function openLineLog<T extends Row>(options: LineLogOptions<T>): Promise<LineLog<T>> {
  const { directory, maxBytes, segmentBytes, nextNumber, onSize, onLine, onError } = options;
  await mkdir(directory, { recursive: true });
  const numbers = (await readdir(directory))
    .filter((name) => SEGMENT_NAME.test(name))
    .map((name) => Number(name.slice(0, 10)))
    .sort((a, b) => a - b);
  /** Bytes of each segment on disk, oldest first. */
  const sizes = new Map<number, number>();
  for (const number of numbers) sizes.set(number, (await stat(join(directory, fileName(number)))).size);
  const cursors = new Map<string, Cursor>();
  let current = numbers.at(-1) ?? 0;
  let offset = 0;
  let lastNumber = 0;
  if (numbers.length > 0) {
    const path = join(directory, fileName(current));
    const found = parseSegment<T>(await readFile(path, "utf8"));
    for (const [id, cursor] of found.cursors) cursors.set(id, cursor);
    for (const { n = 0 } of found.lines) lastNumber = Math.max(lastNumber, n);
    await truncate(path, found.soundBytes);
    sizes.set(current, found.soundBytes);
    offset = found.soundBytes;
  }
  const listeners = new Set<(line: T) => void>();
  const pending: { segment: number; text: string; sizeBytes: number }[] = [];
  let pendingBytes = 0;
  let writing = Promise.resolve();
  /** Segments that a write which failed may have left half a line in. */
  const torn = new Set<number>();
  const total = () => [...sizes.values()].reduce((sum, bytes) => sum + bytes, 0);

  const take = (text: string): void => {
    const sizeBytes = Buffer.byteLength(text);
    pending.push({ segment: current, text, sizeBytes });
    pendingBytes += sizeBytes;
    offset += sizeBytes;
  };

  const drop = async (segment: number): Promise<void> => {
    await rm(join(directory, fileName(segment)), { force: true });
    sizes.delete(segment);
    torn.delete(segment);
  };

  /** A part of the segment is lost, its header perhaps: what is taken from now on goes into a new one. */
  const leave = (segment: number): void => {
    if (segment !== current) return;
    current++;
    offset = 0;
  };

  const opened = (segment: number) => {
    const path = join(directory, fileName(segment));
    return open(path, "a").catch(async (error: NodeJS.ErrnoException) => {
      if (error.code !== "ENOENT") throw error;
      await mkdir(directory, { recursive: true }); // it was removed, with all that was in it
      sizes.clear();
      leave(segment);
      return open(path, "a");
    });
  };

  const failed = async (segment: number): Promise<void> => {
    torn.add(segment);
    leave(segment);
    const there = await stat(join(directory, fileName(segment))).catch(() => undefined);
    if (there === undefined) sizes.delete(segment);
    else sizes.set(segment, there.size);
  };

  const write = async (): Promise<void> => {
    while (pending.length > 0) {
      const { segment } = pending[0]!;
      const upTo = pending.findIndex((entry) => entry.segment !== segment);
      const batch = pending.splice(0, upTo < 0 ? pending.length : upTo);
      const batchBytes = batch.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
      const lead = torn.has(segment) ? "\n" : "";
      try {
        const file = await opened(segment);
        try {
          await file.writeFile(lead + batch.map(({ text }) => text).join(""));
        } finally {
          await file.close();
        }
        torn.delete(segment);
        sizes.set(segment, (sizes.get(segment) ?? 0) + lead.length + batchBytes);
      } catch (error) {
        await failed(segment);
        throw error;
      } finally {
        pendingBytes -= batchBytes;
      }
      while (sizes.size > 1 && total() > maxBytes) await drop(Math.min(...sizes.keys()));
      onSize?.(total());
    }
  };
  let gathering: NodeJS.Timeout | undefined;
  const flush = (): Promise<void> => {
    clearTimeout(gathering);
    gathering = undefined;
    writing = writing.then(write).catch((error: unknown) => {
      onError(error);
      if (pending.length > 0) flushSoon();
    });
    return writing;
  };
  /** Lines that come one by one are written together: a write opens and closes a file. Readers and listeners wait for none of it. */
  const flushSoon = (): void => {
    if (pendingBytes > PAUSE_BYTES) void flush();
    else gathering ??= setTimeout(() => void flush(), GATHER_MS);
  };

  return {
    append(lines) {
      const lengthMost = segmentBytes();
      for (const unnumbered of lines) {
        lastNumber = nextNumber(lastNumber);
        const line = { ...unnumbered, n: lastNumber };
        const text = formatLine(line);
        if (offset + text.length > lengthMost && offset > 0) {
          current++;
          offset = 0;
        }
        if (offset === 0) take(formatHeader(cursors));
        take(text);
        advance(cursors, line);
        for (const listener of listeners) listener(line);
        onLine?.(line);
      }
      flushSoon();
    },
    async ready() {
      if (pendingBytes > PAUSE_BYTES) await writing;
    },
    isBehind: () => pendingBytes > BEHIND_BYTES,
    cursor: (containerId) => cursors.get(containerId),
    forget: (containerId) => void cursors.delete(containerId),
    async read(matches, limit) {
      const end = { segment: current, offset };
      await flush();
      const found: T[][] = [];
      let count = 0;
      for (const segment of [...sizes.keys()].filter((id) => id <= end.segment).sort((a, b) => b - a)) {
        if (count >= limit) break;
        // A segment may be dropped while it is waited for; its lines were the oldest.
        const bytes = await readFile(join(directory, fileName(segment))).catch(() => Buffer.alloc(0));
        const text = bytes.toString(
          "utf8",
          0,
          segment === end.segment ? Math.min(end.offset, bytes.length) : undefined,
        );
        const lines = parseSegment<T>(text).lines.filter(matches);
        found.unshift(lines);
        count += lines.length;
      }
      return limit === 0 ? [] : found.flat().slice(-limit);
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    async dropOldest() {
      let dropped = false;
      const work = async () => {
        const oldest = Math.min(...sizes.keys());
        if (sizes.size < 2 || oldest === current) return;
        await drop(oldest);
        onSize?.(total());
        dropped = true;
      };
      writing = writing.then(work).catch(onError);
      await writing;
      return dropped;
    },
    flush,
    close: flush,
  };
}
