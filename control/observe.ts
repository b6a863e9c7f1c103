// What boot servers report becomes machines and their timelines. A machine's state moves only on what was seen of it:
// a script served is not a boot, a boot is not a host.
import type { BootEvent } from "#api/boot.ts";
import type { Machine, MachineIdentity } from "#api/machines.ts";
import { newId } from "#lib/ids.ts";
import type { Context } from "./context.ts";
import { eventChanges, type NewEvent, timelineChanges } from "./events.ts";
import { keys, PREFIX } from "./keys.ts";
import { hostName } from "./names.ts";
import type { MachineRecord } from "./records.ts";
import type { Change, Entry } from "./store/store.ts";

const SEEN_EVENTS_KEPT = 20_000;
const MACHINES_MOST = 10_000;
const MACS_MOST = 32;

/** Serial numbers that makers left in by the thousand tell machines apart as little as none. */
const JUNK_SERIAL =
  /^(none|n\/?a|unknown|default([ -]?string)?|system[ -]?serial[ -]?number|serial([ -]?number)?|to[ -]be[ -]filled.*|o\.?e\.?m\.?|not[ -](specified|applicable|available|settable).*|chassis.*|0?123456789.*)$/i;
const ONE_CHARACTER = /^(.)\1*$/;

export function tellsApart(serial: string | undefined): serial is string {
  return serial !== undefined && serial.length >= 4 && !JUNK_SERIAL.test(serial) && !ONE_CHARACTER.test(serial);
}

/** The machine that has this MAC, or else this UUID together with this serial (a UUID alone is often a duplicate). Pure. */
export function findMachine(
  machines: readonly Entry<MachineRecord>[],
  identity: Pick<MachineIdentity, "mac" | "uuid" | "serial">,
): Entry<MachineRecord> | undefined {
  return (
    machines.find(({ value }) => value.macs.includes(identity.mac)) ??
    (identity.uuid && tellsApart(identity.serial)
      ? machines.find(({ value }) => value.identity.uuid === identity.uuid && value.identity.serial === identity.serial)
      : undefined)
  );
}

/** A machine never seen before. Pure but for its id. */
export function newMachine(
  identity: MachineIdentity,
  options: { names: readonly string[]; auto: boolean; at: string },
): MachineRecord {
  const { names, auto, at } = options;
  return {
    id: newId("m"),
    name: hostName(`node-${identity.mac.replaceAll(":", "").slice(6)}`, names),
    state: auto ? "approved" : "discovered",
    reason: auto ? "" : "waits for `flynn machine approve`",
    identity,
    macs: [identity.mac],
    target: auto ? "boot" : "wait",
    profile: "default",
    tags: {},
    ...(auto ? { approvedAt: at, approvedBy: "policy auto" } : {}),
    createdAt: at,
    lastSeenAt: at,
  };
}

/** The machine after what was just seen of it. Pure. */
export function machineAfter(machine: MachineRecord, event: BootEvent): MachineRecord {
  const { mac, ...known } = event.identity;
  const next: MachineRecord = {
    ...machine,
    identity: {
      ...machine.identity,
      ...Object.fromEntries(Object.entries(known).filter(([, value]) => value !== undefined && value !== "unknown")),
    },
    macs: machine.macs.includes(mac) ? machine.macs : [...machine.macs, mac].slice(-MACS_MOST),
    lastSeenAt: event.at,
  };
  const fetched = event.stage === "kernel" || event.stage === "initrd" || event.stage === "squashfs";
  const otherBoot = event.bootId !== undefined && event.bootId !== machine.bootId;
  if (fetched && (otherBoot || machine.state === "approved" || machine.state === "lost")) {
    Object.assign(next, {
      state: "booting" satisfies Machine["state"],
      reason: "",
      bootId: event.bootId ?? machine.bootId,
      imageId: event.imageId ?? machine.imageId,
    });
  }
  if (event.stage === "boot-failed") next.reason = event.message;
  return next;
}

export interface Observer {
  /** Takes the events in; returns the machine of each MAC in them. Events seen before are passed over. */
  take(bootServerId: string, events: readonly BootEvent[]): Promise<{ mac: string; machineId: string }[]>;
}

export function observer(context: Context): Observer {
  const { store, config, now, log } = context;
  const seen = new Set<string>();
  return {
    async take(bootServerId, events) {
      const fresh = events.filter(({ eventId }) => !seen.has(eventId));
      const machines = [...store.list<MachineRecord>(PREFIX.machines)];
      const touched = new Map<string, { entry: Entry<MachineRecord>; next: MachineRecord; steps: BootEvent[] }>();
      const told: NewEvent[] = [];
      for (const event of fresh) {
        let entry = findMachine(
          [
            ...[...touched.values()].map(({ next, entry: { key, version } }) => ({ key, version, value: next })),
            ...machines,
          ],
          event.identity,
        );
        if (entry === undefined) {
          if (machines.length >= MACHINES_MOST) {
            log.warn({ mac: event.identity.mac }, "machine table is full, not recorded");
            continue;
          }
          const value = newMachine(event.identity, {
            names: machines.map((machine) => machine.value.name),
            auto: config.unknownMachines === "auto",
            at: event.at,
          });
          entry = { key: keys.machine(value.id), value, version: 0 };
          machines.push(entry);
          told.push({
            type: "machine.discovered",
            subject: value.id,
            actor: `boot server ${bootServerId}`,
            message: `machine ${value.name} (${event.identity.mac}) was seen for the first time`,
          });
        }
        const known = touched.get(entry.key) ?? { entry, next: entry.value, steps: [] };
        known.next = machineAfter(known.next, event);
        known.steps.push(event);
        touched.set(entry.key, known);
      }
      const at = now();
      const changes: Change[] = [];
      for (const { entry, next, steps } of touched.values()) {
        if (JSON.stringify(next) !== JSON.stringify(entry.value) || entry.version === 0)
          changes.push({ key: entry.key, value: next });
        changes.push(
          ...timelineChanges(
            store,
            at,
            next.id,
            steps.map(({ at: when, stage, level, message, bootId, detail }) => ({
              at: when,
              stage,
              level,
              message,
              bootId,
              detail,
            })),
          ),
        );
      }
      if (changes.length > 0) {
        await store.commit({
          actor: `boot server ${bootServerId}`,
          expect: [...touched.values()].map(({ entry: { key, version } }) => ({ key, version })),
          mutations: [...changes, ...eventChanges(store, at, ...told)],
        });
      }
      for (const { eventId } of fresh) seen.add(eventId);
      for (const eventId of seen) {
        if (seen.size <= SEEN_EVENTS_KEPT) break;
        seen.delete(eventId);
      }
      const all = store.list<MachineRecord>(PREFIX.machines);
      const macs = [...new Set(events.map(({ identity }) => identity.mac))];
      return macs.flatMap((mac) => {
        const found = findMachine(all, { mac });
        return found ? [{ mac, machineId: found.value.id }] : [];
      });
    },
  };
}
