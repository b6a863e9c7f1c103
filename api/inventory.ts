// What a machine is made of, as its agent read it: before approval by an image that holds no secret (the report is signed with a key
// that lives in that boot's memory), afterwards by its host once a boot. All of it is what the machine says.
import { createPublicKey, verify } from "node:crypto";
import { type Static, type TProperties, Type } from "typebox";
import { endpoint } from "./endpoint.ts";
import { Fault } from "./fault.ts";
import { Observed } from "./machine-identity.ts";
import { CheckWords } from "./machines.ts";
import { Id, IdParams, Ipv4, Mac, Nothing, object, oneOf, Sha256, Time } from "./schema.ts";

/** Printable ASCII: the agent replaces what is not. */
const Text = (maxLength: number, description?: string) =>
  Type.String({ maxLength, pattern: "^[\\x20-\\x7e]*$", ...(description ? { description } : {}) });
const Count = (description?: string) =>
  Type.Integer({ minimum: 0, maximum: 2 ** 53 - 1, ...(description ? { description } : {}) });
const part = <P extends TProperties>(properties: P) => object(properties);
const some = <const T extends Parameters<typeof Type.Optional>[0]>(schema: T) => Type.Optional(schema);

export const InventoryCpu = part({
  model: Text(96),
  sockets: Count(),
  cores: Count("Physical cores of all sockets."),
  threads: Count("What the kernel runs on."),
  flags: Type.Array(Text(16), { maxItems: 16, description: "Those of virtualisation and fast cryptography." }),
});
export const InventoryDimm = part({
  slot: Text(48),
  sizeBytes: Count("0: the slot is empty."),
  kind: some(Text(24, "Such as DDR4.")),
  speedMts: some(Count("Megatransfers a second.")),
  manufacturer: some(Text(48)),
  part: some(Text(48)),
  serial: some(Text(48)),
});
export const InventoryMemory = part({
  totalBytes: Count("What the kernel has."),
  correction: some(Text(32, "As firmware says, such as Multi-bit ECC.")),
  correctedErrors: some(Count("Since this boot; absent where no memory controller counts.")),
  uncorrectedErrors: some(Count()),
  dimms: Type.Array(InventoryDimm, { maxItems: 64 }),
});
export const InventorySmart = part({
  healthy: Type.Boolean({ description: "The disk's own word." }),
  temperatureC: some(Type.Integer({ minimum: -100, maximum: 1_000 })),
  powerOnHours: some(Count()),
  wearPercent: some(Count("Of a solid disk's life that is used.")),
  reallocated: some(Count("Sectors replaced by spare ones.")),
  mediaErrors: some(Count()),
});
export const InventoryDisk = part({
  path: Text(64, "As the kernel named it in that boot."),
  model: some(Text(96)),
  serial: some(Text(96)),
  wwn: some(Text(96)),
  sizeBytes: Count(),
  rotational: some(Type.Boolean()),
  transport: some(Text(16)),
  removable: Type.Boolean(),
  holds: Text(200, "What is written on it, in plain words."),
  smart: some(InventorySmart),
});
export const InventoryNeighbour = part({
  system: some(Text(96, "The switch's name.")),
  chassis: some(Text(64)),
  port: some(Text(64)),
  portDescription: some(Text(96)),
  vlan: some(Count()),
});
export const InventoryNic = part({
  name: Text(32),
  mac: some(Mac),
  driver: some(Text(32)),
  firmware: some(Text(64)),
  carrier: Type.Boolean(),
  speedMbps: some(Count()),
  neighbour: some(InventoryNeighbour),
});
export const InventoryBmc = part({ mac: some(Mac), address: some(Ipv4), firmware: some(Text(32)) });
export const InventoryFirmware = part({
  mode: oneOf(["bios", "uefi"]),
  secureBoot: some(Type.Boolean()),
  vendor: some(Text(64)),
  version: some(Text(64)),
  date: some(Text(32)),
});
export const InventorySystem = part({
  manufacturer: some(Text(64)),
  product: some(Text(64)),
  board: some(Text(64)),
  boardSerial: some(Text(64)),
  chassisSerial: some(Text(64)),
  assetTag: some(Text(64)),
});
export const InventoryTpm = part({
  version: Text(16, "Such as 2.0."),
  id: some(
    Type.Unsafe<string>({ ...Sha256, description: "Of its attestation key's public area: another TPM has another." }),
  ),
});

