// What a step of a rollout changes: its own records, the machine's and its host's, in one commit, with its words on the machine's timeline.
import type { Context } from "../context.ts";
import { eventChanges, plainText, timelineChanges } from "../events.ts";
import { keys } from "../keys.ts";
import { afterDecision, afterDecisionOnAll, architectureOf } from "../machine-life/records.ts";
import { openedOrder, openOrderOf } from "../machine-orders/record.ts";
import { bmcOf } from "../power/bmcs.ts";
import type { HostRecord, MachineRecord } from "../records.ts";
import type { Entry } from "../store/entry.ts";
import type { Change, Commit } from "../store/store.ts";
import { actorOf, machinesOf, type RolloutMachineRecord, type RolloutRecord, rolloutsToTrim } from "./record.ts";
import type { Step } from "./step.ts";

type Turn = Required<Pick<Commit<undefined>, "mutations" | "expect">>;

/** Undefined when there is nothing to write. */
export function turnOf(
  { store, now }: Pick<Context, "store" | "now">,
  { key, value: rollout, version }: Entry<RolloutRecord>,
  step: Step,
): Turn | undefined {
  const at = now();
  const expect = [{ key, version }];
  const changed = (change: Partial<RolloutRecord>, ...more: Change[]): Turn => ({
    expect,
    mutations: [{ key, value: { ...rollout, ...change } satisfies RolloutRecord }, ...more],
  });
  const told = (type: string, message: string) =>
    eventChanges(store, at, { type, subject: rollout.id, actor: "rollout", message });
  const what = `rollout of image ${rollout.subject.id}`;
  switch (step.type) {
    case "wait":
      return step.words === rollout.step ? undefined : changed({ step: plainText(step.words) });
    case "stage":
      return changed(
        { stage: step.stage, step: step.words },
        ...told("rollout.stage", `${what}: stage ${rollout.stages[step.stage]?.name} begins`),
      );
    case "turn-back": {
      const reason = plainText(step.reason);
      return changed(
        { state: "going-back", goingBack: { reason, to: step.to }, reason, step: "goes back" },
        // Whichever of them boots next, and for whatever reason, boots what it booted before.
        ...machinesOf(store, rollout.id).flatMap((entry) => unpinned(store, rollout, entry.value)),
        ...told("rollout.going-back", `${what} goes back: ${reason}`),
      );
    }
    case "end": {
      const { state, reason } = step;
      const done = state === "done";
      const machines = machinesOf(store, rollout.id);
      const unpin = machines.flatMap((entry) => (done ? unpinned(store, rollout, entry.value, { clear: true }) : []));
      const written = new Set(unpin.map((change) => change.key));
      const anew = done ? afterDecisionOnAll(store, ({ id }) => !written.has(keys.machine(id))) : [];
      const end = done ? "every stage is well; it is the current image" : reason;
      return changed(
        { state, reason: plainText(reason), step: done ? end : "went back", endedAt: at.toISOString() },
        ...(done ? [{ key: keys.currentBootImage(rollout.architecture), value: rollout.subject.id }] : []),
        ...unpin,
        ...anew,
        ...rolloutsToTrim(store).map((old) => ({ key: old, value: null })),
        ...told(`rollout.${state}`, `${what}: ${state}${end ? `: ${end}` : ""}`),
      );
    }
    default: {
      const entry = store.get<RolloutMachineRecord>(keys.rolloutMachine(rollout.id, step.machineId));
      if (entry === undefined) return undefined;
      const { machine, more } = ofMachine(store, rollout, entry.value, { step, at });
      const next: RolloutMachineRecord = {
        ...entry.value,
        ...machine,
        reason: plainText(step.words),
        since: at.toISOString(),
      };
      const level = step.type === "stuck" ? ("error" as const) : ("info" as const);
      const isThere = store.get(keys.machine(step.machineId)) !== undefined;
      return {
        expect: [...expect, { key: entry.key, version: entry.version }],
        mutations: [
          { key, value: { ...rollout, step: plainText(`${next.name}: ${step.words}`) } satisfies RolloutRecord },
          { key: entry.key, value: next },
          ...more,
          ...(isThere
            ? timelineChanges(store, at, step.machineId, [
                { stage: "rollout", level, message: `${what}: ${step.words}`, detail: { rolloutId: rollout.id } },
              ])
            : []),
        ],
      };
    }
  }
}

type MachineStep = Extract<Step, { machineId: string }>;

