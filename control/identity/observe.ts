// What boot servers report becomes machines and their timelines, by the one rule of identity (api/machine-identity.ts). A machine's
// state moves only on what was seen of it: a script served is not a boot, a boot is not a host. Nothing claimed or observed
// changes what was approved.
import type { BootEvent } from "#api/boot.ts";
import { checkOf } from "#api/check-words.ts";
import { type Approved, type MachineIdentity, type Outcome, outcomeOf, sameBody } from "#api/machine-identity.ts";
import type { CheckWords, Machine } from "#api/machines.ts";
import { newId } from "#lib/ids.ts";
import type { Context } from "../context.ts";
import { eventChanges, type NewEvent, timelineChanges } from "../events.ts";
import { keys, PREFIX } from "../keys.ts";
import { fallenBack, isUntold, lifeAfter, type MachineLife } from "../machine-life/life.ts";
import { guardSettings, lastGoodImage, lifeOf } from "../machine-life/records.ts";
import { hostName } from "../names.ts";
import type { HostRecord, MachineRecord } from "../records.ts";
import type { Entry } from "../store/entry.ts";
import type { Change } from "../store/store.ts";
import { claimOf } from "./machine-decision.ts";
import { newcomers, quietest, UNAPPROVED_MOST } from "./unapproved.ts";

/** So long after control began boot servers may have to tell of boots that it did not see. */
const LATE_MS = 10 * 60_000;
const SEEN_EVENTS_KEPT = 20_000;
/** That a machine still waits is written this often at most. */
const STILL_THERE_MS = 60_000;

/** A machine never seen before, from what it says of itself. Pure but for its id. */
export function newMachine(
  claimed: MachineIdentity & { whole?: boolean },
  options: { names: readonly string[]; auto: boolean; at: string },
): MachineRecord {
  const { names, auto, at } = options;
  const identity = identityOf(claimed);
  return {
    id: newId("m"),
    name: hostName(`node-${identity.mac.replaceAll(":", "").slice(6)}`, names),
    state: "discovered",
    reason: "waits for `flynn machine approve`",
    identity,
    macs: [identity.mac],
    target: "wait",
    profile: "default",
    tags: {},
    createdAt: at,
    lastSeenAt: at,
    ...(auto ? approval("policy auto", at) : {}),
  };
}

export const approval = (by: string, at: string): Partial<MachineRecord> => ({
  state: "approved",
  reason: "",
  target: "boot",
  approvedAt: at,
  approvedBy: by,
});

/** A machine somebody decided on, as the rule of identity knows it. */
export const approvedOf = ({ id, macs, identity, state, approvedAt }: MachineRecord): Approved | undefined =>
  approvedAt === undefined && state !== "rejected"
    ? undefined
    : { id, macs, uuid: identity.uuid, serial: identity.serial, rejected: state === "rejected" };

const identityOf = ({ whole: _, ...identity }: MachineIdentity & { whole?: boolean | undefined }): MachineIdentity =>
  identity;

export interface Sighting {
  event: BootEvent;
  outcome: Outcome;
  /** The approved machine whose UUID and serial it shows on another card. */
  twin?: MachineRecord | undefined;
  /** The policy `auto` approves what is discovered. */
  auto: boolean;
  /** Its host lives: whatever boots beside it is not what runs. */
  hostAlive: boolean;
}

