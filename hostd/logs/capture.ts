// Follows the log of every container into the store, and says when one has been kept to its end. A reader that breaks goes on
// where the store's cursor stands: the engine repeats that instant, and as many lines as are kept of it are stepped over.
import { isFault } from "#api/fault.ts";
import { backoffMs } from "#lib/retry.ts";
import { sleep } from "#lib/time.ts";
import { type Container, type Engine, LABELS } from "../engine/engine.ts";
import { droppedLine, JOB_RATE, type RateGate, type RateLimits, rateGate } from "./rate.ts";
import type { AppLog, LogStore } from "./store.ts";

export interface LogCapture {
  /** Reads exactly these containers' logs. */
  sync(containers: readonly Container[]): void;
  captured: ReadonlySet<string>;
  lastLine(containerId: string): string | undefined;
}

export interface CaptureOptions {
  /** What one job may write. */
  rate?: RateLimits;
  engine: Pick<Engine, "log">;
  store: LogStore;
  /** A container's log has been kept to its end. */
  onEnd: () => void;
  onError: (error: unknown, containerId: string) => void;
  signal: AbortSignal;
}

interface Reader {
  controller: AbortController;
  /** The container had ended before the reading that is now under way began. */
  ended: boolean;
  app: string;
  gate: RateGate;
}

/** Docker cuts an entry at 16 KiB; what is so long is a piece of a line, unless it ends one. */
const MAX_LINE = 16 << 10;
const TELL_DROPPED_MS = 1_000;

export function captureLogs(options: CaptureOptions): LogCapture {
  const { engine, store, onEnd, onError, signal, rate = JOB_RATE } = options;
  const readers = new Map<string, Reader>();
  const captured = new Set<string>();
  const lastLines = new Map<string, string>();

  /** One reading, to its end. */
  const read = async (container: Container, reader: Reader, log: AppLog, ended: AbortSignal): Promise<void> => {
    const { id, labels } = container;
    const about = { app: labels[LABELS.app]!, process: labels[LABELS.process] ?? "", jobId: labels[LABELS.job]! };
    const cursor = log.cursor(id);
    let skip = cursor?.count ?? 0;
    const { gate } = reader;
    let newest = cursor?.at ?? "";
    let toldMs = performance.now();
    const tellDropped = () => {
      const count = gate.takeDropped();
      toldMs = performance.now();
      if (count === 0) return;
      const line = droppedLine(count, rate);
      log.append([{ at: newest, ...about, stream: "stderr", source: "system", line, container: id }]);
    };
    // A flood that ends in silence is told too.
    const teller = setInterval(() => performance.now() - toldMs >= TELL_DROPPED_MS && tellDropped(), TELL_DROPPED_MS);
    try {
      for await (const { at, stream, line, partial } of engine.log(container.name, {
        since: cursor?.at,
        signal: ended,
      })) {
        if (cursor && (at < cursor.at || (at === cursor.at && skip-- > 0))) continue;
        if (tells(line)) lastLines.set(id, line);
        if (!gate.admit(Buffer.byteLength(line), performance.now())) {
          newest = at;
          if (performance.now() - toldMs >= TELL_DROPPED_MS) tellDropped();
          continue;
        }
        if (gate.dropped > 0) tellDropped();
        newest = at;
        const rest = { ...(partial ? { partial } : {}), container: id };
        log.append([{ at, ...about, stream, source: "app", line: line.slice(0, MAX_LINE), ...rest }]);
        await log.ready();
      }
    } finally {
      clearInterval(teller);
      tellDropped();
    }
  };

  const follow = async (container: Container, reader: Reader): Promise<void> => {
    const ended = AbortSignal.any([signal, reader.controller.signal]);
    for (let failures = 0; !ended.aborted; ) {
      const wasEnded = reader.ended;
      try {
        await read(container, reader, await store.open(reader.app), ended);
        // Reading a container that had ended before is final; one that ended during it is read once more.
        if (wasEnded && !ended.aborted) {
          captured.add(container.id);
          return onEnd();
        }
        if (reader.ended) continue;
        failures++;
      } catch (error) {
        if (ended.aborted) return;
        if (isFault(error, "not-found")) return;
        failures++;
        onError(error, container.id);
      }
      await sleep(backoffMs(Math.max(1, failures), 200, 1_000), ended);
    }
  };

  return {
    captured,
    lastLine: (containerId) => lastLines.get(containerId),
    sync(containers) {
      const ids = new Set(containers.map(({ id }) => id));
      for (const id of captured) if (!ids.has(id)) captured.delete(id);
      for (const [id, reader] of readers) {
        if (ids.has(id)) continue;
        reader.controller.abort();
        readers.delete(id);
        captured.delete(id);
        lastLines.delete(id);
        void store.open(reader.app).then(
          (log) => log.forget(id),
          () => undefined,
        );
      }
      for (const container of containers) {
        const { id, labels, status } = container;
        const ended = status === "exited" || status === "dead";
        // What a client and its job say to one another is theirs: there is no log, so it is kept to its end.
        if (labels[LABELS.attach] !== undefined) {
          if (ended) captured.add(id);
          continue;
        }
        const existing = readers.get(id);
        if (existing) {
          existing.ended = ended;
          continue;
        }
        if (status !== "running" && !ended) continue;
        const app = labels[LABELS.app] ?? "";
        const reader: Reader = { controller: new AbortController(), ended, app, gate: rateGate(rate) };
        readers.set(id, reader);
        void follow(container, reader);
      }
    },
  };
}

/** Whether a line may say why a program ended: not what Node.js and Java print below an error (its stack, a brace, a version). */
export function tells(line: string): boolean {
  return !/^\s*(?:at .+|Node\.js v\d\S*|[\](){}^]*)\s*$/.test(line);
}
