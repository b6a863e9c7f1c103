// One thing at a time for each BMC: most have few sessions and a slow processor, and orders that cross mix up what is read back.
import { trouble } from "./trouble.ts";

/** What waits for one BMC: one that answers slowly gets no longer a line than this. */
export const WAITING_MOST = 16;

export interface Queues {
  /** Runs the work once all that was given for this key before has settled; refused when too much waits for that. */
  run<T>(key: string, work: () => Promise<T>): Promise<T>;
  /** Keys with work. */
  readonly size: number;
}

export function queues(most = WAITING_MOST): Queues {
  const last = new Map<string, Promise<unknown>>();
  const waiting = new Map<string, number>();
  return {
    get size() {
      return last.size;
    },
    run(key, work) {
      const count = waiting.get(key) ?? 0;
      if (count >= most)
        return Promise.reject(trouble("bmc-busy", `${count} things wait for this BMC already: try again later`));
      waiting.set(key, count + 1);
      const before = last.get(key) ?? Promise.resolve();
      const turn = before.then(work, work);
      const settled = turn.catch(() => undefined);
      last.set(key, settled);
      void settled.then(() => {
        const left = waiting.get(key)! - 1;
        if (left === 0) waiting.delete(key);
        else waiting.set(key, left);
        if (last.get(key) === settled) last.delete(key);
      });
      return turn;
    },
  };
}
