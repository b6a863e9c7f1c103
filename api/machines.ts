// Machines: metal (or a VM) as the boot server sees it, before and while it is a host. Its state moves only on evidence.
import { type Static, Type } from "typebox";
import { endpoint } from "./endpoint.ts";
import { Id, listOf, Mac, Name, Nothing, object, oneOf, PageQuery, TagChanges, Tags, Time } from "./schema.ts";

export const MachineState = oneOf(
  ["discovered", "approved", "booting", "ready", "lost", "rejected"],
  "discovered: seen, waits for approval. approved: may boot. booting: a boot was seen, no agent yet. ready: its agent reports. lost: its agent fell silent.",
);
export type MachineState = Static<typeof MachineState>;

export const MachineTarget = oneOf(["wait", "boot", "local-disk", "rescue"], "What its next network boot is given.");
export const Firmware = oneOf(["bios", "uefi", "uefi-http", "unknown"]);

/** What firmware told about itself; hostile until checked. */
export const MachineIdentity = object({
  mac: Mac,
  uuid: Type.Optional(
    Type.String({
      pattern: "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
      description: "SMBIOS UUID; absent when missing or one of the known junk values.",
    }),
  ),
  serial: Type.Optional(
    Type.String({ maxLength: 64, pattern: "^[\\x21-\\x7e]+$", description: "SMBIOS serial number." }),
  ),
  architecture: Type.Optional(Type.String({ maxLength: 16, pattern: "^[a-z0-9_]+$" })),
  firmware: Type.Optional(Firmware),
  manufacturer: Type.Optional(Type.String({ maxLength: 64 })),
  product: Type.Optional(Type.String({ maxLength: 64 })),
});
export type MachineIdentity = Static<typeof MachineIdentity>;

export const Machine = object({
  id: Id,
  name: Name,
  state: MachineState,
  reason: Type.String({ description: "Why it is in this state, in plain words; empty when there is nothing to say." }),
  identity: MachineIdentity,
  macs: Type.Array(Mac),
  target: MachineTarget,
  profile: Name,
  tags: Tags,
  hostId: Type.Optional(Id),
  imageId: Type.Optional(Id),
  bootId: Type.Optional(Id),
  approvedAt: Type.Optional(Time),
  approvedBy: Type.Optional(Type.String()),
  createdAt: Time,
  lastSeenAt: Time,
});
export type Machine = Static<typeof Machine>;

/** Stages of the one timeline, in their usual order. */
export const STAGES = [
  "discover",
  "offer",
  "tftp",
  "wait-approval",
  "approved",
  "script",
  "kernel",
  "initrd",
  "squashfs",
  "seed",
  "cloud-init",
  "join",
  "disk",
  "docker",
  "ready",
  "job-placed",
  "job-up",
  "route-live",
  "first-response",
  "token-refused",
  "boot-failed",
  "lost",
  "note",
] as const;
export const Stage = oneOf(STAGES);
export type Stage = Static<typeof Stage>;

export const Level = oneOf(["info", "warning", "error"]);
export const TimelineEvent = object({
  seq: Type.Integer({ description: "Order on this machine's timeline." }),
  at: Time,
  machineId: Id,
  bootId: Type.Optional(Id),
  stage: Stage,
  level: Level,
  message: Type.String({ maxLength: 400, description: "Plain words." }),
  detail: Type.Optional(Type.Record(Type.String(), Type.Union([Type.String(), Type.Number()]))),
});
export type TimelineEvent = Static<typeof TimelineEvent>;

export const Explanation = object({
  summary: Type.String({ description: "One sentence: where it stands and why." }),
  findings: Type.Array(object({ level: Level, what: Type.String(), evidence: Type.String(), todo: Type.String() })),
});
export type Explanation = Static<typeof Explanation>;

const MachineParams = object({
  id: Type.String({ maxLength: 64, pattern: "^[a-zA-Z0-9][a-zA-Z0-9._:-]*$", description: "Id, name or MAC." }),
});
export const listMachines = endpoint({
  id: "listMachines",
  method: "GET",
  path: "/v1/machines",
  summary: "List machines",
  permission: "machine:read",
  query: object({ ...PageQuery, state: Type.Optional(MachineState) }),
  reply: listOf(Machine),
});
export const getMachine = endpoint({
  id: "getMachine",
  method: "GET",
  path: "/v1/machines/:id",
  summary: "Show a machine, by id, name or MAC",
  permission: "machine:read",
  params: MachineParams,
  reply: Machine,
});
export const updateMachine = endpoint({
  id: "updateMachine",
  method: "PATCH",
  path: "/v1/machines/:id",
  summary: "Change a machine's name, profile, tags or next boot",
  permission: "machine:write",
  conditional: true,
  params: MachineParams,
  body: object({
    name: Type.Optional(Name),
    profile: Type.Optional(Name),
    target: Type.Optional(MachineTarget),
    tags: Type.Optional(TagChanges),
  }),
  reply: Machine,
});
export const approveMachine = endpoint({
  id: "approveMachine",
  method: "POST",
  path: "/v1/machines/:id/approve",
  summary: "Let a discovered machine boot and join",
  permission: "machine:write",
  conditional: true,
  params: MachineParams,
  body: object({ name: Type.Optional(Name), profile: Type.Optional(Name) }),
  reply: Machine,
});
export const deleteMachine = endpoint({
  id: "deleteMachine",
  method: "DELETE",
  path: "/v1/machines/:id",
  summary: "Forget a machine; it is discovered anew at its next boot",
  permission: "machine:write",
  conditional: true,
  params: MachineParams,
  reply: Nothing,
});
export const machineTimeline = endpoint({
  id: "machineTimeline",
  method: "GET",
  path: "/v1/machines/:id/timeline",
  summary: "What happened to a machine, step by step",
  permission: "machine:read",
  params: MachineParams,
  query: object({ bootId: Type.Optional(Id) }),
  reply: object({ items: Type.Array(TimelineEvent) }),
  item: TimelineEvent,
});
export const explainMachine = endpoint({
  id: "explainMachine",
  method: "GET",
  path: "/v1/machines/:id/explain",
  summary: "Where a machine stands and why, in plain words",
  permission: "machine:read",
  params: MachineParams,
  reply: Explanation,
});