/** The machine after what was just seen of it. Pure. */
export function machineAfter(
  machine: MachineRecord,
  { event, outcome, twin, auto, hostAlive }: Sighting,
): MachineRecord {
  const { claimed, observed, at } = event;
  if (approvedOf(machine) === undefined) return strangerAfter(machine, { event, outcome, twin, auto });
  if (outcome.kind === "changed") {
    const pending = changedPending(machine, event, outcome.differs);
    return pending === undefined ? machine : { ...machine, pending, lastSeenAt: at };
  }
  if (outcome.kind !== "boot") return machine;
  const next: MachineRecord = { ...machine, observed, lastSeenAt: at };
  if (claimed.whole) next.claimed = identityOf(claimed);
  const fetched = event.stage === "kernel" || event.stage === "initrd" || event.stage === "squashfs";
  const otherBoot = event.bootId !== undefined && event.bootId !== machine.bootId;
  if (fetched && !hostAlive && (otherBoot || machine.state === "approved" || machine.state === "lost")) {
    Object.assign(next, {
      state: "booting" satisfies Machine["state"],
      reason: "",
      bootId: event.bootId ?? machine.bootId,
      imageId: event.imageId ?? machine.imageId,
    });
  }
  if (event.stage === "boot-failed") next.reason = event.message;
  if (next.bootOnce !== undefined && event.detail?.["orderId"] === next.bootOnce.orderId) delete next.bootOnce;
  if (event.stage === "script" && event.detail?.["code"] === "rescue")
    Object.assign(next, { state: next.fallback ? "failed" : "rescue", reason: next.fallback?.reason ?? "" });
  return next;
}

/** One that nobody decided on goes on learning what it says; what its card was seen to say counts more than a bare packet. */
function strangerAfter(
  machine: MachineRecord,
  { event, outcome, twin, auto }: Omit<Sighting, "hostAlive">,
): MachineRecord {
  const { claimed, observed, at } = event;
  const seen = outcome.kind === "discovered";
  if (!seen && machine.observed !== undefined) return machine;
  const said = Object.fromEntries(
    Object.entries(identityOf(claimed)).filter(([, value]) => value !== undefined && value !== "unknown"),
  ) as MachineIdentity;
  const identity = claimed.whole && seen ? identityOf(claimed) : { ...machine.identity, ...said };
  const recent = Date.parse(at) - Date.parse(machine.lastSeenAt) < STILL_THERE_MS;
  const next: MachineRecord = { ...machine, identity, lastSeenAt: recent ? machine.lastSeenAt : at };
  if (seen) next.observed = observed;
  if (!claimed.whole || !seen) return next;
  next.check = checkAfter(machine.check, identity, at);
  if (twin !== undefined) {
    const reason = `says it is ${twin.name} with a new card; run: flynn machine adopt ${machine.name} ${twin.name}`;
    const same = machine.pending?.machineId === twin.id;
    const pending = same
      ? machine.pending
      : {
          kind: "new-card" as const,
          at,
          reason,
          machineId: twin.id,
          claim: claimOf(twin.id, identity.uuid, identity.serial),
        };
    return { ...next, reason, pending };
  }
  const { pending: _, ...rest } = next;
  if (auto) delete rest.check;
  return auto ? { ...rest, ...approval("policy auto", at) } : { ...rest, reason: "waits for `flynn machine approve`" };
}

/** What to ask a person; undefined when it is asked, or was answered with no. */
function changedPending(
  machine: MachineRecord,
  { claimed, at }: BootEvent,
  differs: string[],
): MachineRecord["pending"] {
  const { pending, refusedClaim, name } = machine;
  const same = (other: MachineIdentity | undefined) =>
    other !== undefined && other.uuid === claimed.uuid && other.serial === claimed.serial;
  if (same(refusedClaim) || (pending?.kind === "changed" && same(pending.claimed))) return undefined;
  const reason = `its card showed up in another machine: ${differs.join("; ")}; run \`flynn machine approve ${name}\` to accept that, or \`flynn machine reject ${name}\``;
  const shown = identityOf(claimed);
  return { kind: "changed", at, reason, claimed: shown, claim: claimOf(shown), words: checkOf(shown).words };
}

/** Firmware asks anew: whatever key its agent had is gone with that boot. One that was heard later is of this boot. */
function checkAfter(before: MachineRecord["check"], identity: MachineIdentity, at: string): CheckWords {
  const check = { ...checkOf(identity), by: "claim" as const, at };
  const stands = before !== undefined && (before.by === "key" ? before.at >= at : before.claim === check.claim);
  return stands ? before : check;
}

