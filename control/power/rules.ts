// What orders to switch a machine mean, and what follows from what its BMC said. Pure.

import type { BmcAccess, PowerWork } from "#api/bmc-work.ts";
import { Fault } from "#api/fault.ts";
import type { MachineOrder, MachineOrderKind } from "#api/machine-orders.ts";
import type { BootDevice, BootMode, PowerAction, PowerState } from "#api/power.ts";
import type { MachineRecord } from "../records.ts";

export const KIND_OF = { on: "power-on", off: "power-off", cycle: "power-cycle" } as const satisfies Record<
  PowerAction,
  MachineOrderKind
>;
const ACTIONS = new Map<MachineOrderKind, PowerAction>(
  Object.entries(KIND_OF).map(([action, kind]) => [kind, action as PowerAction]),
);
/** One to boot something once, or anew, switches it off and on where its BMC is to do that. */
export const actionOf = ({ kind, detail }: Pick<MachineOrder, "kind" | "detail">): PowerAction | undefined =>
  detail?.["cycle"] === 1 ? "cycle" : ACTIONS.get(kind);

/** Why an order must not be taken back now; undefined when it may be. */
export const staysOff = ({ id, machine, kind, detail }: MachineOrder): Fault | undefined =>
  actionOf({ kind, detail }) === "cycle" && (detail?.["seenOff"] === 1 || detail?.["cuts"] === 1)
    ? new Fault("conflict", `machine ${machine} is off for its order ${id} and is being switched on: it would stay off`)
    : undefined;

export interface Wanted {
  action: PowerAction;
  force: boolean;
  /** Of its host, when that lives: the jobs that run there. */
  jobs: number;
  hostLives: boolean;
  hostName: string;
  /** It runs something of its own from its disk. */
  ownSystem: boolean;
}

/** How its power goes off; a Fault when it must not. */
export function hardness({ action, force, jobs, hostLives, hostName, ownSystem }: Wanted): { hard: boolean } {
  if (action === "on") return { hard: false };
  if (jobs > 0 && !force)
    throw new Fault(
      "conflict",
      `${jobs === 1 ? "a job runs" : `${jobs} jobs run`} on host ${hostName}: move them first with \`flynn host drain ${hostName}\`, or cut its power under them with --force`,
      { details: { jobs } },
    );
  // Firmware, a boot that hangs and a host that is lost do not hear a request to shut down.
  return { hard: force || !(hostLives || ownSystem) };
}

/** The order as its boot server is told it; undefined when it is none of power. */
export function workOf(order: MachineOrder, bmc: BmcAccess): PowerWork | undefined {
  const action = actionOf(order);
  if (action === undefined) return undefined;
  const { boot, mode, hard, seenOff, turn } = order.detail ?? {};
  return {
    order: order.id,
    machineId: order.machineId,
    machine: order.machine,
    action,
    bmc,
    hard: hard === 1,
    ...(boot === undefined ? {} : { boot: boot as BootDevice }),
    ...(mode === undefined ? {} : { mode: mode as BootMode }),
    ...(typeof turn === "number" && turn > 1 ? { turn } : {}),
    seenOff: seenOff === 1,
  };
}

/** The machine after its BMC said how its power is. Only an order makes it `off`; what it does next says what it is after that. */
export function machineAfterPower(
  machine: MachineRecord,
  { power, at, ordered }: { power: PowerState; at: string; ordered?: { by: string } | undefined },
): MachineRecord {
  const same = machine.power?.state === power;
  const next: MachineRecord = same ? machine : { ...machine, power: { state: power, at } };
  if (ordered === undefined || machine.approvedAt === undefined) return next;
  if (power === "off" && machine.state !== "off")
    return { ...next, state: "off", reason: `switched off, as ${ordered.by} ordered` };
  if (power === "on" && machine.state === "off")
    return { ...next, state: "approved", reason: "switched on; nothing was seen of it since" };
  return next;
}
