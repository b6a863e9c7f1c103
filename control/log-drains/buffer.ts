// Lines that wait for a drain's target: bounded, the oldest given up first and counted. With each line the place in the stream that
// is reached once it was sent, where the stream told one.
import type { LogLine } from "#api/logs.ts";

interface Waiting {
  line: LogLine;
  place?: string;
  sizeBytes: number;
}

export interface Batch {
  lines: LogLine[];
  /** The last place in the batch. */
  place?: string;
  /** Lines given up before these. */
  lost: number;
}

export interface LineBuffer {
  push(line: LogLine, place?: string): void;
  /** The oldest lines, which stay until `done`; lines that come meanwhile do not push these out. */
  take(linesMost: number, bytesMost: number): Batch | undefined;
  /** The batch last taken was sent, or is given up. */
  done(): void;
  readonly length: number;
  /** All ever given up for want of room. */
  readonly dropped: number;
  oldestAt(): string | undefined;
}

export function lineBuffer({ linesMost, bytesMost }: { linesMost: number; bytesMost: number }): LineBuffer {
  const waiting: Waiting[] = [];
  let waitingBytes = 0;
  let taken = 0;
  let dropped = 0;
  let lost = 0;
  let told = 0;
  const giveUp = (): void => {
    // A tenth at once, so that a full buffer is not moved for every line.
    const keep = { lines: linesMost * 0.9, bytes: bytesMost * 0.9 };
    let count = 0;
    while (taken + count < waiting.length && (waiting.length - count > keep.lines || waitingBytes > keep.bytes))
      waitingBytes -= waiting[taken + count++]!.sizeBytes;
    waiting.splice(taken, count);
    dropped += count;
    lost += count;
  };
  return {
    push(line, place) {
      const sizeBytes = line.line.length + 200;
      waiting.push({ line, sizeBytes, ...(place === undefined ? {} : { place }) });
      waitingBytes += sizeBytes;
      if (waiting.length > linesMost || waitingBytes > bytesMost) giveUp();
    },
    take(most, most2) {
      let sizeBytes = 0;
      let count = 0;
      while (count < waiting.length && count < most && (count === 0 || sizeBytes < most2))
        sizeBytes += waiting[count++]!.sizeBytes;
      if (count === 0) return undefined;
      taken = count;
      told = lost;
      const batch = waiting.slice(0, count);
      const place = batch.findLast((entry) => entry.place !== undefined)?.place;
      return { lines: batch.map(({ line }) => line), lost, ...(place === undefined ? {} : { place }) };
    },
    done() {
      for (const { sizeBytes } of waiting.splice(0, taken)) waitingBytes -= sizeBytes;
      taken = 0;
      lost -= told;
      told = 0;
    },
    get length() {
      return waiting.length;
    },
    get dropped() {
      return dropped;
    },
    oldestAt: () => waiting[0]?.line.at,
  };
}
