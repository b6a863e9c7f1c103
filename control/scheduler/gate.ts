// A loop's place to wait: until poked, for at most so long, or until the signal aborts. A poke while nobody waits is kept.

export interface Gate {
  poke(): void;
  wait(timeoutMs: number, signal: AbortSignal): Promise<void>;
}

export function gate(): Gate {
  let poked = false;
  let open: (() => void) | undefined;
  return {
    poke() {
      poked = true;
      open?.();
    },
    async wait(timeoutMs, signal) {
      if (!poked && !signal.aborted) {
        await new Promise<void>((resolve) => {
          const done = () => {
            clearTimeout(timer);
            signal.removeEventListener("abort", done);
            open = undefined;
            resolve();
          };
          const timer = setTimeout(done, timeoutMs);
          signal.addEventListener("abort", done, { once: true });
          open = done;
        });
      }
      poked = false;
    },
  };
}
