// A machine follows its host: when the host is lost, so is the machine, and its timeline says so.

import type { Context } from "./context.ts";
import { eventChanges, timelineChanges } from "./events.ts";
import { keys, PREFIX } from "./keys.ts";
import type { HostRecord, MachineRecord } from "./records.ts";
import type { LogRecord } from "./store/log.ts";

/** Takes in durable records. */
export function machineFollower({
  store,
  log,
  now,
}: Pick<Context, "store" | "log" | "now">): (record: LogRecord) => void {
  return ({ mutations }) => {
    for (const { key, value } of mutations) {
      if (!key.startsWith(PREFIX.hosts) || value === null) continue;
      const host = value as unknown as HostRecord;
      const entry = host.machineId === undefined ? undefined : store.get<MachineRecord>(keys.machine(host.machineId));
      if (entry === undefined || host.state !== "lost" || entry.value.state !== "ready") continue;
      const at = now();
      store
        .commit({
          actor: "liveness",
          expect: [{ key: entry.key, version: entry.version }],
          mutations: [
            { key: entry.key, value: { ...entry.value, state: "lost", reason: `host ${host.name} ${host.reason}` } },
            ...timelineChanges(store, at, entry.value.id, [
              {
                stage: "lost",
                level: "warning",
                bootId: entry.value.bootId,
                message: `host ${host.name} was ${host.reason}; its jobs go elsewhere`,
              },
            ]),
            ...eventChanges(store, at, {
              type: "machine.lost",
              subject: entry.value.id,
              actor: "control",
              message: `machine ${entry.value.name} is lost`,
            }),
          ],
        })
        .catch((error: unknown) =>
          log.warn({ machineId: entry.value.id, error: String(error) }, "machine state not written"),
        );
    }
  };
}
