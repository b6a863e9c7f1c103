// One thing at a time for each BMC: most have few sessions and a slow processor, and orders that cross mix up what is read back.

export interface Queues {
  /** Runs the work once all that was given for this key before has settled. */
  run<T>(key: string, work: () => Promise<T>): Promise<T>;
  /** Keys with work. */
  readonly size: number;
}

export function queues(): Queues {
  const last = new Map<string, Promise<unknown>>();
  return {
    get size() {
      return last.size;
    },
    run(key, work) {
      const before = last.get(key) ?? Promise.resolve();
      const turn = before.then(work, work);
      const settled = turn.catch(() => undefined);
      last.set(key, settled);
      void settled.then(() => {
        if (last.get(key) === settled) last.delete(key);
      });
      return turn;
    },
  };
}
