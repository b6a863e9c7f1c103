// A machine by what people call it: id, name or network card.
import { Fault } from "#api/fault.ts";
import { keys, PREFIX } from "./keys.ts";
import type { MachineRecord } from "./records.ts";
import type { Entry } from "./store/entry.ts";
import type { Store } from "./store/store.ts";

export function machineCalled(store: Store, text: string): Entry<MachineRecord> {
  const wanted = text.toLowerCase();
  const entry =
    store.get<MachineRecord>(keys.machine(text)) ??
    store.list<MachineRecord>(PREFIX.machines).find(({ value }) => value.name === text || value.macs.includes(wanted));
  if (entry === undefined) throw new Fault("not-found", `no machine ${text}`);
  return entry;
}
