// How fast one job may fill its app's log: a bucket of lines and one of bytes. What is beyond is counted and told, not kept. Pure
// but for what it remembers; the clock comes in.

export interface RateLimits {
  linesPerSecond: number;
  bytesPerSecond: number;
  /** Seconds of the rate that may come at once. */
  burstSeconds: number;
}

/** A busy app's honest output passes; a loop that prints does not. */
export const JOB_RATE: RateLimits = { linesPerSecond: 5_000, bytesPerSecond: 2 << 20, burstSeconds: 4 };

export interface RateGate {
  /** True: keep it. `isBehind`: whoever writes it down cannot keep up, whatever the rate. */
  admit(sizeBytes: number, nowMs: number, isBehind?: boolean): boolean;
  /** Lines refused since this was last asked. */
  takeDropped(): number;
  readonly dropped: number;
}

export function rateGate({ linesPerSecond, bytesPerSecond, burstSeconds }: RateLimits): RateGate {
  const most = { lines: linesPerSecond * burstSeconds, bytes: bytesPerSecond * burstSeconds };
  let { lines, bytes } = most;
  let filledMs: number | undefined;
  let dropped = 0;
  return {
    admit(sizeBytes, nowMs, isBehind = false) {
      const seconds = Math.max(0, nowMs - (filledMs ?? nowMs)) / 1_000;
      filledMs = nowMs;
      lines = Math.min(most.lines, lines + seconds * linesPerSecond);
      bytes = Math.min(most.bytes, bytes + seconds * bytesPerSecond);
      // Once refused, until a tenth of a second's worth is there: a flood then shows in runs of lines, not in every tenth.
      const needed = dropped > 0 ? linesPerSecond / 10 : 1;
      if (isBehind || lines < needed || bytes < sizeBytes) {
        dropped++;
        return false;
      }
      lines -= 1;
      bytes -= sizeBytes;
      return true;
    },
    takeDropped() {
      const count = dropped;
      dropped = 0;
      return count;
    },
    get dropped() {
      return dropped;
    },
  };
}

export const droppedLine = (count: number, { linesPerSecond, bytesPerSecond }: RateLimits): string =>
  `... ${count} lines dropped: more than ${linesPerSecond} lines or ${bytesPerSecond >> 10} KiB a second`;
