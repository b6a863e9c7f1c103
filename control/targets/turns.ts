// Who may work in this turn of the event loop. A change that concerns five thousand streams must not keep everything else waiting: each
// waits for its turn, a few have one at a time, and whoever asks twice before it comes has one. What is one's own goes first.
export interface Turns {
  /** Calls `turn` once, later. `everywhere`: it is due to a change that concerns all, and may take a second. */
  ask(turn: () => void, everywhere?: boolean): void;
  /**
   * How long one that just had its turn rests before the next, in milliseconds: while thousands have changes of their own, each is told
   * several at once, and all are told sooner.
   */
  restMs(): number;
  /** It will not be called any more. */
  forget(turn: () => void): void;
}

export interface TurnsOptions {
  /** Of those with a change of their own, so many in a turn of the event loop. */
  ownAtOnce?: number;
  /** Of the others, so many every `pauseMs`. */
  everywhereAtOnce?: number;
  pauseMs?: number;
  /** The least and the most that `restMs` says. */
  restLeastMs?: number;
  restMostMs?: number;
}

/** What a turn is taken to cost with all that follows from it: building, sending, the host's answer. */
const TURN_COST_MS = 0.5;

export function turns(options: TurnsOptions = {}): Turns {
  const { ownAtOnce = 16, everywhereAtOnce = 64, pauseMs = 20, restLeastMs = 20, restMostMs = 2_000 } = options;
  const own = new Set<() => void>();
  const everywhere = new Set<() => void>();
  let isNext = false;
  let isLater = false;
  const take = (from: Set<() => void>, most: number): void => {
    let left = most;
    for (const turn of from) {
      if (left-- === 0) return;
      own.delete(turn);
      everywhere.delete(turn);
      turn();
    }
  };
  const schedule = (): void => {
    if (own.size > 0 && !isNext) {
      isNext = true;
      setImmediate(() => {
        isNext = false;
        take(own, ownAtOnce);
        schedule();
      });
    }
    if (everywhere.size > 0 && !isLater) {
      isLater = true;
      setTimeout(() => {
        isLater = false;
        take(everywhere, everywhereAtOnce);
        schedule();
      }, pauseMs);
    }
  };
  return {
    ask(turn, isEverywhere = false) {
      (isEverywhere ? everywhere : own).add(turn);
      schedule();
    },
    restMs: () => Math.min(restMostMs, Math.max(restLeastMs, own.size * TURN_COST_MS)),
    forget(turn) {
      own.delete(turn);
      everywhere.delete(turn);
    },
  };
}
