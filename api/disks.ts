// A machine's disks as its host saw them at its last boot, and the one order by which a person gives one of them up.
import { type Static, Type } from "typebox";
import { endpoint } from "./endpoint.ts";
import { Id, IdParams, Nothing, object, oneOf, Sha256, Time } from "./schema.ts";

export const DiskMedia = oneOf(["ssd", "hdd"], "As the kernel says; of a virtual disk that is anything.");
export type DiskMedia = Static<typeof DiskMedia>;

/** How a host stands to a disk, whatever its policy: what a policy may do with it follows. */
export const DiskStanding = oneOf(
  ["ours", "begun", "open", "full", "unfit"],
  "ours: this host's state disk. begun: it was to become that, and a power cut came between. open: nothing is seen on it, so it is worth reading to its last byte. full: something is on it; it is left alone. unfit: in use, removable, read-only or no disk.",
);
export type DiskStanding = Static<typeof DiskStanding>;

const DiskText = (maxLength: number, description: string) => Type.String({ maxLength, description });

export const MachineDisk = object({
  path: DiskText(128, "As the kernel named it in that boot, such as /dev/sda; another boot may name it otherwise."),
  model: Type.Optional(DiskText(128, "As the disk says.")),
  serial: Type.Optional(DiskText(128, "Serial number.")),
  wwn: Type.Optional(DiskText(128, "World Wide Name.")),
  sizeBytes: Type.Integer({ minimum: 0 }),
  links: Type.Optional(
    Type.Array(Type.String({ maxLength: 256 }), { maxItems: 32, description: "Its other names, below /dev/disk." }),
  ),
  transport: Type.Optional(DiskText(16, "How it is attached, as the kernel says: nvme, sata, sas, virtio, usb.")),
  media: Type.Optional(DiskMedia),
  holds: DiskText(300, "What is on it, in plain words."),
  contents: Type.Optional(
    Type.Array(Type.String({ maxLength: 300 }), {
      maxItems: 32,
      description:
        "What would be lost by a wipe, as far as superblocks tell without mounting anything: file systems with their labels and use, partition tables, members of arrays.",
    }),
  ),
  standing: Type.Optional(DiskStanding),
  canWipe: Type.Boolean({ description: "False: it is in use, removable, read-only or no disk." }),
  fingerprint: Type.Unsafe<string>({
    ...Sha256,
    description:
      "sha256 over model, serial, WWN, size, first and last MiB (of a Flynn disk: its mark). Another content is another fingerprint.",
  }),
});
export type MachineDisk = Static<typeof MachineDisk>;

/** Good for one disk of one machine with that content, and for one boot. */
export const WipeOrder = object({
  id: Id,
  fingerprint: Sha256,
  path: MachineDisk.properties.path,
  serial: MachineDisk.properties.serial,
  wwn: MachineDisk.properties.wwn,
  sizeBytes: MachineDisk.properties.sizeBytes,
  orderedAt: Time,
  orderedBy: DiskText(128, "Who gave the disk up."),
});
export type WipeOrder = Static<typeof WipeOrder>;

export const GivenUp = Type.Array(Sha256, {
  maxItems: 64,
  description: "Fingerprints of disks that an order to wipe names: the boot leaves them alone, for its host to wipe.",
});

export const WipeOutcome = object({
  orderId: Id,
  did: oneOf(["begun", "refused"], "begun: all that was on the disk is erased. refused: nothing was written."),
  reason: DiskText(400, "In plain words."),
});
export type WipeOutcome = Static<typeof WipeOutcome>;

export const DiskPlan = object({
  policy: DiskText(63, "The policy's name."),
  summary: DiskText(400, "Which disk would keep the state at the next boot, or why none; in plain words."),
  disks: Type.Array(
    object({
      path: DiskText(128, "As in `disks`."),
      will: oneOf(
        ["use", "finish", "take", "leave"],
        "use: its state is on it already. finish: what was begun on it. take: read to its last byte first, and taken only if every byte is zero. leave: not a byte is written.",
      ),
      why: DiskText(400, "In plain words."),
    }),
    { maxItems: 64 },
  ),
});
export type DiskPlan = Static<typeof DiskPlan>;

export const MachineDisks = object({
  machineId: Id,
  disks: Type.Array(MachineDisk, { maxItems: 64 }),
  seenAt: Type.Optional(
    Type.Unsafe<string>({ ...Time, description: "Absent: no host of this machine has reported disks yet." }),
  ),
  plan: Type.Optional(
    Type.Unsafe<Static<typeof DiskPlan>>({ ...DiskPlan, description: "What its profile's disk policy would do." }),
  ),
  order: Type.Optional(WipeOrder),
  last: Type.Optional(WipeOutcome),
});
export type MachineDisks = Static<typeof MachineDisks>;

const MachineParams = object({
  id: Type.String({ maxLength: 64, pattern: "^[a-zA-Z0-9][a-zA-Z0-9._:-]*$", description: "Id, name or MAC." }),
});

export const getMachineDisks = endpoint({
  id: "getMachineDisks",
  method: "GET",
  path: "/v1/machines/:id/disks",
  summary: "Show a machine's disks, what is on them, and the order to wipe one",
  permission: "machine:read",
  params: MachineParams,
  reply: MachineDisks,
});
export const wipeMachineDisk = endpoint({
  id: "wipeMachineDisk",
  method: "POST",
  idempotent: true,
  path: "/v1/machines/:id/wipe",
  location: "/v1/machines/:id/disks",
  summary: "Order that a disk be erased and taken at the machine's next boot; all that is on it is lost",
  permission: "machine:write",
  params: MachineParams,
  body: object({ fingerprint: Sha256 }),
  reply: WipeOrder,
  status: 201,
});
export const cancelMachineWipe = endpoint({
  id: "cancelMachineWipe",
  method: "DELETE",
  path: "/v1/machines/:id/wipe",
  summary: "Take back an order to wipe that has not begun",
  permission: "machine:write",
  params: MachineParams,
  reply: Nothing,
});
export const reportHostDisks = endpoint({
  id: "reportHostDisks",
  method: "PUT",
  path: "/v1/hosts/:id/disks",
  summary: "Report the machine's disks once a boot, and what became of an order to wipe one",
  permission: "agent",
  params: IdParams,
  body: object({ disks: MachineDisks.properties.disks, wipe: Type.Optional(WipeOutcome) }),
  reply: Nothing,
});
