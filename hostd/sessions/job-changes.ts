// Lets a session wait for what it needs of its job: claims are looked at after each change, and now and then for what is none,
// such as time.
import { joined } from "#lib/time.ts";

export interface JobChanges {
  /** Something about some job has changed. */
  ring(): void;
  /** Resolves when the claim holds or the signal aborts. */
  changed(claim: () => boolean, signal: AbortSignal): Promise<void>;
}

const LOOK_EVERY_MS = 1_000;

export function jobChanges(ended: AbortSignal): JobChanges {
  const looks = new Set<() => void>();
  return {
    ring() {
      for (const look of [...looks]) look();
    },
    changed: (claim, signal) =>
      new Promise((resolve) => {
        const both = joined(signal, ended);
        const look = () => {
          if (!both.signal.aborted && !claim()) return;
          clearInterval(again);
          looks.delete(look);
          both.release();
          resolve();
        };
        const again = setInterval(look, LOOK_EVERY_MS);
        both.signal.addEventListener("abort", look);
        looks.add(look);
        look();
      }),
  };
}
