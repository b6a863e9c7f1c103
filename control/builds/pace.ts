// How slowly a source may come in: bytes over a window of time in which its sender was waited for. While we ourselves are busy with
// what has come, nobody is late.
import type { Readable, Writable } from "node:stream";
import { Fault } from "#api/fault.ts";
import { formatSize } from "#lib/units.ts";
import { span } from "./words.ts";

export interface Pace {
  leastBytes: number;
  windowMs: number;
}

/** Less than the slowest line that people work over gives; a sender that drips bytes has its place for one window. */
export const SOURCE_PACE: Pace = { leastBytes: 256 * 1024, windowMs: 30_000 };

export interface PaceMeter {
  /** What came, and for how long it was waited for. True: too slow. */
  count(sizeBytes: number, waitedMs: number): boolean;
  /** Of waiting, until the window is full. */
  leftMs(): number;
}

export function paceMeter({ leastBytes, windowMs }: Pace): PaceMeter {
  let [bytes, waited] = [0, 0];
  return {
    count(sizeBytes, waitedMs) {
      bytes += sizeBytes;
      waited += waitedMs;
      if (waited < windowMs) return false;
      const isSlow = bytes < leastBytes;
      [bytes, waited] = [0, 0];
      return isSlow;
    },
    leftMs: () => windowMs - waited,
  };
}

export interface KeepPace {
  pace: Pace;
  /** Fault `timeout`; at most once. */
  onSlow: (fault: Fault) => void;
  /** A clock that never goes back, in milliseconds. */
  nowMs?: () => number;
}

/** Watches `from`, which is piped into `into` already, until either ends. */
export function keepPace(from: Readable, into: Writable, options: KeepPace): void {
  const { pace, onSlow, nowMs = () => performance.now() } = options;
  const meter = paceMeter(pace);
  let markedMs = nowMs();
  let isOurs = into.writableNeedDrain;
  let timer: NodeJS.Timeout | undefined;
  const look = (sizeBytes: number): void => {
    const atMs = nowMs();
    const waitedMs = isOurs ? 0 : atMs - markedMs;
    [markedMs, isOurs] = [atMs, into.writableNeedDrain];
    clearTimeout(timer);
    if (meter.count(sizeBytes, waitedMs)) {
      end();
      onSlow(new Fault("timeout", tooSlow(pace)));
    } else if (!isOurs) timer = setTimeout(look, Math.max(1, meter.leftMs()), 0);
  };
  const onData = (chunk: Buffer) => look(chunk.length);
  const onDrain = () => look(0);
  function end(): void {
    clearTimeout(timer);
    from.off("data", onData).off("end", end).off("close", end);
    into.off("drain", onDrain).off("close", end);
  }
  from.on("data", onData).once("end", end).once("close", end);
  into.on("drain", onDrain).once("close", end);
  look(0);
}

const tooSlow = ({ leastBytes, windowMs }: Pace): string =>
  `the source comes in too slowly: less than ${formatSize(leastBytes)} within ${span(windowMs)}. Send it over a faster line, or send less of it (.slugignore)`;
