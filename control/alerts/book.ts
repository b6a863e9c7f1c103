// The alerts there are, kept in the store: a restart raises nothing twice. What cannot be written, since the disk is full or slow,
// stands in memory all the same and is written later.
import type { Alert } from "#api/alerts.ts";
import type { Log } from "#lib/log.ts";
import { causeChain } from "#lib/run.ts";
import { eventChanges, type NewEvent } from "../events.ts";
import { keys, PREFIX } from "../keys.ts";
import type { Store } from "../store/store.ts";
import type { AlertChanges } from "./reconcile.ts";

export const CLEARED_KEPT = 500;

export interface AlertBook {
  /** Those that stand, oldest first. */
  active(): Alert[];
  /** All that are kept, newest first. */
  list(): Alert[];
  get(id: string): Alert | undefined;
  take(changes: AlertChanges): void;
  /** Starts to write what is not written yet, unless that is under way; resolves when it has ended, never throws. */
  write(): Promise<void>;
}

export function alertBook({ store, log, now }: { store: Store; log: Log; now: () => Date }): AlertBook {
  const alerts = new Map(store.list<Alert>(PREFIX.alerts).map(({ value }) => [value.id, value]));
  const unwritten = new Set<string>();
  const untold: NewEvent[] = [];
  let writing: Promise<void> | undefined;
  let failing = false;

  const put = (alert: Alert) => {
    alerts.set(alert.id, alert);
    unwritten.add(alert.id);
  };
  const tell = (type: "alert.raised" | "alert.cleared", alert: Alert, message: string) =>
    untold.push({
      type,
      subject: alert.id,
      actor: "control",
      message,
      ...(alert.subject.kind === "app" ? { app: alert.subject.name } : {}),
    });

  const writeNow = async () => {
    const ids = [...unwritten];
    const told = untold.splice(0);
    unwritten.clear();
    try {
      await store.commit({
        actor: "alerts",
        mutations: [
          ...ids.map((id) => ({ key: keys.alert(id), value: alerts.get(id) ?? null })),
          ...eventChanges(store, now(), ...told),
        ],
      });
      failing = false;
    } catch (error) {
      for (const id of ids) unwritten.add(id);
      untold.unshift(...told);
      untold.splice(0, untold.length - CLEARED_KEPT * 2);
      if (!failing) log.warn({ causes: causeChain(error) }, "alerts could not be written, they stand in memory");
      failing = true;
    }
  };

  return {
    active: () => [...alerts.values()].filter(({ clearedAt }) => clearedAt === undefined),
    list: () => [...alerts.values()].sort((a, b) => (a.id < b.id ? 1 : -1)),
    get: (id) => alerts.get(id),
    take({ raised, reworded, cleared }) {
      for (const alert of [...raised, ...reworded, ...cleared]) put(alert);
      for (const alert of raised) {
        log.warn({ alert: alert.id, kind: alert.kind, subject: alert.subject.name }, "alert raised");
        tell("alert.raised", alert, `${alert.what}; see: ${alert.next}`);
      }
      for (const alert of cleared) {
        log.info({ alert: alert.id, kind: alert.kind, subject: alert.subject.name }, "alert cleared");
        tell("alert.cleared", alert, `over: ${alert.what}`);
      }
      const over = [...alerts.values()].filter(({ clearedAt }) => clearedAt !== undefined);
      over.sort((a, b) => (a.clearedAt! < b.clearedAt! ? -1 : 1));
      for (const { id } of over.slice(0, Math.max(0, over.length - CLEARED_KEPT))) {
        alerts.delete(id);
        unwritten.add(id);
      }
    },
    write() {
      if (writing === undefined && unwritten.size > 0)
        writing = writeNow().finally(() => {
          writing = undefined;
        });
      return writing ?? Promise.resolve();
    },
  };
}
