// Boots that a person ordered to be something else once: an id that was given is not given again, over restarts too.
import type { BootMachine, BootTarget } from "#api/boot.ts";

/** Kept on disk before the script goes out: what was given and never arrived is not given a second time. */
export interface OnceRecord {
  orderId: string;
}

export interface Once {
  /** What this machine is to be given now, if an order says so and it was not given yet. */
  of(machine: BootMachine): NonNullable<BootMachine["once"]> | undefined;
  /** Resolves once it is on disk. */
  give(orderId: string): Promise<void>;
  /** Orders that the target names no more are forgotten. */
  setTarget(target: BootTarget): void;
  given(): OnceRecord[];
  replay(record: OnceRecord): void;
}

export function createOnce({ save }: { save: (record: OnceRecord) => Promise<void> }): Once {
  const given = new Set<string>();
  return {
    of: ({ once }) => (once === undefined || given.has(once.id) ? undefined : once),
    async give(orderId) {
      given.add(orderId); // before it is saved: two may ask at once
      try {
        await save({ orderId });
      } catch (error) {
        given.delete(orderId); // no script goes out
        throw error;
      }
    },
    setTarget({ machines }) {
      const named = new Set(machines.flatMap(({ once }) => once?.id ?? []));
      for (const id of given) if (!named.has(id)) given.delete(id);
    },
    given: () => [...given].map((orderId) => ({ orderId })),
    replay: ({ orderId }) => void given.add(orderId),
  };
}
