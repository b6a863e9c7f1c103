// Where a machine's life is kept, and the changes that others write with theirs: `ready`, a person's decision, what a boot server saw.
import type { BootGuard } from "#api/boot-guard.ts";
import { imageArchitecture } from "#api/machine-identity.ts";
import type { Context } from "../context.ts";
import { keys, PREFIX } from "../keys.ts";
import type { MachineRecord } from "../records.ts";
import type { Reader } from "../store/entry.ts";
import type { Change } from "../store/store.ts";
import { begunAnew, decidedAnew, type GuardSettings, type MachineLife, NO_LIFE } from "./life.ts";

export const lifeOf = (store: Reader, machineId: string): MachineLife =>
  store.get<MachineLife>(keys.machineLife(machineId))?.value ?? NO_LIFE;

/** Of boot images; what does not say is as the first machines were. */
export const architectureOf = ({ identity }: Pick<MachineRecord, "identity">): string =>
  imageArchitecture(identity.architecture) ?? "amd64";

export const lastGoodImage = (store: Reader, machine: Pick<MachineRecord, "identity">): string | undefined =>
  store.get<string>(keys.lastGoodBootImage(architectureOf(machine)))?.value;

export const guardSettings = ({ bootTries, bootTriesWithinMs }: Context["config"]): GuardSettings => ({
  boots: bootTries,
  withinMs: bootTriesWithinMs,
});

/** What boot servers count by. */
export function bootGuardOf(store: Reader, machine: MachineRecord, settings: GuardSettings): BootGuard {
  const { after } = lifeOf(store, machine.id);
  const imageId = machine.lastGoodImageId ?? lastGoodImage(store, machine);
  const { stage, reason } = machine.fallback ?? {};
  return {
    ...settings,
    ...(after === undefined ? {} : { after }),
    ...(imageId === undefined ? {} : { imageId }),
    ...(stage === undefined ? {} : { stage, reason }),
  };
}

/** The machine as `ready`, with the image that it was seen to work with, here and as the cluster's last; none where it has proven none. */
export function readyWith(
  store: Reader,
  machine: MachineRecord,
  kernelId: string,
  { hasProven }: { hasProven: boolean },
): { machine: MachineRecord; changes: Change[] } {
  const { bootId } = machine;
  const life = lifeOf(store, machine.id);
  const booted = life.boots.find((boot) => boot.bootId === bootId)?.imageId ?? machine.imageId;
  const imageId = hasProven ? booted : undefined;
  return {
    machine: {
      ...machine,
      ...(imageId === undefined ? {} : { imageId, lastGoodImageId: imageId }),
      reason: machine.fallback?.reason ?? "",
    },
    changes: [
      ...(bootId === undefined || (life.after === bootId && life.ran?.bootId === bootId)
        ? []
        : [
            {
              key: keys.machineLife(machine.id),
              value: { ...begunAnew(life, bootId), ran: life.ran?.bootId === bootId ? life.ran : { bootId, kernelId } },
            },
          ]),
      ...(imageId === undefined || lastGoodImage(store, machine) === imageId
        ? []
        : [{ key: keys.lastGoodBootImage(architectureOf(machine)), value: imageId }]),
    ],
  };
}

/** A person decided: the machine as of that, and what goes with it. */
export function afterDecision(store: Reader, machine: MachineRecord): { machine: MachineRecord; changes: Change[] } {
  const life = lifeOf(store, machine.id);
  return {
    machine: decidedAnew(machine),
    changes: life.boots.length === 0 ? [] : [{ key: keys.machineLife(machine.id), value: begunAnew(life) }],
  };
}

/** The same of every machine of which it holds. */
export function afterDecisionOnAll(store: Reader, of: (machine: MachineRecord) => boolean): Change[] {
  return store.list<MachineRecord>(PREFIX.machines).flatMap(({ key, value }) => {
    if (!of(value)) return [];
    const { machine, changes } = afterDecision(store, value);
    return machine === value ? changes : [{ key, value: machine }, ...changes];
  });
}
