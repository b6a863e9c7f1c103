// Durable records for whoever follows the log. A watcher has a position and no buffer: what it has not read yet is taken
// from the last few thousand records in memory, or from the log itself when it lags further, so a slow one costs nothing.
import { Fault } from "#api/fault.ts";
import type { Log, LogRecord } from "./log.ts";

const KEPT_IN_MEMORY = 4096;
const READ_CHUNK = 500;

export interface RecordFeed {
  readonly durableSeq: number;
  /** The next durable record; called in seq order. */
  push(record: LogRecord): void;
  watch(fromSeq: number, signal: AbortSignal): AsyncGenerator<LogRecord, void, undefined>;
  listen(listener: (record: LogRecord) => void): () => void;
  /** Ends every watch once it has read what is durable. */
  close(): void;
}

export function recordFeed(log: Log): RecordFeed {
  const recent: LogRecord[] = new Array(KEPT_IN_MEMORY);
  const listeners = new Set<(record: LogRecord) => void>();
  const waiting = new Set<() => void>();
  let firstRecent = log.headSeq + 1;
  let durableSeq = log.headSeq;
  let closed = false;

  const wake = () => {
    for (const resolve of waiting) resolve();
  };

  const more = (signal: AbortSignal) =>
    new Promise<void>((resolve) => {
      const done = () => {
        waiting.delete(done);
        signal.removeEventListener("abort", done);
        resolve();
      };
      signal.addEventListener("abort", done, { once: true });
      waiting.add(done);
    });

  async function* watch(fromSeq: number, signal: AbortSignal): AsyncGenerator<LogRecord, void, undefined> {
    let next = fromSeq;
    if (!Number.isSafeInteger(next) || next > durableSeq + 1) throw goneAhead(next, durableSeq);
    while (!signal.aborted) {
      if (next > durableSeq) {
        if (closed) return;
        await more(signal);
      } else if (next >= firstRecent) {
        yield recent[next % KEPT_IN_MEMORY]!;
        next++;
      } else {
        for (const record of await log.read(next, READ_CHUNK)) {
          if (signal.aborted) return;
          yield record;
          next = record.seq + 1;
        }
      }
    }
  }

  return {
    get durableSeq() {
      return durableSeq;
    },
    push(record) {
      recent[record.seq % KEPT_IN_MEMORY] = record;
      durableSeq = record.seq;
      firstRecent = Math.max(firstRecent, durableSeq - KEPT_IN_MEMORY + 1);
      for (const listener of listeners) listener(record);
      if (waiting.size > 0) wake();
    },
    watch,
    listen(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    close() {
      closed = true;
      wake();
    },
  };
}

function goneAhead(fromSeq: number, durableSeq: number): Fault {
  return new Fault("gone", `record ${fromSeq} is not in this log; it ends at ${durableSeq}`, {
    details: { fromSeq, durableSeq },
  });
}
