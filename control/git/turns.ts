// One at a time per key, in the order of asking.

export interface Turns {
  /** Resolves when it is one's turn, with what ends it. `onWait` is told at once when others are before. Rejects when the signal aborts. */
  take(key: string, options: { signal: AbortSignal; onWait?: (before: number) => void }): Promise<() => void>;
}

export function turns(): Turns {
  const queues = new Map<string, symbol[]>();
  const wakes = new Map<symbol, () => void>();

  const leave = (key: string, mine: symbol): void => {
    const queue = queues.get(key)?.filter((each) => each !== mine) ?? [];
    if (queue.length === 0) queues.delete(key);
    else queues.set(key, queue);
    wakes.delete(mine);
    if (queue[0] !== undefined) wakes.get(queue[0])?.();
  };

  return {
    async take(key, { signal, onWait }) {
      signal.throwIfAborted();
      const mine = Symbol(key);
      const queue = [...(queues.get(key) ?? []), mine];
      queues.set(key, queue);
      if (queue[0] !== mine) {
        onWait?.(queue.length - 1);
        await new Promise<void>((resolve, reject) => {
          const onAbort = () => {
            leave(key, mine);
            reject(signal.reason as Error);
          };
          signal.addEventListener("abort", onAbort, { once: true });
          wakes.set(mine, () => {
            signal.removeEventListener("abort", onAbort);
            resolve();
          });
        });
      }
      let over = false;
      return () => {
        if (over) return;
        over = true;
        leave(key, mine);
      };
    },
  };
}
