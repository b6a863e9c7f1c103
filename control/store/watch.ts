// Durable records for whoever follows the log. A watcher has a position and no buffer: what it has not read yet is taken
// from the last few thousand records in memory, or from the log itself when it lags further, so a slow one costs nothing.
import { Fault } from "#api/fault.ts";
import type { Log as Logger } from "#lib/log.ts";
import { causeChain } from "#lib/run.ts";
import type { Log, LogRecord } from "./log.ts";

const KEPT_IN_MEMORY = 4096;
const READ_CHUNK = 500;
/** A listener that throws is given the record again so often, so much later each time; what comes meanwhile waits behind it. */
const LISTENER_TRIES = 3;
const LISTENER_RETRY_MS = 1_000;

export interface RecordFeed {
  readonly durableSeq: number;
  /** The next durable record; called in seq order. */
  push(record: LogRecord): void;
  watch(fromSeq: number, signal: AbortSignal): AsyncGenerator<LogRecord, void, undefined>;
  /** A listener that throws harms nobody else: it is logged, and given the record again. */
  listen(listener: (record: LogRecord) => void): () => void;
  /** Ends every watch once it has read what is durable. */
  close(): void;
}

interface Listener {
  take: (record: LogRecord) => void;
  /** Not taken in yet, the one that failed first. */
  behind: LogRecord[];
  tries: number;
  timer?: NodeJS.Timeout;
}

export function recordFeed(log: Log, logger?: Logger, retryMs = LISTENER_RETRY_MS): RecordFeed {
  const recent: LogRecord[] = new Array(KEPT_IN_MEMORY);
  const listeners = new Set<Listener>();
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

  const failed = (listener: Listener, error: unknown): void => {
    const { seq } = listener.behind[0]!;
    const givenUp = ++listener.tries >= LISTENER_TRIES;
    const words = givenUp
      ? "a record is passed over by a listener"
      : "a listener failed on a record, it is tried again";
    logger?.error({ causes: causeChain(error), seq, behind: listener.behind.length }, words);
    if (givenUp) {
      listener.behind.shift();
      listener.tries = 0;
    }
    if (listener.behind.length > 0) listener.timer = setTimeout(catchUp, retryMs, listener).unref();
  };

  const catchUp = (listener: Listener): void => {
    try {
      for (; listener.behind.length > 0; listener.behind.shift(), listener.tries = 0)
        listener.take(listener.behind[0]!);
    } catch (error) {
      failed(listener, error);
    }
  };

  const give = (listener: Listener, record: LogRecord): void => {
    listener.behind.push(record);
    if (listener.behind.length === 1) catchUp(listener);
    else if (listener.behind.length > KEPT_IN_MEMORY) listener.behind.splice(1, 1);
  };

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
      for (const listener of [...listeners]) give(listener, record);
      if (waiting.size > 0) wake();
    },
    watch,
    listen(take) {
      const listener: Listener = { take, behind: [], tries: 0 };
      listeners.add(listener);
      return () => {
        listeners.delete(listener);
        clearTimeout(listener.timer);
        listener.behind = [];
      };
    },
    close() {
      closed = true;
      for (const { timer } of listeners) clearTimeout(timer);
      wake();
    },
  };
}

function goneAhead(fromSeq: number, durableSeq: number): Fault {
  return new Fault("gone", `record ${fromSeq} is not in this log; it ends at ${durableSeq}`, {
    details: { fromSeq, durableSeq },
  });
}
