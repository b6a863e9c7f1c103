// Rollouts as the store keeps them. The machines have rows of their own: of hundreds one changes at a time.
import { Fault } from "#api/fault.ts";
import type { Rollout, RolloutMachine, RolloutMachineState } from "#api/rollouts.ts";
import { hasEnded } from "#api/rollouts.ts";
import { keys, PREFIX } from "../keys.ts";
import type { Entry, Reader } from "../store/entry.ts";

/** Ended ones that are kept. */
export const ROLLOUTS_KEPT = 30;

export interface RolloutRecord extends Omit<Rollout, "counts" | "machines"> {
  /** Why it goes back, and what it is then. */
  goingBack?: { reason: string; to: "failed" | "cancelled" };
  /** Of the image: machines of another one boot none of it. */
  architecture: string;
  /** Apps that were not well when it began: nothing is concluded from them. */
  unwellBefore: string[];
}

export interface RolloutMachineRecord extends RolloutMachine {
  /** Its place among those that are taken. */
  order: number;
  hostId: string;
  /** What it booted before, and what it was pinned to. */
  fromImageId?: string;
  pinnedBefore?: string;
  cordonedBefore: boolean;
  /** The boot that it was told to end. */
  endedBootId?: string;
  /** In this state its BMC switched it off and on, since it did not come back. */
  cycledIn?: RolloutMachineState;
}

export const rolloutsOf = (store: Reader): Entry<RolloutRecord>[] => store.list<RolloutRecord>(PREFIX.rollouts);

/** The one that has not ended: there is one at a time. */
export const openRollout = (store: Reader): Entry<RolloutRecord> | undefined =>
  rolloutsOf(store).find(({ value }) => !hasEnded(value));

/** Who orders what a rollout orders. */
export const actorOf = ({ id }: Pick<RolloutRecord, "id">): string => `rollout ${id}`;

export const machinesOf = (store: Reader, id: string): Entry<RolloutMachineRecord>[] =>
  store.list<RolloutMachineRecord>(keys.rolloutMachinesOf(id)).sort((a, b) => a.value.order - b.value.order);

/** States in which a machine is drained or booted anew. */
const UNDER_WAY: ReadonlySet<RolloutMachineState> = new Set([
  "draining",
  "rebooting",
  "back-draining",
  "back-rebooting",
]);

/** The open rollout that drains this machine or boots it anew just now, and its row of it. */
export function underWay(
  store: Reader,
  machineId: string,
): { rollout: RolloutRecord; row: Entry<RolloutMachineRecord> } | undefined {
  const rollout = openRollout(store)?.value;
  const row = rollout && store.get<RolloutMachineRecord>(keys.rolloutMachine(rollout.id, machineId));
  return rollout && row && UNDER_WAY.has(row.value.state) ? { rollout, row } : undefined;
}

/** Throws `conflict` while a rollout boots the machine anew: what a person orders meanwhile would be cut short by it. */
export function refuseUnderRollout(store: Reader, { id, name }: { id: string; name: string }): void {
  const found = underWay(store, id);
  if (found !== undefined)
    throw new Fault(
      "conflict",
      `rollout ${found.rollout.id} boots machine ${name} anew just now; wait until it is through with it, or call it off: flynn rollout cancel ${found.rollout.id}`,
    );
}

export function shownRollout(store: Reader, record: RolloutRecord, { whole }: { whole: boolean }): Rollout {
  const { goingBack: _, unwellBefore: __, architecture: ___, ...shown } = record;
  const machines = machinesOf(store, record.id).map(({ value }) => value);
  const counts: Partial<Record<RolloutMachineState, number>> = {};
  for (const { state } of machines) counts[state] = (counts[state] ?? 0) + 1;
  return { ...shown, counts, ...(whole ? { machines: machines.map(shownMachine) } : {}) };
}

const shownMachine = ({ machineId, name, stage, state, reason, since }: RolloutMachineRecord): RolloutMachine => ({
  ...{ machineId, name, stage, state, reason, since },
});

/** Keys of ended ones beyond what is kept, with their machines. */
export function rolloutsToTrim(store: Reader): string[] {
  const ended = rolloutsOf(store).filter(({ value }) => hasEnded(value));
  return ended
    .slice(0, Math.max(0, ended.length - ROLLOUTS_KEPT))
    .flatMap(({ key, value }) => [key, ...machinesOf(store, value.id).map((machine) => machine.key)]);
}
