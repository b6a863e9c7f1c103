// After a restore or a salvage: hosts may run what the restored state does not know. They are told so, keep it for ten minutes, and a person is
// asked; the record of it is the state's own.
import { Fault } from "#api/fault.ts";
import { decideQuarantine, type Quarantine } from "#api/quarantine.ts";
import type { Context } from "./context.ts";
import { eventChanges } from "./events.ts";
import { keys } from "./keys.ts";
import type { Mount } from "./mount.ts";
import type { Store } from "./store/store.ts";

/** Once for each restore: what targets carry, and the event. */
export async function noteRestored(store: Store, now: Date): Promise<void> {
  const { restored } = store.report;
  if (restored === undefined) return;
  const { restoredAt, at, lost } = restored;
  if (store.get<Quarantine>(keys.restored)?.value.restoredAt === restoredAt) return;
  const records = lost === undefined ? "" : `; ${lost.toSeq - lost.fromSeq + 1} records are lost`;
  const message = `control goes on from a restored state${at === undefined ? "" : ` of ${at}`}${records}. Containers that it does not know run on for ten minutes: flynn quarantine keep, or flynn quarantine end`;
  const value: Quarantine = { restoredAt, ...(at === undefined ? {} : { at }) };
  const event = { type: "state.restored", subject: "store", message, actor: "control" };
  await store.commit({
    actor: "control",
    mutations: [{ key: keys.restored, value }, ...eventChanges(store, now, event)],
  });
}

export function mountQuarantine(mount: Mount, { store, now }: Pick<Context, "store" | "now">): void {
  mount(decideQuarantine, async ({ body: { decision }, principal: { name } }) => {
    const found = store.get<Quarantine>(keys.restored);
    if (found === undefined)
      throw new Fault("not-found", "control's state was never restored: there is nothing to decide on");
    const value: Quarantine = { ...found.value, decision };
    const what = decision === "keep" ? "run on" : "are ended";
    const message = `containers that the restored state does not know ${what}`;
    const event = { type: "quarantine.decided", subject: "store", message, actor: name };
    await store.commit({
      actor: name,
      expect: [{ key: keys.restored, version: found.version }],
      mutations: [{ key: keys.restored, value }, ...eventChanges(store, now(), event)],
    });
    return value;
  });
}
