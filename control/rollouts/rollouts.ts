// Rollouts as server-side objects: one at a time, driven to its end, resumed after a restart of control. A client that goes away changes
// nothing.
import type { BootImage, Profile } from "#api/boot.ts";
import { Fault, isFault } from "#api/fault.ts";
import { hasEnded, type Rollout, type RolloutWish } from "#api/rollouts.ts";
import { newId } from "#lib/ids.ts";
import { causeChain } from "#lib/run.ts";
import { createWake } from "#lib/wake.ts";
import type { Context } from "../context.ts";
import { eventChanges } from "../events.ts";
import { keys, PREFIX } from "../keys.ts";
import { afterDecisionOnAll, architectureOf } from "../machine-life/records.ts";
import type { HostRecord, MachineRecord } from "../records.ts";
import type { Entry } from "../store/entry.ts";
import type { Change } from "../store/store.ts";
import { turnOf } from "./act.ts";
import { cohorts, type Stage, spread } from "./cohorts.ts";
import { type LookParts, progressOf, type RolloutClocks, rolloutClocks, unwellApps } from "./look.ts";
import {
  machinesOf,
  openRollout,
  type RolloutMachineRecord,
  type RolloutRecord,
  rolloutsOf,
  rolloutsToTrim,
  shownRollout,
} from "./record.ts";
import { nextStep } from "./step.ts";

export interface Rollouts {
  /** Fault `conflict` while another one has not ended. */
  start(imageId: string, wish: RolloutWish & { by: string }): Promise<Rollout>;
  get(id: string): Rollout;
  /** The newest first, without their machines. */
  list(): Rollout[];
  pause(id: string, by: string): Promise<Rollout>;
  resume(id: string, by: string): Promise<Rollout>;
  cancel(id: string, by: string): Promise<Rollout>;
  run(signal: AbortSignal): Promise<void>;
}

const TICK_MS = 500;
const GATE_SECONDS = 60;

