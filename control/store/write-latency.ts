// How long writes to disk take: the worst of the last half minute, one under way included. A disk that gets slow shows here before
// anything fails.

const WINDOW_MS = 30_000;

export interface WriteLatency {
  /** A write begins; call what it returns at its end. */
  begin(): () => void;
  worstMs(): number;
}

export function writeLatency(monotonicMs: () => number = () => performance.now()): WriteLatency {
  const underWay = new Set<number>();
  let windowAtMs = monotonicMs();
  let worst = 0;
  let worstBefore = 0;
  const turn = (nowMs: number) => {
    const passed = Math.floor((nowMs - windowAtMs) / WINDOW_MS);
    if (passed < 1) return;
    worstBefore = passed === 1 ? worst : 0;
    worst = 0;
    windowAtMs += passed * WINDOW_MS;
  };
  return {
    begin() {
      const startMs = monotonicMs();
      underWay.add(startMs);
      return () => {
        underWay.delete(startMs);
        const nowMs = monotonicMs();
        turn(nowMs);
        worst = Math.max(worst, nowMs - startMs);
      };
    },
    worstMs() {
      const nowMs = monotonicMs();
      turn(nowMs);
      return Math.max(worst, worstBefore, ...[...underWay].map((startMs) => nowMs - startMs));
    },
  };
}
