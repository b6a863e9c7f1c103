// Orders to machines as the store keeps them, and the pure rules of their life: one open order a machine, steps, one end.
import { isOver, type MachineOrder, type MachineOrderState } from "#api/machine-orders.ts";
import { newId } from "#lib/ids.ts";
import { plainText } from "../events.ts";
import { keys, PREFIX } from "../keys.ts";
import type { Entry, Reader } from "../store/entry.ts";

/** Ended orders that are kept of each machine. */
export const ORDERS_KEPT = 20;

export interface MachineOrderRecord extends MachineOrder {
  /** A running one fails after so long without a step, on control's own clock while it runs, in milliseconds. */
  quietMs: number;
  /** Of the record that opened it: the order in which they were given. */
  seq: number;
}

export interface OrderStep {
  step: string;
  percent?: number | undefined;
  detail?: Record<string, string | number> | undefined;
}

export interface OrderEnd {
  state: Extract<MachineOrderState, "done" | "failed" | "cancelled">;
  reason: string;
  /** Facts of the end, such as `code` of what failed. */
  detail?: Record<string, string | number> | undefined;
}

export interface OrderOpening {
  machine: { id: string; name: string };
  kind: MachineOrder["kind"];
  actor: string;
  step: string;
  detail?: Record<string, string | number> | undefined;
  /** Once running it fails after so long without a step; five minutes unless given. */
  quietMs?: number | undefined;
  at: string;
  seq: number;
}

const QUIET_MS = 5 * 60_000;

export const openedOrder = (order: OrderOpening): MachineOrderRecord => ({
  id: newId("mo"),
  machineId: order.machine.id,
  machine: order.machine.name,
  kind: order.kind,
  state: "waiting",
  step: order.step,
  reason: "",
  orderedAt: order.at,
  orderedBy: order.actor.slice(0, 128),
  ...(order.detail === undefined ? {} : { detail: order.detail }),
  quietMs: order.quietMs ?? QUIET_MS,
  seq: order.seq,
});

export const shownOrder = ({ quietMs: _, seq: __, ...order }: MachineOrderRecord): MachineOrder => order;

/** The oldest first. */
export const ordersOf = (store: Reader, machineId: string): Entry<MachineOrderRecord>[] =>
  store.list<MachineOrderRecord>(keys.machineOrdersOf(machineId)).sort((a, b) => a.value.seq - b.value.seq);

export const openOrderOf = (store: Reader, machineId: string): Entry<MachineOrderRecord> | undefined =>
  ordersOf(store, machineId).find(({ value }) => !isOver(value));

export const openOrders = (store: Reader): Entry<MachineOrderRecord>[] =>
  store.list<MachineOrderRecord>(PREFIX.machineOrders).filter(({ value }) => !isOver(value));

/** After a step; of one that is over nothing changes. */
export function afterStep(
  order: MachineOrderRecord,
  { step, percent, detail }: OrderStep,
  at: string,
): MachineOrderRecord {
  if (isOver(order)) return order;
  return {
    ...order,
    state: "running",
    step: plainText(step),
    startedAt: order.startedAt ?? at,
    ...(percent === undefined ? {} : { percent: Math.max(0, Math.min(100, Math.round(percent))) }),
    ...(detail === undefined ? {} : { detail: { ...order.detail, ...detail } }),
  };
}

/** After its end; the first end stands. */
export function afterEnd(
  order: MachineOrderRecord,
  { state, reason, detail }: OrderEnd,
  at: string,
): MachineOrderRecord {
  if (isOver(order)) return order;
  return {
    ...order,
    state,
    reason: plainText(reason),
    endedAt: at,
    ...(detail === undefined ? {} : { detail: { ...order.detail, ...detail } }),
    ...(state === "done" && order.percent !== undefined ? { percent: 100 } : {}),
  };
}

/** Of the oldest first: ended orders beyond what is kept. */
export const ordersToTrim = (orders: readonly Entry<MachineOrderRecord>[]): string[] => {
  const ended = orders.filter(({ value }) => isOver(value)).map(({ key }) => key);
  return ended.slice(0, Math.max(0, ended.length - ORDERS_KEPT));
};
