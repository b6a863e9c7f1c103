// Lines that no container wrote: releases and deployments, builds, requests, what control says of jobs. Kept on control's disk
// within a bound, each app with a fair part of it. Writing waits for nobody and fails nobody.
import { join } from "node:path";
import { followLines, type LineQuery, readLines } from "#api/log-reader.ts";
import type { LogLine } from "#api/logs.ts";
import type { StreamEvent } from "#api/stream.ts";
import { lineStore } from "#lib/line-store.ts";
import type { Log } from "#lib/log.ts";
import { causeChain } from "#lib/run.ts";
import { microsecondsNow } from "#lib/time.ts";

/** `at` is now unless given, `stream` stdout. A text of several lines becomes several. */
export type OwnLine = Pick<LogLine, "app" | "source" | "line"> & { appId: string } & Partial<
    Pick<LogLine, "at" | "process" | "jobId" | "stream">
  >;

export interface OwnLog {
  /** Fire and forget: bounded, never throws. */
  write(line: OwnLine): void;
  tail(query: LineQuery): Promise<LogLine[]>;
  follow(query: LineQuery, signal: AbortSignal, lastEventId?: string): AsyncGenerator<StreamEvent<LogLine>[]>;
  /** Removes the lines of apps whose id is not among these and that wrote nothing since `beforeMs`. */
  prune(apps: ReadonlySet<string>, beforeMs: number): Promise<string[]>;
  close(): Promise<void>;
}

export interface OwnLogOptions {
  /** Control's state directory. */
  stateDir: string;
  log: Log;
  maxBytes?: number;
  totalBytes?: number;
  segmentBytes?: number;
}

/** Of one line, in characters; longer ones are several. */
export const LINE_MOST = 16 << 10;

export function openOwnLog(options: OwnLogOptions): OwnLog {
  const { stateDir, log, maxBytes = 16 << 20, totalBytes = 256 << 20, segmentBytes = 2 << 20 } = options;
  let troubled = false;
  const onError = (error: unknown): void => {
    if (!troubled) log.error({ causes: causeChain(error) }, "log lines not kept");
    troubled = true;
  };
  const directory = join(stateDir, "logs");
  const store = lineStore<LogLine>({ directory, maxBytes, totalBytes, segmentBytes, onError });
  const dropped = new Map<string, number>();

  const append = async ({ app, appId }: { app: string; appId: string }, lines: LogLine[]): Promise<void> => {
    const kept = await store.open(appId);
    if (kept.isBehind()) return void dropped.set(appId, (dropped.get(appId) ?? 0) + lines.length);
    const lost = dropped.get(appId);
    if (lost !== undefined) {
      dropped.delete(appId);
      const line = `... ${lost} lines dropped: the disk of control is too slow`;
      kept.append([{ at: lines[0]!.at, app, appId, stream: "stderr", source: "system", line }]);
    }
    kept.append(lines);
  };

  return {
    write({ at = microsecondsNow(), stream = "stdout", line, ...about }) {
      const lines = split(line).map((piece) => ({ at, ...about, stream, ...piece }));
      append(about, lines).catch(onError);
    },
    tail: (query) =>
      readLines(store, query).catch((error: unknown) => {
        onError(error);
        return [];
      }),
    follow: (query, signal, lastEventId) =>
      followLines({ store, query: { ...query, follow: true }, signal, ...(lastEventId ? { lastEventId } : {}) }),
    prune: (apps, beforeMs) => store.prune(apps, beforeMs),
    close: () => store.close(),
  };
}

/** Text as lines of at most LINE_MOST characters; a longer one is cut, and its pieces but the last say so. */
export function split(text: string): Pick<LogLine, "line" | "partial">[] {
  return text.split(/\r?\n/).flatMap((line) => {
    const pieces: Pick<LogLine, "line" | "partial">[] = [];
    let rest = line;
    while (rest.length > LINE_MOST) {
      // Not between the two halves of one character.
      const end = /[\ud800-\udbff]/.test(rest[LINE_MOST - 1]!) ? LINE_MOST - 1 : LINE_MOST;
      pieces.push({ line: rest.slice(0, end), partial: true });
      rest = rest.slice(end);
    }
    return [...pieces, { line: rest }];
  });
}