export function rollouts(context: Context, parts: LookParts): Rollouts {
  const { store, now, log, presence } = context;

  const find = (id: string): Entry<RolloutRecord> => {
    const entry = store.get<RolloutRecord>(keys.rollout(id));
    if (entry === undefined) throw new Fault("not-found", `no rollout ${id}`);
    return entry;
  };
  const shown = (id: string) => shownRollout(store, find(id).value, { whole: true });
  const change = async (
    { key, value, version }: Entry<RolloutRecord>,
    changed: Partial<RolloutRecord>,
    { by, type, message, more = [] }: { by: string; type: string; message: string; more?: Change[] },
  ): Promise<Rollout> => {
    await store.commit({
      actor: by,
      expect: [{ key, version }],
      mutations: [
        { key, value: { ...value, ...changed } },
        ...more,
        ...eventChanges(store, now(), { type, subject: value.id, actor: by, message }),
      ],
    });
    return shown(value.id);
  };
  const still = (id: string): Entry<RolloutRecord> => {
    const entry = find(id);
    const { state } = entry.value;
    if (hasEnded(entry.value)) throw new Fault("conflict", `rollout ${id} is ${state} already`);
    if (state === "going-back") throw new Fault("conflict", `rollout ${id} goes back already: ${entry.value.reason}`);
    return entry;
  };

  /** Machines that are hosts now, and boot the current image. */
  const candidates = (architecture: string): MachineRecord[] =>
    store.list<MachineRecord>(PREFIX.machines).flatMap(({ value }) => {
      const profile = store.get<Profile>(keys.profile(value.profile))?.value;
      const host = value.hostId && store.get<HostRecord>(keys.host(value.hostId))?.value;
      if (architectureOf(value) !== architecture) return [];
      const takes =
        value.approvedAt !== undefined && value.target === "boot" && (profile?.image ?? "current") === "current";
      return takes && host && host.state === "ready" ? [value] : [];
    });

  const rows = (id: string, stages: readonly Stage[]): Change[] => {
    const at = now().toISOString();
    let order = 0;
    return stages.flatMap(({ ids }, stage) =>
      ids.map((machineId): Change => {
        const machine = store.get<MachineRecord>(keys.machine(machineId))!.value;
        const host = store.get<HostRecord>(keys.host(machine.hostId!))!.value;
        const row: RolloutMachineRecord = {
          machineId,
          name: machine.name,
          stage,
          state: "waiting",
          reason: "",
          since: at,
          order: order++,
          hostId: host.id,
          ...(machine.imageId === undefined ? {} : { fromImageId: machine.imageId }),
          ...(machine.pinnedImageId === undefined ? {} : { pinnedBefore: machine.pinnedImageId }),
          cordonedBefore: host.cordoned,
        };
        return { key: keys.rolloutMachine(id, machineId), value: row };
      }),
    );
  };

  const turn = async (clocks: RolloutClocks): Promise<boolean> => {
    const entry = openRollout(store);
    if (entry === undefined) return false;
    const machines = machinesOf(store, entry.value.id);
    const step = nextStep(progressOf(context, entry.value, machines, { parts, clocks }));
    const changes = turnOf(context, entry, step);
    if (changes === undefined) return false;
    await store.commit({ actor: "rollout", ...changes });
    return step.type !== "wait";
  };

  return {
    get: shown,
    list: () =>
      rolloutsOf(store)
        .map(({ value }) => shownRollout(store, value, { whole: false }))
        .reverse(),
    async start(imageId, { stages: names, maxUnavailable = 1, gateSeconds = GATE_SECONDS, by }) {
      const other = openRollout(store)?.value;
      if (other !== undefined)
        throw new Fault(
          "conflict",
          `rollout ${other.id} of image ${other.subject.id} is ${other.state}; wait for its end, or call it off: flynn rollout cancel ${other.id}`,
        );
      const id = newId("ro");
      const at = now().toISOString();
      const image = store.get<Omit<BootImage, "current">>(keys.bootImage(imageId))?.value;
      if (image === undefined) throw new Fault("not-found", `no boot image ${imageId}`);
      const { architecture } = image;
      const current = keys.currentBootImage(architecture);
      const from = store.get<string>(current)?.value;
      const stages = names === undefined ? [] : cohorts(spread(candidates(architecture), imageId), names);
      const atOnce = names === undefined;
      const record: RolloutRecord = {
        id,
        subject: { kind: "boot-image", id: imageId, ...(from === undefined ? {} : { from }) },
        state: atOnce ? "done" : "running",
        stages: stages.map(({ name, ids }) => ({ name, machines: ids.length })),
        stage: 0,
        step: atOnce ? "machines boot it next" : "begins",
        reason: "",
        maxUnavailable,
        gateSeconds,
        createdAt: at,
        createdBy: by.slice(0, 128),
        ...(atOnce ? { endedAt: at } : {}),
        architecture,
        unwellBefore: unwellApps(context, parts.alerts()),
      };
      const message = atOnce
        ? `${architecture} machines boot image ${imageId} from now on`
        : `image ${imageId} is rolled out in stages: ${names.join(", ")}`;
      const key = keys.rollout(id);
      await store.commit({
        actor: by,
        expect: [{ key, version: 0 }],
        mutations: [
          { key, value: record },
          ...rows(id, stages),
          ...(atOnce ? [{ key: current, value: imageId }, ...afterDecisionOnAll(store, () => true)] : []),
          ...rolloutsToTrim(store).map((old) => ({ key: old, value: null })),
          ...eventChanges(store, now(), { type: "boot-image.rollout", subject: imageId, actor: by, message }),
        ],
      });
      return shown(id);
    },
    pause: (id, by) => {
      const entry = still(id);
      if (entry.value.state === "paused") return Promise.resolve(shown(id));
      const message = `rollout ${id} was paused`;
      return change(entry, { state: "paused", reason: `paused by ${by}` }, { by, type: "rollout.paused", message });
    },
    resume: (id, by) => {
      const entry = still(id);
      if (entry.value.state !== "paused")
        throw new Fault("conflict", `rollout ${id} is not paused: ${entry.value.step}`);
      return change(
        entry,
        { state: "running", reason: "" },
        { by, type: "rollout.resumed", message: `rollout ${id} goes on` },
      );
    },
    async cancel(id, by) {
      const entry = still(id);
      const step = { type: "turn-back", reason: `called off by ${by}`, to: "cancelled" } as const;
      await store.commit({ actor: by, ...turnOf(context, entry, step)! });
      return shown(id);
    },
    async run(signal) {
      const clocks = rolloutClocks(presence.nowMs);
      const woken = createWake();
      const stop = store.onDurable(({ mutations }) => {
        if (mutations.some(({ key }) => WAKES.some((prefix) => key.startsWith(prefix)))) woken.ring();
      });
      try {
        while (!signal.aborted) {
          try {
            if (await turn(clocks)) continue;
          } catch (error) {
            if (store.ended) throw error;
            if (!isFault(error, "precondition") && !isFault(error, "conflict"))
              log.error({ causes: causeChain(error) }, "a rollout's step failed, it is tried again");
          }
          await woken.wait(TICK_MS, signal);
        }
      } finally {
        stop();
      }
    },
  };
}

const WAKES = [PREFIX.rollouts, PREFIX.machines, PREFIX.machineLives, PREFIX.hosts];
