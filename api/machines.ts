// Machines: metal (or a VM) as the boot server sees it, before and while it is a host. Its state moves only on evidence.
import { type Static, Type } from "typebox";
import { endpoint } from "./endpoint.ts";
import { MachineIdentity, Observed } from "./machine-identity.ts";
import { Id, listOf, Mac, Name, Nothing, object, oneOf, PageQuery, TagChanges, Tags, Time } from "./schema.ts";

export const MachineState = oneOf(
  ["discovered", "approved", "booting", "ready", "lost", "off", "failed", "rescue", "erasing", "rejected"],
  "discovered: seen, waits for approval. approved: may boot. booting: a boot was seen, no agent yet. ready: its agent reports. lost: its agent fell silent. off: switched off by an order. failed: too many boots in a row ended before `ready`; the reason says where. rescue: runs the rescue shell. erasing: an order to wipe is being carried out. rejected: a person said no; it gets no boot file.",
);
export type MachineState = Static<typeof MachineState>;

export const MachineTarget = oneOf(["wait", "boot", "local-disk", "rescue"], "What its next network boot is given.");
/** What waits for a person. The machine, its host and what was approved stay as they are meanwhile. */
export const Pending = object({
  kind: oneOf(
    ["new-card", "changed", "two-sessions"],
    "new-card: shows UUID and serial of `machineId` on a card nobody approved. changed: a known card with other SMBIOS values. two-sessions: its host reports while another boot asks to join in its name.",
  ),
  at: Time,
  reason: Type.String({ description: "Plain words, with what to run." }),
  machineId: Type.Optional(Id),
  claimed: Type.Optional(MachineIdentity),
  claim: Type.Optional(
    Type.String({ description: "Fingerprint of what waits; a decision names it, so that it answers what was read." }),
  ),
  words: Type.Optional(
    Type.String({
      maxLength: 80,
      description: "Six words of the card, UUID and serial that wait; its console shows them.",
    }),
  ),
});
export type Pending = Static<typeof Pending>;

export const CheckWords = object({
  words: Type.String({
    maxLength: 80,
    pattern: "^[a-z]+( [a-z]+){5}$",
    description: "Six words; the machine's console shows them too while it waits.",
  }),
  by: oneOf(
    ["key", "claim"],
    "key: of a key that the machine's agent made in this boot and signed its inventory with. claim: of card, UUID and serial alone, which another machine can say too.",
  ),
  claim: Type.String({ pattern: "^[0-9a-f]{16}$", description: "The same as a fingerprint; a decision may name it." }),
  at: Time,
});
export type CheckWords = Static<typeof CheckWords>;

export const Machine = object({
  id: Id,
  name: Name,
  state: MachineState,
  reason: Type.String({ description: "Why it is in this state, in plain words; empty when there is nothing to say." }),
  identity: Type.Unsafe<MachineIdentity>({
    ...MachineIdentity,
    description: "Until approval what it last said of itself; from then on what was approved.",
  }),
  macs: Type.Array(Mac, { description: "Its approved network cards; before approval the one it was seen with." }),
  claimed: Type.Optional(
    Type.Unsafe<MachineIdentity>({ ...MachineIdentity, description: "What it said of itself at its last boot." }),
  ),
  observed: Type.Optional(
    Type.Unsafe<Observed>({ ...Observed, description: "What the boot server saw itself when it last asked." }),
  ),
  pending: Type.Optional(Pending),
  check: Type.Optional(
    Type.Unsafe<CheckWords>({
      ...CheckWords,
      description: "Of a machine that waits for approval: six words to compare with those on its console.",
    }),
  ),
  refusedClaim: Type.Optional(
    Type.Unsafe<MachineIdentity>({ ...MachineIdentity, description: "The change that a person refused last." }),
  ),
  power: Type.Optional(
    object({ state: oneOf(["on", "off", "unknown"]), at: Time }, "What its BMC said last, and when that was first so."),
  ),
  target: MachineTarget,
  profile: Name,
  tags: Tags,
  hostId: Type.Optional(Id),
  imageId: Type.Optional(Id),
  bootId: Type.Optional(Id),
  joinedBootId: Type.Optional(
    Type.Unsafe<string>({ ...Id, description: "The boot whose grant was used last; its token is used up." }),
  ),
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
  "inventory",
  "order",
  "power",
  "wipe",
  "install",
  "fallback",
  "rescue",
  "rollout",
  "job-placed",
  "job-up",
  "route-live",
  "first-response",
  "token-refused",
  "refused",
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
  findings: Type.Array(
    object({
      level: Level,
      rule: Type.Optional(Type.String({ description: "Which rule of the boot doctor says so, in one word." })),
      what: Type.String(),
      evidence: Type.String({ description: "The events that it follows from, in words." }),
      todo: Type.String(),
      events: Type.Optional(
        Type.Array(object({ seq: Type.Integer(), at: Time, stage: Stage, message: Type.String() }), {
          description: "The same events of its timeline.",
        }),
      ),
    }),
  ),
  facts: Type.Optional(
    Type.Array(Type.String(), { description: "What was learnt of its firmware, and its order, a sentence each." }),
  ),
});
export type Explanation = Static<typeof Explanation>;

/** What a decision answers: the `claim` of what waits. */
const claim = Type.Optional(
  Type.String({
    maxLength: 16,
    pattern: "^[0-9a-f]+$",
    description:
      "`claim` of what waits (`pending`, else `check`), as it was read. Needed when something is pending or an agent has signed its inventory, unless If-Match is given.",
  }),
);

/** What a decision on the machine names: the key's fingerprint of one whose agent has signed, else of what is pending, else of its claim. */
export function claimToDecide({
  approvedAt,
  check,
  pending,
}: Pick<Machine, "approvedAt" | "check" | "pending">): string | undefined {
  const waiting = approvedAt === undefined ? check : undefined;
  return waiting?.by === "key" ? waiting.claim : (pending?.claim ?? waiting?.claim);
}

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
  versioned: true,
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
  summary: "Let a discovered machine boot and join, or accept what changed of an approved one",
  permission: "machine:write",
  conditional: true,
  params: MachineParams,
  body: object({ name: Type.Optional(Name), profile: Type.Optional(Name), claim }),
  reply: Machine,
});
export const rejectMachine = endpoint({
  id: "rejectMachine",
  method: "POST",
  path: "/v1/machines/:id/reject",
  summary:
    "Refuse what waits for a person: a discovered machine, or the change of an approved one, which stays as it was",
  permission: "machine:write",
  conditional: true,
  params: MachineParams,
  body: object({
    claim,
    revoke: Type.Optional(
      Type.Boolean({ description: "Takes the approval back from a machine of which nothing waits." }),
    ),
  }),
  reply: Machine,
});
export const adoptMachine = endpoint({
  id: "adoptMachine",
  method: "POST",
  path: "/v1/machines/:id/adopt",
  summary: "Make the card of a discovered machine one more card of this approved machine",
  permission: "machine:write",
  conditional: true,
  params: MachineParams,
  body: object({
    card: Type.Unsafe<string>({
      ...MachineParams.properties.id,
      description: "The discovered machine, by id, name or MAC.",
    }),
    claim,
  }),
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
  query: object({
    bootId: Type.Optional(Id),
    ...PageQuery,
    limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000, default: 1000 })),
  }),
  reply: listOf(TimelineEvent),
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
