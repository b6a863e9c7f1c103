// The boot server's side of power and BMCs (power.ts): what it is to do, with credentials, and what came of it.
import { type Static, Type } from "typebox";
import { endpoint } from "./endpoint.ts";
import { BmcCode, BmcSettings, BootDevice, BootMode, PowerAction, PowerState } from "./power.ts";
import { Id, IdParams, Mac, Name, Nothing, object, oneOf, Sha256, Time } from "./schema.ts";

/** How one machine is switched, with its credential: for memory alone, never for a disk. */
export const BmcAccess = Type.Object({
  ...BmcSettings,
  password: Type.Optional(Type.String()),
  /** What `wake` is sent to. */
  macs: Type.Array(Mac),
});
export type BmcAccess = Static<typeof BmcAccess>;

export const PowerWork = Type.Object({
  order: Id,
  machineId: Id,
  machine: Name,
  action: PowerAction,
  bmc: BmcAccess,
  hard: Type.Boolean({ description: "Its power is cut; else it is asked to shut down." }),
  boot: Type.Optional(BootDevice),
  mode: Type.Optional(BootMode),
  turn: Type.Optional(Type.Integer({ description: "Which switching of the same order it is, from the second on." })),
  seenOff: Type.Boolean({ description: "Of a cycle: it was seen off already, so it is only to be switched on." }),
});
export type PowerWork = Static<typeof PowerWork>;

export const BmcAsk = Type.Object({
  id: Id,
  kind: oneOf(["power", "certificate", "console"]),
  machineId: Id,
  bmc: BmcAccess,
});
export type BmcAsk = Static<typeof BmcAsk>;

export const ConsoleWork = Type.Object({
  session: Id,
  machineId: Id,
  bmc: BmcAccess,
  ticket: Type.String({ description: "Opens this session's other end, once." }),
});
export type ConsoleWork = Static<typeof ConsoleWork>;

/** Everything a boot server is to do with BMCs now; whole at each change, and nothing of it is kept when control is away. */
export const BmcWork = Type.Object({
  term: Type.Integer(),
  orders: Type.Array(PowerWork),
  asks: Type.Array(BmcAsk),
  consoles: Type.Array(ConsoleWork),
});
export type BmcWork = Static<typeof BmcWork>;

export const bmcWork = endpoint({
  id: "bmcWork",
  method: "GET",
  path: "/v1/boot-servers/:id/orders",
  summary: "What a boot server is to do with BMCs, with their credentials; whole at each change",
  permission: "boot",
  params: IdParams,
  reply: BmcWork,
  item: BmcWork,
});

export const OrderReport = object({
  step: Type.String({ maxLength: 400 }),
  percent: Type.Optional(Type.Integer({ minimum: 0, maximum: 100 })),
  power: Type.Optional(PowerState),
  seenOff: Type.Optional(Type.Boolean()),
  begins: Type.Optional(
    Type.Boolean({ description: "Nothing was switched yet: refused with `conflict` when the order is over." }),
  ),
  cuts: Type.Optional(Type.Boolean({ description: "From now on it may be off, and is to come on again." })),
  end: Type.Optional(
    object({ state: oneOf(["done", "failed"]), reason: Type.String({ maxLength: 400 }), code: Type.Optional(BmcCode) }),
  ),
});
export type OrderReport = Static<typeof OrderReport>;

export const reportOrder = endpoint({
  id: "reportOrder",
  method: "POST",
  path: "/v1/boot-servers/:id/orders/:order",
  summary: "A step or the end of an order's work; one that is over is not changed by it",
  permission: "boot",
  faults: ["conflict"],
  params: object({ id: Id, order: Id }),
  body: OrderReport,
  reply: Nothing,
});
export const answerBmcAsk = endpoint({
  id: "answerBmcAsk",
  method: "POST",
  path: "/v1/boot-servers/:id/asks/:ask",
  summary: "What a BMC said to a question; one that nobody waits for any more is passed over",
  permission: "boot",
  params: object({ id: Id, ask: Id }),
  body: object({
    ok: Type.Boolean(),
    message: Type.String({ maxLength: 400 }),
    code: Type.Optional(BmcCode),
    power: Type.Optional(PowerState),
    pinSha256: Type.Optional(Sha256),
    text: Type.Optional(Type.String({ maxLength: 400_000 })),
    since: Type.Optional(Time),
  }),
  reply: Nothing,
});
export const serveConsole = endpoint({
  id: "serveConsole",
  method: "GET",
  path: "/v1/console-sessions/:session",
  summary: "The boot server's end of a console session, opened by the ticket that came with the work",
  permission: "machine:write",
  params: object({ session: Id }),
  socket: true,
  reply: Nothing,
});
