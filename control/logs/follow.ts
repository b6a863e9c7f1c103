// Several sources of lines as one stream in time order: the past, a `current` marker, then lines as they come, each held back a
// moment for earlier ones of other sources. A reader that is slow slows the sources, which are then read from their disks.
import type { LineQuery } from "#api/log-reader.ts";
import type { LogLine } from "#api/logs.ts";
import type { StreamEvent } from "#api/stream.ts";
import { joined, microsecondsNow, sleep, toMicroseconds } from "#lib/time.ts";
import { formatPlace, parsePlace } from "./place.ts";

export interface LineSource {
  id: string;
  /** What people call it. */
  name: string;
  /** The past of the query, `current`, and what follows; comes back by itself after a break, until the signal aborts. */
  follow(query: LineQuery, signal: AbortSignal, lastEventId?: string): AsyncIterable<StreamEvent<LogLine>[]>;
}

export interface FollowOptions {
  /** The sources there are now; asked again and again, since hosts come and go. */
  sources: () => readonly LineSource[];
  /** Names of sources that are known not to answer. */
  away: () => readonly string[];
  query: LineQuery & { lines: number };
  lastEventId?: string | undefined;
  signal: AbortSignal;
  /** A source's stream failed for good. */
  onError: (error: unknown, source: LineSource) => void;
  windowMs?: number;
  silentAfterMs?: number;
  /** A clock that never goes back, in milliseconds. */
  nowMs?: () => number;
}

interface Arrived {
  source: string;
  n: number;
  line: LogLine;
  arrivedMs: number;
}

const WINDOW_MS = 250;
const TICK_MS = 50;
const SILENT_AFTER_MS = 3_000;
const HELD_MOST = 20_000;
const LATE_LINES = 10_000;

export async function* followSources(options: FollowOptions): AsyncGenerator<StreamEvent<LogLine>> {
  const { query, signal, windowMs = WINDOW_MS, silentAfterMs = SILENT_AFTER_MS } = options;
  const nowMs = options.nowMs ?? (() => performance.now());
  const resumed = parsePlace(options.lastEventId);
  const since = resumed?.since ?? microsecondsNow();
  const numbers = new Map(resumed?.numbers);
  const stop = new AbortController();
  const { signal: both } = joined(signal, stop.signal);
  const held: Arrived[] = [];
  /** Sources that are followed; true once their past is in. */
  const current = new Map<string, boolean>();
  let isPast = true;
  let room = Promise.withResolvers<void>();

  const read = async (source: LineSource): Promise<void> => {
    const known = numbers.get(source.id);
    // One that comes late, or that nothing was seen of, tells what it wrote since the stream began.
    const late = isPast && resumed === undefined ? {} : { since: laterOf(since, query.since), lines: LATE_LINES };
    const requested = { ...query, ...(known === undefined ? late : {}), follow: true };
    for await (const events of source.follow(requested, both, known === undefined ? undefined : String(known))) {
      const arrivedMs = nowMs();
      for (const { event, id, data } of events) {
        if (event === "current") current.set(source.id, true);
        else if (event === "item" && data) held.push({ source: source.id, n: Number(id), line: data, arrivedMs });
      }
      while (held.length > HELD_MOST && !isPast && !both.aborted) await room.promise;
    }
  };
  const attend = (): void => {
    for (const source of options.sources()) {
      if (current.has(source.id)) continue;
      current.set(source.id, false);
      read(source)
        .catch((error: unknown) => options.onError(error, source))
        .finally(() => current.delete(source.id));
    }
  };
  const send = (lines: readonly Arrived[]): StreamEvent<LogLine>[] => {
    for (const { source, n } of lines) numbers.set(source, Math.max(n, numbers.get(source) ?? 0));
    const id = formatPlace({ since, numbers });
    const sorted = byTime(lines);
    // The place is told with the last of a batch only: before it, some of them would be missed or repeated.
    return sorted.map(({ line }, at) => ({ event: "item", data: line, ...(at === sorted.length - 1 ? { id } : {}) }));
  };

  both.addEventListener("abort", () => room.resolve(), { once: true });
  try {
    attend();
    const lateMs = performance.now() + silentAfterMs;
    while ([...current.values()].includes(false) && performance.now() < lateMs && !signal.aborted)
      await sleep(10, signal);
    const past = held.splice(0);
    const newest = query.lines === 0 ? [] : byTime(past).slice(-query.lines);
    const wanted = new Set(resumed === undefined ? newest : past);
    // What was asked for and not needed counts as sent: it is older than all that is shown.
    for (const { source, n } of past) numbers.set(source, Math.max(n, numbers.get(source) ?? 0));
    yield* send(past.filter((line) => wanted.has(line)));
    const unheard = options.sources().filter(({ id }) => current.get(id) !== true);
    const silent = [...options.away(), ...unheard.map(({ name }) => name)].sort();
    isPast = false;
    yield {
      event: "current",
      id: formatPlace({ since, numbers }),
      data: { silent } as never,
    };
    while (!signal.aborted) {
      attend();
      const atMs = nowMs();
      const fresh = held.findIndex(({ arrivedMs }) => atMs - arrivedMs < windowMs);
      const due = held.splice(0, held.length >= HELD_MOST || fresh < 0 ? held.length : fresh);
      if (due.length > 0) {
        room.resolve();
        room = Promise.withResolvers();
        yield* send(due);
        continue;
      }
      await sleep(TICK_MS, signal);
    }
  } finally {
    stop.abort();
    room.resolve();
  }
}

function laterOf(at: string, other: string | undefined): string {
  const time = other === undefined ? "" : toMicroseconds(other);
  return time > at ? time : at;
}

/** In time order; equal times keep the order in which they arrived. */
const byTime = (lines: readonly Arrived[]): Arrived[] =>
  lines.toSorted((a, b) => (a.line.at < b.line.at ? -1 : a.line.at > b.line.at ? 1 : 0));