export const InventoryReport = object({
  mac: Type.Unsafe<string>({ ...Mac, description: "The card it booted from." }),
  uuid: some(Type.String({ pattern: "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", description: "SMBIOS UUID." })),
  serial: some(Type.String({ maxLength: 64, pattern: "^[\\x21-\\x7e]+$", description: "SMBIOS serial number." })),
  system: InventorySystem,
  firmware: InventoryFirmware,
  cpu: InventoryCpu,
  memory: InventoryMemory,
  disks: Type.Array(InventoryDisk, { maxItems: 64 }),
  nics: Type.Array(InventoryNic, { maxItems: 32 }),
  bmc: some(InventoryBmc),
  tpm: some(InventoryTpm),
  virtualisation: some(Text(32, "What it runs in, such as kvm; absent for metal.")),
  unread: Type.Array(Text(160), { maxItems: 16, description: "What could not be read, and why." }),
});
export type InventoryReport = Static<typeof InventoryReport>;

export const MachineInventory = object({
  machineId: Id,
  takenBy: oneOf(
    ["waiting", "order", "host"],
    "waiting: its agent, before approval. order: its agent, in a boot that a person ordered for that. host: its host, at its last boot.",
  ),
  at: Time,
  check: Type.Optional(CheckWords),
  report: InventoryReport,
});
export type MachineInventory = Static<typeof MachineInventory>;

export const REPORT_MOST_BYTES = 48 * 1024;

/** What the agent of a machine that waits sends; the text is signed as it stands. */
export const SignedInventory = object({
  report: Type.String({ maxLength: REPORT_MOST_BYTES, description: "InventoryReport as JSON text." }),
  key: Type.String({
    maxLength: 128,
    pattern: "^[A-Za-z0-9+/]{40,120}={0,2}$",
    description: "Ed25519 public key (SPKI), base64.",
  }),
  signature: Type.String({
    maxLength: 96,
    pattern: "^[A-Za-z0-9+/]{86}==$",
    description: "Of the text, with that key, base64.",
  }),
});
export type SignedInventory = Static<typeof SignedInventory>;

export const getMachineInventory = endpoint({
  id: "getMachineInventory",
  method: "GET",
  path: "/v1/machines/:id/inventory",
  summary: "Show what a machine is made of, as it last said",
  permission: "machine:read",
  params: object({
    id: Type.String({ maxLength: 64, pattern: "^[a-zA-Z0-9][a-zA-Z0-9._:-]*$", description: "Id, name or MAC." }),
  }),
  reply: MachineInventory,
});
export const reportMachineInventory = endpoint({
  id: "reportMachineInventory",
  method: "PUT",
  path: "/v1/boot-servers/:id/inventory",
  summary: "Hand on what a machine says it is made of that waits for approval, or was asked once",
  permission: "boot",
  faults: ["not-found", "conflict"],
  params: IdParams,
  body: object({
    ...SignedInventory.properties,
    mac: Type.Unsafe<string>({ ...Mac, description: "The card whose boot it is." }),
    observed: Observed,
    at: Time,
    ordered: Type.Optional(Type.Literal(true, { description: "Of an approved machine, as a boot-once order asked." })),
  }),
  reply: object({ machineId: Id }),
});
export const reportHostInventory = endpoint({
  id: "reportHostInventory",
  method: "PUT",
  path: "/v1/hosts/:id/inventory",
  summary: "Report what the host's machine is made of, once a boot",
  permission: "agent",
  params: IdParams,
  body: object({ report: InventoryReport }),
  reply: Nothing,
});

/** The report, unjudged but for its signature and the card it speaks for; else a Fault `invalid`. */
export function signedReport({ report, key, signature }: SignedInventory, mac: string): InventoryReport {
  const refuse = (what: string) => new Fault("invalid", `the inventory ${what}`);
  let good = false;
  try {
    const spki = createPublicKey({ key: Buffer.from(key, "base64"), format: "der", type: "spki" });
    good =
      spki.asymmetricKeyType === "ed25519" && verify(null, Buffer.from(report), spki, Buffer.from(signature, "base64"));
  } catch {
    good = false;
  }
  if (!good) throw refuse("is not signed by the key that comes with it");
  let said: unknown;
  try {
    said = JSON.parse(report);
  } catch {
    throw refuse("is not JSON");
  }
  if (typeof said !== "object" || said === null || (said as InventoryReport).mac !== mac)
    throw refuse("is of another card than the boot it belongs to");
  return said as InventoryReport;
}
