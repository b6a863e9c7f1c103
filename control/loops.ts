// Control's loops, each apart: what ends one is logged, shown and the loop begins anew, and the others go on. Only a store that has
// failed ends them all, for nothing can be decided without it.
import type { Log } from "#lib/log.ts";
import { backoffMs } from "#lib/retry.ts";
import { causeChain } from "#lib/run.ts";
import { sleep } from "#lib/time.ts";
import type { Store } from "./store/store.ts";

const RETRY = { baseMs: 1_000, maxMs: 60_000 };
/** A loop that ran so long without an end is well again. */
const WELL_AFTER_MS = 60_000;

export interface FailingLoop {
  name: string;
  reason: string;
  /** Ends in a row, none a minute after the one before. */
  times: number;
}

export interface Loops {
  /** Runs until the signal aborts. Throws what a loop threw, once the store has ended. */
  keep(name: string, loop: (signal: AbortSignal) => Promise<void>, signal: AbortSignal): Promise<void>;
  /** Loops that ended and wait to begin anew, or did so a moment ago, with why. */
  failing(): FailingLoop[];
}

export interface LoopsOptions {
  log: Log;
  store: Pick<Store, "ended">;
  retry?: typeof RETRY;
}

export function loops({ log, store, retry = RETRY }: LoopsOptions): Loops {
  const failing = new Map<string, Omit<FailingLoop, "name"> & { atMs: number }>();
  return {
    async keep(name, loop, signal) {
      for (let failures = 1; !signal.aborted; failures++) {
        const startedMs = performance.now();
        try {
          await loop(signal);
          if (signal.aborted) return;
          throw new Error("it ended by itself");
        } catch (error) {
          if (store.ended) throw error;
          if (performance.now() - startedMs > WELL_AFTER_MS) failures = 1;
          const waitMs = backoffMs(failures, retry.baseMs, retry.maxMs);
          const reason = causeChain(error)[0] ?? "unknown";
          failing.set(name, { reason, times: failures, atMs: performance.now() });
          log.error({ loop: name, causes: causeChain(error), waitMs }, "a loop of control failed, it begins anew");
          await sleep(waitMs, signal);
        }
      }
    },
    failing() {
      for (const [name, { atMs }] of failing)
        if (performance.now() - atMs > WELL_AFTER_MS + retry.maxMs) failing.delete(name);
      return [...failing].map(([name, { reason, times }]) => ({ name, reason, times }));
    },
  };
}
