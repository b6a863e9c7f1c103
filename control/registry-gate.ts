// Who may touch the registry when: any number of copies into it at once, or its cleaning alone. Cleaning never waits: it comes
// again. A copy waits for a cleaning that runs, which is bounded.

export interface RegistryGate {
  /** Runs while nothing is cleaned. */
  copying<T>(work: () => Promise<T>): Promise<T>;
  /** Runs while nothing is copied; undefined, and nothing was done, when something is. */
  cleaning<T>(work: () => Promise<T>): Promise<T | undefined>;
}

export function registryGate(): RegistryGate {
  let copies = 0;
  let clean: Promise<unknown> | undefined;
  return {
    async copying(work) {
      while (clean !== undefined) await clean;
      copies++;
      try {
        return await work();
      } finally {
        copies--;
      }
    },
    async cleaning(work) {
      if (copies > 0 || clean !== undefined) return undefined;
      const running = work();
      const settled = running.catch(() => undefined);
      clean = settled;
      try {
        return await running;
      } finally {
        clean = undefined;
      }
    },
  };
}
