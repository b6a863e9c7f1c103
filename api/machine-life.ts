// What a person orders of a machine beside its power: one other boot, or a new one of what it is to boot.
import { type Static, Type } from "typebox";
import { endpoint } from "./endpoint.ts";
import { MachineOrder } from "./machine-orders.ts";
import { object, oneOf } from "./schema.ts";

export const BootOnceTarget = oneOf(
  ["inventory", "rescue", "local-disk", "boot"],
  "inventory: the image without any secret, which says what the machine is made of. rescue: a root shell on its console. local-disk: its own disk. boot: its image.",
);
export type BootOnceTarget = Static<typeof BootOnceTarget>;

const MachineParams = object({
  id: Type.String({ maxLength: 64, pattern: "^[a-zA-Z0-9][a-zA-Z0-9._:-]*$", description: "Id, name or MAC." }),
});

export const bootMachineOnce = endpoint({
  id: "bootMachineOnce",
  method: "POST",
  path: "/v1/machines/:id/boot-once",
  summary: "Give a machine something else at its next network boot, and at no other",
  permission: "machine:write",
  idempotent: true,
  params: MachineParams,
  body: object({
    target: BootOnceTarget,
    now: Type.Optional(
      Type.Boolean({
        description:
          "Its BMC sets a network boot for once and switches it off and on. Without a BMC somebody has to, and the order waits for that.",
      }),
    ),
    force: Type.Optional(
      Type.Boolean({
        description: "With `now`: even when it is a host that jobs run on. Without: refused while jobs run there.",
      }),
    ),
  }),
  reply: MachineOrder,
  status: 202,
  faults: ["conflict"],
});
export const reprovisionMachine = endpoint({
  id: "reprovisionMachine",
  method: "POST",
  path: "/v1/machines/:id/reprovision",
  summary: "Drain a machine, boot it anew with what its profile says, and give it jobs again",
  permission: "machine:write",
  idempotent: true,
  params: MachineParams,
  body: object({}),
  reply: MachineOrder,
  status: 202,
  faults: ["conflict"],
});
