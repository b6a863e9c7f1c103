// What control goes on from, when its state was restored: as noted, or as the store says itself.
import type { Quarantine } from "#api/quarantine.ts";
import { keys } from "./keys.ts";
import type { Store } from "./store/store.ts";

/** Undefined when it never was. It holds from the start on, also while a full disk keeps it from being noted. */
export function quarantineOf(store: Pick<Store, "report" | "durable">): Quarantine | undefined {
  const noted = store.durable.get<Quarantine>(keys.restored)?.value;
  const { restored } = store.report;
  if (restored === undefined || noted?.restoredAt === restored.restoredAt) return noted;
  const { restoredAt, at } = restored;
  return { restoredAt, ...(at === undefined ? {} : { at }) };
}
