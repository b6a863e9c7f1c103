// A bell for one loop: rung by whoever changed something, heard once. A ring while the loop works is not lost.
export interface Wake {
  ring(): void;
  /** Resolves at the next ring, after `ms`, or when the signal aborts. */
  wait(ms: number, signal: AbortSignal): Promise<void>;
}

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
          const timer = setTimeout(done, Math.min(Math.max(0, ms), 2 ** 31 - 1));
          hear = done;
          signal.addEventListener("abort", done, { once: true });
        });
      hear = undefined;
      rung = false;
    },
  };
}