export interface Observer {
  /** Takes the events in; returns the machine of each MAC in them. Events seen before are passed over. */
  take(bootServerId: string, events: readonly BootEvent[]): Promise<{ mac: string; machineId: string }[]>;
}

interface Touched {
  entry: Entry<MachineRecord>;
  next: MachineRecord;
  /** Its boots that count; undefined while nothing was seen of any. */
  life?: MachineLife;
  steps: TimelineStep[];
}

type TimelineStep = Pick<BootEvent, "at" | "stage" | "level" | "message" | "bootId" | "detail">;

export function observer(context: Context): Observer {
  const { store, config, now, log, presence } = context;
  const seen = new Set<string>();
  const mayEnter = newcomers(presence.nowMs);

  return {
    async take(bootServerId, events) {
      const actor = `boot server ${bootServerId}`;
      const fresh = events.filter(({ eventId }) => !seen.has(eventId));
      const entries = store.list<MachineRecord>(PREFIX.machines);
      const byMac = new Map(entries.flatMap((entry) => entry.value.macs.map((mac) => [mac, entry] as const)));
      const names = entries.map(({ value }) => value.name);
      const bodies = entries.flatMap(({ value }) => (value.approvedAt === undefined ? [] : value));
      const rejected = entries.flatMap(({ value }) => (value.state === "rejected" ? value : []));
      const touched = new Map<string, Touched>();
      const told: NewEvent[] = [];
      const tell = (type: string, subject: string, message: string) => told.push({ type, subject, actor, message });

      for (const event of fresh) {
        const { claimed, observed, bootId, stage } = event;
        let entry = byMac.get(claimed.mac);
        const current = entry && (touched.get(entry.key)?.next ?? entry.value);
        const twin = claimed.whole
          ? bodies.find((other) => !other.macs.includes(claimed.mac) && sameBody(other.identity, claimed))
          : undefined;
        const ofCard = current && approvedOf(current);
        const outcome = outcomeOf(claimed, observed, { ofCard, ofSmbios: twin && approvedOf(twin) });
        if (stage === "refused") tell("machine.claim-refused", current?.id ?? claimed.mac, event.message);
        if (entry === undefined) {
          if (stage === "refused") continue;
          if (!mayEnter(outcome.kind === "discovered")) {
            log.warn({ mac: claimed.mac }, "too many unknown machines at once, not recorded");
            continue;
          }
          const value = newMachine(claimed, { names, auto: false, at: event.at });
          names.push(value.name);
          entry = { key: keys.machine(value.id), value, version: 0 };
          byMac.set(claimed.mac, entry);
          tell("machine.discovered", value.id, `machine ${value.name} (${claimed.mac}) was seen for the first time`);
        }
        if (bootId !== undefined && stage === "script" && outcome.kind === "boot")
          presence.bootBegan(entry.value.id, bootId);
        const known = touched.get(entry.key) ?? { entry, next: entry.value, steps: [] };
        const before = known.next;
        // The other card of a box that a person refused is no way around that.
        const isRefusedBody = rejected.some(({ identity }) => sameBody(identity, claimed));
        const auto = config.unknownMachines === "auto" && !isRefusedBody;
        const host = before.hostId === undefined ? undefined : store.get<HostRecord>(keys.host(before.hostId))?.value;
        const hostAlive =
          bootId !== undefined &&
          presence.aliveBeside(before.hostId, bootId) &&
          !(presence.nowMs() - presence.startedMs < LATE_MS && isUntold(lifeOf(store, before.id), before, host));
        known.next = machineAfter(before, { event, outcome, twin, auto, hostAlive });
        known.steps.push(event);
        touched.set(entry.key, known);
        if (outcome.kind === "boot") count(known, event, tell);
        const { name, id, pending, approvedAt } = known.next;
        if (pending !== undefined && pending !== before.pending)
          tell(`machine.${pending.kind}`, id, `machine ${name}: ${pending.reason}`);
        if (approvedAt === before.approvedAt) continue;
        bodies.push(known.next); // two cards of one body may come in one report
        tell("machine.approved", id, `machine ${name} was approved by policy auto`);
      }
      await write(actor, [...touched.values()], told, entries);
      for (const { eventId } of fresh) seen.add(eventId);
      for (const eventId of seen) {
        if (seen.size <= SEEN_EVENTS_KEPT) break;
        seen.delete(eventId);
      }
      const macs = [...new Set(events.map(({ claimed }) => claimed.mac))];
      return macs.flatMap((mac) => {
        const found = byMac.get(mac);
        return found ? [{ mac, machineId: found.value.id }] : [];
      });
    },
  };

  /** Its boots so far, and what those that failed make of it. */
  function count(
    known: Touched,
    event: BootEvent,
    tell: (type: string, subject: string, message: string) => void,
  ): void {
    const before = known.life ?? lifeOf(store, known.next.id);
    const life = lifeAfter(before, event);
    if (life === before) return;
    known.life = life;
    const settings = guardSettings(config);
    const fell = fallenBack(known.next, life, { settings, lastGood: lastGoodImage(store, known.next), at: event.at });
    if (fell === undefined) return;
    known.next = fell.machine;
    known.life = fell.life;
    const { reason: message, detail } = fell;
    const level = fell.stage === "rescue" ? ("error" as const) : ("warning" as const);
    known.steps.push({ at: event.at, stage: "fallback", level, message, bootId: event.bootId, detail });
    tell("machine.fallback", fell.machine.id, `machine ${fell.machine.name}: ${message}`);
  }

  async function write(
    actor: string,
    touched: readonly Touched[],
    told: readonly NewEvent[],
    entries: readonly Entry<MachineRecord>[],
  ): Promise<void> {
    const at = now();
    const isNew = ({ entry }: Touched) => entry.version === 0;
    const waiting = entries.filter(({ value }) => value.state === "discovered");
    const tooMany = waiting.length + touched.filter(isNew).length - UNAPPROVED_MOST;
    const gone = quietest(
      waiting.filter(({ key }) => !touched.some(({ entry }) => entry.key === key)),
      tooMany,
    );
    const changes: Change[] = gone.flatMap(({ key, value }) => [
      { key, value: null },
      ...(store.get(keys.machineInventory(value.id)) ? [{ key: keys.machineInventory(value.id), value: null }] : []),
      ...store.list(keys.timelineOf(value.id)).map((step) => ({ key: step.key, value: null })),
    ]);
    for (const one of touched) {
      const { entry, next, steps } = one;
      if (isNew(one) || JSON.stringify(next) !== JSON.stringify(entry.value))
        changes.push({ key: entry.key, value: next });
      if (one.life !== undefined) changes.push({ key: keys.machineLife(next.id), value: one.life });
      const last = store.list<{ stage: string; message: string }>(keys.timelineOf(next.id)).at(-1)?.value;
      const news = steps.filter(({ stage, message }, n) => {
        const before = n === 0 ? last : steps[n - 1];
        return (stage !== "wait-approval" && stage !== "note") || before?.stage !== stage || before.message !== message;
      });
      const added = news.map(({ at: when, stage, level, message, bootId, detail }) => ({
        at: when,
        stage,
        level,
        message,
        bootId,
        detail,
      }));
      if (added.length > 0) changes.push(...timelineChanges(store, at, next.id, added));
    }
    if (changes.length === 0 && told.length === 0) return;
    await store.commit({
      actor,
      expect: touched.map(({ entry: { key, version } }) => ({ key, version })),
      mutations: [...changes, ...eventChanges(store, at, ...told)],
    });
  }
}
