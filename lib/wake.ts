// A loop's place to wait: until it is rung by whoever changed something, for at most so long, or until the signal aborts. A ring while
// the loop works is not lost, and many of them are one.

export interface Wake {
  ring(): void;
  /** Resolves at the next ring, after `ms` (`Infinity`: a ring alone), or when the signal aborts. One at a time. */
  wait(ms: number, signal: AbortSignal): Promise<void>;
}

const LONGEST_MS = 2 ** 31 - 1;

export function createWake(): Wake {
  let rung = false;
  let hear: (() => void) | undefined;
  return {
    ring() {
      rung = true;
      hear?.();
    },
    async wait(ms, signal) {
      if (!rung && !signal.aborted)
        await new Promise<void>((resolve) => {
          const done = () => {
            clearTimeout(timer);
            signal.removeEventListener("abort", done);
            resolve();
          };
          const timer =
            ms === Number.POSITIVE_INFINITY ? undefined : setTimeout(done, Math.min(Math.max(0, ms), LONGEST_MS));
          hear = done;
          signal.addEventListener("abort", done, { once: true });
        });
      hear = undefined;
      rung = false;
    },
  };
}
