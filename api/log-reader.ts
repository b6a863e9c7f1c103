// Reading and following kept lines by a query, the same for a host's store and for control's own. A stream's ids are the lines'
// numbers in the order they were taken, so that one who comes back gets exactly what he missed.

import type { Row } from "#lib/line-segment.ts";
import type { LineStore } from "#lib/line-store.ts";
import { toMicroseconds } from "#lib/time.ts";
import { createWake } from "#lib/wake.ts";
import type { Query } from "./endpoint.ts";
import type { hostLog, LogLine } from "./logs.ts";
import type { StreamEvent } from "./stream.ts";

export type LineQuery = Query<typeof hostLog>;
type Kept = LogLine & Row;

export interface FollowLines {
  store: LineStore<Kept>;
  query: LineQuery;
  lastEventId?: string;
  signal: AbortSignal;
}

const DEFAULT_LINES = 100;
/** What one who comes back is given at most. */
const RESUME_LINES = 20_000;
/** A reader this far behind is let go; it comes back and reads the past from disk. */
const BEHIND_LINES = 50_000;

export function lineFilter(query: LineQuery): (line: LogLine) => boolean {
  const { jobId, process, source } = query;
  const since = query.since === undefined ? undefined : toMicroseconds(query.since);
  const until = query.until === undefined ? undefined : toMicroseconds(query.until);
  return (line) =>
    isOfApp(query, line) &&
    (jobId === undefined || line.jobId === jobId) &&
    (process === undefined || line.process === process) &&
    (source === undefined || line.source === source) &&
    (since === undefined || line.at >= since) &&
    (until === undefined || line.at <= until);
}

/** By id where the line has one: a name may have been another app's before. One without an id is for who asks to judge. */
function isOfApp({ app, appId }: LineQuery, line: LogLine): boolean {
  if (appId !== undefined && line.appId !== undefined) return line.appId === appId;
  return app === undefined ? appId === undefined : line.app === app;
}

/** The newest lines of the query, oldest first. */
export async function readLines(store: LineStore<Kept>, query: LineQuery): Promise<LogLine[]> {
  const found = await readKept(store, query, lineFilter(query), query.lines ?? DEFAULT_LINES);
  return found.sort((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : (a.n ?? 0) - (b.n ?? 0))).map(publicLine);
}

/** The past of the query, a `current` marker, then lines as they come, in the order they were taken, as many at once as there are. */
export async function* followLines(options: FollowLines): AsyncGenerator<StreamEvent<LogLine>[]> {
  const { store, query, signal } = options;
  const matches = lineFilter(query);
  const after = /^\d{1,16}$/.test(options.lastEventId ?? "") ? Number(options.lastEventId) : undefined;
  let waiting: Kept[] = [];
  const bell = createWake();
  const unsubscribe = query.follow
    ? store.subscribe((line) => {
        if (!matches(line)) return;
        if (waiting.length <= BEHIND_LINES) waiting.push(line);
        bell.ring();
      })
    : undefined;
  try {
    const isWanted = (line: Kept) => matches(line) && (after === undefined || (line.n ?? 0) > after);
    const limit = after === undefined ? (query.lines ?? DEFAULT_LINES) : RESUME_LINES + 1;
    const past = (await readKept(store, query, isWanted, limit)).sort((a, b) => (a.n ?? 0) - (b.n ?? 0));
    if (after !== undefined && past.length > RESUME_LINES) {
      past.splice(0, past.length - RESUME_LINES);
      const { at, app, appId, n = 1 } = past[0]!;
      const line = `... lines dropped: more than ${RESUME_LINES} were written while their reader was away`;
      past.unshift({
        at,
        app,
        ...(appId === undefined ? {} : { appId }),
        stream: "stdout",
        source: "system",
        line,
        n: n - 1,
      });
    }
    let newest = past.at(-1)?.n ?? 0;
    yield [...past.map(eventOf), { event: "current" }];
    // A line may be in what was read and among those that were told: its number says so.
    while (query.follow && !signal.aborted) {
      const events = waiting.filter(({ n = 0 }) => n > newest).map(eventOf);
      if (waiting.length > BEHIND_LINES) return;
      waiting = [];
      if (events.length > 0) {
        newest = Number(events.at(-1)!.id);
        yield events;
        continue;
      }
      await bell.wait(Number.POSITIVE_INFINITY, signal);
      if (signal.aborted) return;
    }
  } finally {
    unsubscribe?.();
  }
}

async function readKept(store: LineStore<Kept>, query: LineQuery, matches: (line: Kept) => boolean, limit: number) {
  const asked = [query.appId, query.app].filter((name) => name !== undefined);
  const names = asked.length === 0 ? await store.names() : [...new Set(asked)];
  const parts = await Promise.all(names.map(async (name) => (await store.find(name))?.read(matches, limit) ?? []));
  const all = parts.flat();
  if (names.length < 2) return all;
  return limit === 0 ? [] : all.sort((a, b) => (a.n ?? 0) - (b.n ?? 0)).slice(-limit);
}

const eventOf = (line: Kept): StreamEvent<LogLine> => ({
  id: String(line.n ?? 0),
  event: "item",
  data: publicLine(line),
});

/** Without what only the store needs. */
function publicLine({ container: _, n: __, ...line }: Kept): LogLine {
  return line;
}