function ofMachine(
  store: Context["store"],
  rollout: RolloutRecord,
  record: RolloutMachineRecord,
  { step, at }: { step: MachineStep; at: Date },
): { machine: Partial<RolloutMachineRecord>; more: Change[] } {
  const host = store.get<HostRecord>(keys.host(record.hostId));
  const machine = store.get<MachineRecord>(keys.machine(record.machineId));
  const hostAs = (change: (value: HostRecord) => HostRecord): Change[] =>
    host === undefined ? [] : [{ key: host.key, value: change(host.value) }];
  const drained = hostAs((value) => ({ ...value, cordoned: true, draining: true }));
  const released = hostAs(({ draining: _, reboot: __, ...value }) => ({ ...value, cordoned: record.cordonedBefore }));
  const ended = machine?.value.joinedBootId;
  switch (step.type) {
    case "drain":
      return { machine: { state: "draining", cordonedBefore: host?.value.cordoned ?? false }, more: drained };
    case "drain-back":
      // It took jobs again in between, and a person may have closed it.
      return { machine: { state: "back-draining", cordonedBefore: host?.value.cordoned ?? false }, more: drained };
    case "reboot":
    case "reboot-back": {
      const { bootId } = host?.value ?? {};
      const isBack = step.type === "reboot-back";
      const order =
        bootId === undefined || host?.value.state !== "ready"
          ? hostAs(({ reboot: _, ...value }) => value)
          : hostAs((value) => ({ ...value, reboot: { orderId: `${rollout.id}${isBack ? "-back" : ""}`, bootId } }));
      return {
        machine: { state: isBack ? "back-rebooting" : "rebooting", ...(ended ? { endedBootId: ended } : {}) },
        more: [...order, ...(machine === undefined ? [] : pinned(store, rollout, record, machine.value, isBack))],
      };
    }
    case "arrive":
      return { machine: { state: "ready" }, more: released };
    case "back":
      return { machine: { state: "back" }, more: [...released, ...unpinned(store, rollout, record)] };
    case "stuck":
      return { machine: { state: "stuck" }, more: released };
    case "cycle":
      return {
        machine: { cycledIn: record.state },
        more: machine === undefined ? [] : cycleOrder(store, machine.value, { by: actorOf(rollout), at }),
      };
    case "skip":
      return { machine: { state: "skipped" }, more: record.state === "waiting" ? [] : released };
  }
}

/** Its BMC switches it off and on, as by an order of a person; nothing when another order to it is open. */
function cycleOrder(store: Context["store"], machine: MachineRecord, { by, at }: { by: string; at: Date }): Change[] {
  if (openOrderOf(store, machine.id) !== undefined) return [];
  const bootBy = bmcOf(store, machine.id)?.bootBy;
  const order = openedOrder({
    machine,
    kind: "power-cycle",
    actor: by,
    step: "waits for its boot server",
    detail: { hard: 1, ...(bootBy === undefined ? {} : { boot: bootBy }) },
    at: at.toISOString(),
    seq: store.seq + 1,
  });
  return [{ key: keys.machineOrder(machine.id, order.id), value: order }];
}

/** What it boots from now on, and everything it did counts from here. */
function pinned(
  store: Context["store"],
  rollout: RolloutRecord,
  record: RolloutMachineRecord,
  machine: MachineRecord,
  isBack: boolean,
): Change[] {
  const { machine: anew, changes } = afterDecision(store, machine);
  const value = isBack ? withPin(store, anew, record) : { ...anew, pinnedImageId: rollout.subject.id };
  return [{ key: keys.machine(machine.id), value }, ...changes];
}

/** As it was pinned before; when that is another image now than it booted, pinned to that one. */
function withPin(store: Context["store"], machine: MachineRecord, record: RolloutMachineRecord): MachineRecord {
  const { pinnedImageId: _, ...value } = machine;
  const current = store.get<string>(keys.currentBootImage(architectureOf(machine)))?.value;
  const { fromImageId: from, pinnedBefore } = record;
  const pin = pinnedBefore ?? (from !== undefined && from !== current ? from : undefined);
  return pin === undefined ? value : { ...value, pinnedImageId: pin };
}

function unpinned(
  store: Context["store"],
  { subject }: RolloutRecord,
  record: RolloutMachineRecord,
  { clear = false } = {},
): Change[] {
  const machine = store.get<MachineRecord>(keys.machine(record.machineId))?.value;
  if (machine?.pinnedImageId !== subject.id) return [];
  const { pinnedImageId: _, ...value } = machine;
  return [{ key: keys.machine(machine.id), value: clear ? value : withPin(store, machine, record) }];
}
