// Wipes as jobs: disks of one machine are erased by its host while it runs, with a proof of each. Beside it is the older order
// (disks.ts) by which a disk is erased at the next boot and taken for the host's state.
import { type Static, Type } from "typebox";
import { MachineDisk } from "./disks.ts";
import { endpoint } from "./endpoint.ts";
import { MachineOrder } from "./machine-orders.ts";
import { Id, IdParams, Name, Nothing, object, oneOf, Sha256, Time } from "./schema.ts";

export const WipeMethod = oneOf(
  ["auto", "zero", "discard", "secure"],
  "zero: zeros are written. discard: the disk is told to forget its blocks. secure: copies that the disk made included: by NVMe format or ATA security erase, else by a secure discard; refused where the disk has none. auto: NVMe format or discard where the disk has it, and zeros wherever it does not read as zero after that.",
);
export type WipeMethod = Static<typeof WipeMethod>;

export const WipeVerify = oneOf(
  ["all", "samples"],
  "How it is proven. all: every byte is read as zero. samples: 4 MiB at both ends and 64 samples of 1 MiB between.",
);
export type WipeVerify = Static<typeof WipeVerify>;

/** One disk that a host is to wipe, as its target says. */
export const WipeTask = object({
  orderId: Id,
  fingerprint: Sha256,
  path: MachineDisk.properties.path,
  serial: MachineDisk.properties.serial,
  wwn: MachineDisk.properties.wwn,
  sizeBytes: MachineDisk.properties.sizeBytes,
  method: WipeMethod,
  verify: WipeVerify,
  begun: Type.Boolean({ description: "Its host has reported that it began." }),
});
export type WipeTask = Static<typeof WipeTask>;

export const WipeProgress = oneOf(
  ["waiting", "running", "done", "failed"],
  "waiting: not begun. running: some of it is erased. done: proven. failed: `step` says why, and what is lost.",
);
export type WipeProgress = Static<typeof WipeProgress>;

/** What a host measured. */
export const WipeEvidence = object({
  did: Type.String({ maxLength: 200, description: "What was done to the disk, in plain words." }),
  bytesRead: Type.Integer({ minimum: 0, description: "Bytes that were read back, each of them zero." }),
  startedAt: Time,
  endedAt: Time,
  seconds: Type.Number({ minimum: 0 }),
});
export type WipeEvidence = Static<typeof WipeEvidence>;

export const WipeProof = object({
  ...WipeEvidence.properties,
  orderId: Id,
  orderedBy: Type.String({ maxLength: 128 }),
  machineId: Id,
  machine: Type.Unsafe<string>({ ...Name, description: "The machine's name when the order was given." }),
  path: MachineDisk.properties.path,
  model: MachineDisk.properties.model,
  serial: MachineDisk.properties.serial,
  wwn: MachineDisk.properties.wwn,
  sizeBytes: MachineDisk.properties.sizeBytes,
  held: Type.String({ maxLength: 300, description: "What was on it when it was given up." }),
  verify: WipeVerify,
  result: Type.String({ maxLength: 200, description: "In plain words, such as `all 8589934592 bytes read as zero`." }),
});
export type WipeProof = Static<typeof WipeProof>;

export const WipingDisk = object({
  fingerprint: Sha256,
  path: MachineDisk.properties.path,
  model: MachineDisk.properties.model,
  serial: MachineDisk.properties.serial,
  wwn: MachineDisk.properties.wwn,
  sizeBytes: MachineDisk.properties.sizeBytes,
  held: WipeProof.properties.held,
  state: WipeProgress,
  step: Type.String({ maxLength: 400, description: "What was last reported of it, in plain words." }),
  percent: Type.Integer({ minimum: 0, maximum: 100 }),
});
export type WipingDisk = Static<typeof WipingDisk>;

export const MachineWipe = object({
  machineId: Id,
  orderId: Type.Optional(
    Type.Unsafe<string>({ ...Id, description: "The order to wipe that was given last; absent before any." }),
  ),
  method: Type.Optional(WipeMethod),
  verify: Type.Optional(WipeVerify),
  disks: Type.Array(WipingDisk, { maxItems: 64, description: "Of that order." }),
  proofs: Type.Array(WipeProof, { maxItems: 64, description: "Of every disk that was wiped, the newest first." }),
});
export type MachineWipe = Static<typeof MachineWipe>;

const MachineParams = object({
  id: Type.String({ maxLength: 64, pattern: "^[a-zA-Z0-9][a-zA-Z0-9._:-]*$", description: "Id, name or MAC." }),
});

export const getMachineWipe = endpoint({
  id: "getMachineWipe",
  method: "GET",
  path: "/v1/machines/:id/wipes",
  summary: "Show how far the last order to wipe is, disk by disk, and the proofs of all that were wiped",
  permission: "machine:read",
  params: MachineParams,
  reply: MachineWipe,
});
export const startMachineWipe = endpoint({
  id: "startMachineWipe",
  method: "POST",
  idempotent: true,
  path: "/v1/machines/:id/wipes",
  location: "/v1/machines/:id/wipes",
  summary: "Order that disks be erased by the machine's host and read back; all that is on them is lost",
  permission: "machine:write",
  params: MachineParams,
  body: object({
    fingerprints: Type.Array(Sha256, {
      minItems: 1,
      maxItems: 64,
      description: "Of each disk, as `machine disks` shows it.",
    }),
    method: Type.Optional(WipeMethod),
    verify: Type.Optional(WipeVerify),
  }),
  reply: MachineOrder,
  status: 201,
});
export const reportHostWipe = endpoint({
  id: "reportHostWipe",
  method: "PUT",
  path: "/v1/hosts/:id/wipes",
  summary: "Report how far the wipe of one disk is, and its proof",
  permission: "agent",
  params: IdParams,
  body: object({
    orderId: Id,
    fingerprint: Sha256,
    state: WipeProgress,
    step: WipingDisk.properties.step,
    percent: WipingDisk.properties.percent,
    progress: Type.Optional(
      Type.String({ maxLength: 200, description: "How far and how fast, such as `3 GiB of 8 GiB, 200 MiB/s`." }),
    ),
    evidence: Type.Optional(WipeEvidence),
  }),
  reply: Nothing,
});
