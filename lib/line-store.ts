// Many line logs under one directory, each with a bound of its own and all with one together. When all together are too large, the
// largest gives its oldest lines: whoever has less than an equal share loses none, however loud the others are.
import { readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { type LineLog, lineLogBytes, openLineLog } from "./line-log.ts";
import type { Row } from "./line-segment.ts";

export interface LineStoreOptions {
  directory: string;
  /** Of one log. */
  maxBytes: number;
  /** Of all logs together. */
  totalBytes: number;
  /** Largest segment; smaller where many logs share the total. */
  segmentBytes: number;
  onError: (error: unknown) => void;
  now?: () => number;
}

export interface LineStore<T extends Row> {
  /** The log of this name, opened (and its directory made) at first use. */
  open(name: string): Promise<LineLog<T>>;
  /** The log of this name if there is one: reading makes none. */
  find(name: string): Promise<LineLog<T> | undefined>;
  names(): Promise<string[]>;
  /** Every line of every log as it is taken. */
  subscribe(listener: (line: T) => void): () => void;
  /** Removes logs that nothing was written to since `beforeMs` (wall clock), but for `keep`. */
  prune(keep: ReadonlySet<string>, beforeMs: number): Promise<string[]>;
  close(): Promise<void>;
}

/** Names become directories: nothing else may. */
const LOG_NAME = /^[a-z]([a-z0-9-]{0,28}[a-z0-9])?$/;
const LEAST_SEGMENT_BYTES = 16 << 10;
/** A log of its full share has at least so many segments, so that dropping one is dropping a part. */
const SEGMENTS_PER_SHARE = 4;

export function lineStore<T extends Row>(options: LineStoreOptions): LineStore<T> {
  const { directory, maxBytes, totalBytes, onError, now = Date.now } = options;
  const logs = new Map<string, Promise<LineLog<T>>>();
  const listeners = new Set<(line: T) => void>();
  const sizes = new Map<string, number>();
  let lastNumber = 0;
  let trimming: Promise<void> | undefined;
  const kept = async (): Promise<string[]> =>
    (await readdir(directory).catch(() => [])).filter((n) => LOG_NAME.test(n));
  /** Of all sizes. */
  let total = 0;
  const setSize = (name: string, sizeBytes: number | undefined): void => {
    total += (sizeBytes ?? 0) - (sizes.get(name) ?? 0);
    if (sizeBytes === undefined) sizes.delete(name);
    else sizes.set(name, sizeBytes);
  };
  /** What earlier runs left counts too, opened or not. */
  const measured = (async () => {
    for (const name of await kept()) {
      const sizeBytes = await lineLogBytes(join(directory, name));
      if (!sizes.has(name)) setSize(name, sizeBytes);
    }
  })().catch(onError);
  const segmentBytes = () => {
    const share = totalBytes / Math.max(1, sizes.size);
    return Math.min(options.segmentBytes, Math.max(LEAST_SEGMENT_BYTES, Math.floor(share / SEGMENTS_PER_SHARE)));
  };

  const trim = async (): Promise<void> => {
    await measured;
    const spent = new Set<string>();
    while (total > totalBytes) {
      const [largest] = [...sizes].filter(([name]) => !spent.has(name)).sort(([, a], [, b]) => b - a);
      if (largest === undefined) return;
      if (!(await (await openLog(largest[0])).dropOldest())) spent.add(largest[0]);
    }
  };
  const onSize = (name: string, sizeBytes: number): void => {
    setSize(name, sizeBytes);
    if (total <= totalBytes || trimming !== undefined) return;
    trimming = trim()
      .catch(onError)
      .finally(() => {
        trimming = undefined;
      });
  };

  const openLog = (name: string): Promise<LineLog<T>> => {
    if (!LOG_NAME.test(name)) throw new Error(`log name ${JSON.stringify(name)} is not one`);
    const opened =
      logs.get(name) ??
      openLineLog<T>({
        directory: join(directory, name),
        maxBytes,
        segmentBytes,
        // Microseconds of the clock, but never back: numbers grow over restarts too.
        nextNumber: (last) => (lastNumber = Math.max(lastNumber + 1, last + 1, now() * 1_000)),
        onSize: (sizeBytes) => onSize(name, sizeBytes),
        onLine: (line) => {
          for (const listener of listeners) listener(line);
        },
        onError,
      }).catch((cause: unknown) => {
        logs.delete(name);
        throw new Error(`open the log of ${name}`, { cause });
      });
    logs.set(name, opened);
    return opened;
  };

  return {
    open: async (name) => openLog(name),
    async find(name) {
      if (!LOG_NAME.test(name)) return undefined;
      return logs.has(name) || (await kept()).includes(name) ? openLog(name) : undefined;
    },
    names: async () => [...new Set([...logs.keys(), ...(await kept())])].sort(),
    subscribe(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    async prune(keep, beforeMs) {
      const removed: string[] = [];
      for (const name of await kept()) {
        if (keep.has(name)) continue;
        const path = join(directory, name);
        await (await logs.get(name))?.flush();
        const times = await Promise.all(
          (await readdir(path)).map(async (file) => (await stat(join(path, file))).mtimeMs),
        );
        if (Math.max(0, ...times) >= beforeMs) continue;
        const open = logs.get(name);
        logs.delete(name);
        await open?.then((log) => log.close());
        await rm(path, { recursive: true, force: true });
        setSize(name, undefined);
        removed.push(name);
      }
      return removed;
    },
    async close() {
      await measured;
      await Promise.all([...logs.values()].map(async (log) => (await log).close()));
      await trimming;
    },
  };
}
