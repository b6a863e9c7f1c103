// Keeps a state on disk beside the loop whose state it is: a disk that is slow, or never answers, keeps no turn waiting.
import { deadline } from "#lib/time.ts";

export interface KeptBeside<T> {
  /** There is something new to keep. */
  changed(): void;
  /** Begins to keep what `state` gives, if there is something new and nothing is under way. */
  keep(state: () => T): void;
  /** Resolves when all that has changed so far is on disk, or could not be put there. */
  written(): Promise<void>;
  /** At the end: waits for what is under way, so long at most. */
  ended(mostMs: number): Promise<void>;
}

export function keptBeside<T>(options: {
  save: (state: T) => Promise<void>;
  /** More is to be kept once what was under way has ended. */
  onMore: () => void;
  onError: (error: unknown) => void;
}): KeptBeside<T> {
  const { save, onMore, onError } = options;
  let isNew = true;
  let isUnderWay = false;
  let last: Promise<void> = Promise.resolve();
  /** Ends with the keeping that has all that has changed so far. */
  let next = Promise.withResolvers<void>();
  return {
    changed() {
      isNew = true;
    },
    keep(state) {
      if (!isNew || isUnderWay) return;
      isNew = false;
      isUnderWay = true;
      const { resolve } = next;
      next = Promise.withResolvers();
      last = save(state()).then(
        () => {
          isUnderWay = false;
          resolve();
          if (isNew) onMore();
        },
        (error: unknown) => {
          isUnderWay = false;
          isNew = true;
          resolve();
          onError(error);
        },
      );
    },
    written: () => (isNew ? next.promise : last),
    ended: (mostMs) => deadline(last, mostMs, "keeping the state").catch(() => undefined),
  };
}
