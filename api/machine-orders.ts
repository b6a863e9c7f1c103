// Orders of a person to a machine that take time: power, one other boot, a new boot, a wipe. A machine carries out one at a time; each
// shows its steps while it runs, and how it ended for as long as the last ones are kept.
import { type Static, Type } from "typebox";
import { endpoint } from "./endpoint.ts";
import { Id, listOf, Name, object, oneOf, PageQuery, Time } from "./schema.ts";

export const MachineOrderKind = oneOf(
  ["power-on", "power-off", "power-cycle", "boot-once", "reprovision", "wipe"],
  "power-on, power-off, power-cycle: by its BMC, or Wake-on-LAN to switch it on. boot-once: what its next boot is given, and no other. reprovision: drained, booted anew with what its profile says, and back. wipe: a disk is erased, with a proof.",
);
export type MachineOrderKind = Static<typeof MachineOrderKind>;

export const MachineOrderState = oneOf(
  ["waiting", "running", "done", "failed", "cancelled"],
  "waiting: nothing was done yet. running: begun. done: seen to be so. failed: `reason` says why, and what the machine was left as. cancelled: taken back before it was done.",
);
export type MachineOrderState = Static<typeof MachineOrderState>;

export const MachineOrder = object({
  id: Id,
  machineId: Id,
  machine: Type.Unsafe<string>({ ...Name, description: "The machine's name when the order was given." }),
  kind: MachineOrderKind,
  state: MachineOrderState,
  step: Type.String({ maxLength: 400, description: "What is being done, or was done last, in plain words." }),
  percent: Type.Optional(Type.Integer({ minimum: 0, maximum: 100, description: "Where it can be told." })),
  reason: Type.String({ maxLength: 400, description: "How it ended, in plain words; empty before." }),
  orderedAt: Time,
  orderedBy: Type.String({ maxLength: 128 }),
  startedAt: Type.Optional(Time),
  endedAt: Type.Optional(Time),
  detail: Type.Optional(
    Type.Record(Type.String(), Type.Union([Type.String(), Type.Number()]), {
      description: "Facts of this kind of order, such as `target` of boot-once.",
    }),
  ),
});
export type MachineOrder = Static<typeof MachineOrder>;

/** True for one of which nothing more is to come. */
export const isOver = ({ state }: Pick<MachineOrder, "state">): boolean =>
  state === "done" || state === "failed" || state === "cancelled";

const MachineId = Type.String({
  maxLength: 64,
  pattern: "^[a-zA-Z0-9][a-zA-Z0-9._:-]*$",
  description: "Id, name or MAC.",
});

export const listMachineOrders = endpoint({
  id: "listMachineOrders",
  method: "GET",
  path: "/v1/machines/:id/orders",
  summary: "List a machine's orders, the newest first",
  permission: "machine:read",
  params: object({ id: MachineId }),
  query: object(PageQuery),
  reply: listOf(MachineOrder),
});
export const getMachineOrder = endpoint({
  id: "getMachineOrder",
  method: "GET",
  path: "/v1/machines/:id/orders/:order",
  summary: "Show an order to a machine; as a stream, each step until its end",
  permission: "machine:read",
  params: object({ id: MachineId, order: Id }),
  reply: MachineOrder,
  item: MachineOrder,
});
export const cancelMachineOrder = endpoint({
  id: "cancelMachineOrder",
  method: "POST",
  path: "/v1/machines/:id/orders/:order/cancel",
  summary: "Take back an order to a machine that has not been carried out",
  permission: "machine:write",
  params: object({ id: MachineId, order: Id }),
  body: object({}),
  reply: MachineOrder,
});
