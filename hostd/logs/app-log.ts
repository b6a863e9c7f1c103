// One app's log on this host: segments of a fixed size in a directory of its own, the oldest dropped. Lines are taken at once
// and written in order behind; a reader gets the past up to a point and all that is taken after it, without gap or repeat.
import { mkdir, open, readdir, readFile, rm, truncate } from "node:fs/promises";
import { join } from "node:path";
import { advance, type Cursor, formatHeader, formatLine, type KeptLine, parseSegment } from "./segment.ts";

export interface AppLogOptions {
  directory: string;
  maxBytes: number;
  segmentBytes: number;
  onError: (error: unknown) => void;
}

export interface AppLog {
  append(lines: readonly KeptLine[]): void;
  /** Resolves once what is pending is below the limit where a reader of containers should pause. */
  ready(): Promise<void>;
  cursor(containerId: string): Cursor | undefined;
  /** Forgets a removed container's cursor. */
  forget(containerId: string): void;
  /** Newest lines that match, oldest first, of all taken before this call. */
  read(matches: (line: KeptLine) => boolean, limit: number): Promise<KeptLine[]>;
  subscribe(listener: (line: KeptLine) => void): () => void;
  close(): Promise<void>;
}

const PAUSE_BYTES = 1 << 20;
const fileName = (segment: number): string => `${String(segment).padStart(10, "0")}.ndjson`;

export async function openAppLog({ directory, maxBytes, segmentBytes, onError }: AppLogOptions): Promise<AppLog> {
  await mkdir(directory, { recursive: true });
  let segments = (await readdir(directory))
    .filter((name) => /^\d{10}\.ndjson$/.test(name))
    .map((name) => Number(name.slice(0, 10)))
    .sort((a, b) => a - b);
  const cursors = new Map<string, Cursor>();
  let current = segments.at(-1) ?? 0;
  let offset = 0;
  if (segments.length > 0) {
    const path = join(directory, fileName(current));
    const found = parseSegment(await readFile(path, "utf8"));
    for (const [id, cursor] of found.cursors) cursors.set(id, cursor);
    await truncate(path, found.soundBytes);
    offset = found.soundBytes;
  }
  const listeners = new Set<(line: KeptLine) => void>();
  const pending: { segment: number; text: string }[] = [];
  let pendingBytes = 0;
  let writing = Promise.resolve();

  const take = (text: string): void => {
    pending.push({ segment: current, text });
    const bytes = Buffer.byteLength(text);
    pendingBytes += bytes;
    offset += bytes;
  };

  const write = async (): Promise<void> => {
    while (pending.length > 0) {
      const { segment } = pending[0]!;
      const upTo = pending.findIndex((entry) => entry.segment !== segment);
      const batch = pending.splice(0, upTo < 0 ? pending.length : upTo);
      const text = batch.map((entry) => entry.text).join("");
      const file = await open(join(directory, fileName(segment)), "a");
      try {
        await file.writeFile(text);
      } finally {
        await file.close();
        pendingBytes -= Buffer.byteLength(text);
      }
      if (!segments.includes(segment)) segments.push(segment);
      const keep = Math.max(1, Math.floor(maxBytes / segmentBytes));
      const dropped = segments.slice(0, -keep);
      segments = segments.slice(-keep);
      for (const old of dropped) await rm(join(directory, fileName(old)), { force: true });
    }
  };
  const flush = (): Promise<void> => {
    writing = writing.then(write).catch(onError);
    return writing;
  };

  return {
    append(lines) {
      for (const line of lines) {
        const text = formatLine(line);
        if (offset + text.length > segmentBytes && offset > 0) {
          current++;
          offset = 0;
        }
        if (offset === 0) take(formatHeader(cursors));
        take(text);
        advance(cursors, line);
        for (const listener of listeners) listener(line);
      }
      void flush();
    },
    async ready() {
      if (pendingBytes > PAUSE_BYTES) await writing;
    },
    cursor: (containerId) => cursors.get(containerId),
    forget: (containerId) => void cursors.delete(containerId),
    async read(matches, limit) {
      const end = { segment: current, offset };
      await flush();
      const found: KeptLine[][] = [];
      let count = 0;
      for (const segment of segments.filter((id) => id <= end.segment).reverse()) {
        if (count >= limit) break;
        // A segment may be dropped while it is waited for; its lines were the oldest.
        const bytes = await readFile(join(directory, fileName(segment))).catch(() => Buffer.alloc(0));
        const text = bytes.toString(
          "utf8",
          0,
          segment === end.segment ? Math.min(end.offset, bytes.length) : undefined,
        );
        const lines = parseSegment(text).lines.filter(matches);
        found.unshift(lines);
        count += lines.length;
      }
      return limit === 0 ? [] : found.flat().slice(-limit);
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    close: flush,
  };
}
