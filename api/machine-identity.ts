// Who is this machine? Three kinds of knowledge, never mixed: what an asker says (claimed), what we saw ourselves (observed),
// what a person or the policy `auto` accepted (approved). `outcomeOf` is the one rule from each pair to what follows; the boot
// server answers by it, control records by it.
import { type Static, Type } from "typebox";
import { Ipv4, Mac, object, oneOf } from "./schema.ts";

export const Firmware = oneOf(["bios", "uefi", "uefi-http", "unknown"]);
export type Firmware = Static<typeof Firmware>;

/** What firmware says of a machine. */
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

/** What an asker says; hostile until it is held against the two others. */
export const Claimed = object({
  ...MachineIdentity.properties,
  whole: Type.Optional(
    Type.Boolean({
      description: "True when the asker could say everything (iPXE asks for its script): what it left out is missing.",
    }),
  ),
});
export type Claimed = Static<typeof Claimed>;

/** The boot images that a machine runs, by what its firmware calls its processor; undefined: it does not say. */
export function imageArchitecture(architecture: string | undefined): "amd64" | "arm64" | undefined {
  if (architecture === undefined) return undefined;
  return architecture === "arm64" || architecture === "aarch64" ? "arm64" : "amd64";
}

/** What the machine is, in words, when nothing here boots on it. What is not known speaks against nothing. */
export function unbootable({
  architecture,
  firmware,
  product,
}: Pick<MachineIdentity, "architecture" | "firmware" | "product">): string | undefined {
  const isUefi = firmware === "uefi" || firmware === "uefi-http";
  if (architecture === undefined || architecture === "x86_64") return undefined;
  if (architecture === "i386") return isUefi ? "32-bit x86 UEFI" : undefined;
  if (product === "Raspberry Pi") return product;
  if (architecture === "arm64") return isUefi || firmware === undefined ? undefined : "arm64 without UEFI";
  return `${architecture}${isUefi ? " UEFI" : ""}`;
}

export const BOOTS_ONLY = "this appliance boots x86-64, and arm64 with UEFI";

/** What to do about it. */
export const unbootableTodo = (what: string): string =>
  what === "32-bit x86 UEFI"
    ? "set it to 64-bit UEFI or to legacy BIOS in its setup, if it has one of them; else use another machine"
    : "use an x86-64 machine, or an arm64 one with UEFI; this one can be rejected, so that it goes on with its own boot order: flynn machine reject";

/** What a boot server saw itself of the same request; empty when it saw nothing (a DHCP packet proves no card). */
export const Observed = object({
  card: Type.Optional(
    Type.Unsafe<string>({
      ...Mac,
      description: "Network card that the boot interface's neighbour table has for the source address.",
    }),
  ),
  relay: Type.Optional(
    Type.Unsafe<string>({
      ...Ipv4,
      description:
        "Configured DHCP relay that carried a packet of the claimed card, from which that card has the source address.",
    }),
  ),
  address: Type.Optional(Type.Unsafe<string>({ ...Ipv4, description: "Source address of the request." })),
});
export type Observed = Static<typeof Observed>;

/** What was accepted: a machine is its cards; SMBIOS values as they were then, absent when they were not known. */
export interface Approved {
  id: string;
  macs: readonly string[];
  uuid?: string | undefined;
  serial?: string | undefined;
  /** A person refused it. */
  rejected?: boolean | undefined;
}

/** What is approved that the claim could be about: by its card, and by UUID together with serial. */
export interface Known {
  ofCard?: Approved | undefined;
  ofSmbios?: Approved | undefined;
}

export type Outcome =
  /** Nothing is read, answered or noted. */
  | { kind: "dropped" }
  /** A bare "no"; the operator gets an event; nothing is learnt. */
  | { kind: "refused" }
  /** Waits for a person or `auto`, holds no secret. `twin`: it shows UUID and serial of this approved machine. */
  | { kind: "discovered"; twin?: string }
  /** A person said no. */
  | { kind: "rejected" }
  /** The right card in another body: waits for a person, and the approved machine stays as it is. */
  | { kind: "changed"; differs: string[] }
  | { kind: "boot" };

/** The table of identity, row by row from the strictest. `source`: jobs' and builds' addresses are no machines. */
export function outcomeOf(
  claimed: Claimed,
  observed: Observed,
  { ofCard, ofSmbios }: Known,
  source: "machine" | "job" = "machine",
): Outcome {
  if (source === "job") return { kind: "dropped" };
  if (observed.card === undefined ? observed.relay === undefined : observed.card !== claimed.mac)
    return { kind: "refused" };
  if (ofCard === undefined)
    return { kind: "discovered", ...(ofSmbios && !ofSmbios.rejected ? { twin: ofSmbios.id } : {}) };
  if (ofCard.rejected) return { kind: "rejected" };
  const differs = differences(ofCard, claimed);
  return differs.length > 0 ? { kind: "changed", differs } : { kind: "boot" };
}

/** In words, what of the SMBIOS values is not as approved. What was never known speaks against nothing. */
export function differences(approved: Pick<Approved, "uuid" | "serial">, claimed: Claimed): string[] {
  const differs: string[] = [];
  const compare = (name: string, was: string | undefined, is: string | undefined, same: boolean) => {
    if (was === undefined || same) return;
    if (is !== undefined) differs.push(`its ${name} is ${is}, not ${was}`);
    else if (claimed.whole) differs.push(`it shows no ${name}, and had ${was}`);
  };
  const { uuid, serial } = approved;
  compare("UUID", uuid, claimed.uuid, uuid !== undefined && claimed.uuid !== undefined && sameUuid(uuid, claimed.uuid));
  compare("serial", serial, claimed.serial, serial === claimed.serial);
  return differs;
}

/** UUID and serial together are a machine's body; a UUID alone is often a duplicate, a filler serial is nobody's. */
export function sameBody(a: Pick<Approved, "uuid" | "serial">, b: Pick<Approved, "uuid" | "serial">): boolean {
  if (a.uuid === undefined || b.uuid === undefined || !tellsApart(a.serial)) return false;
  return a.serial === b.serial && sameUuid(a.uuid, b.uuid);
}

/** Firmware and iPXE do not agree on the byte order of a UUID's first fields: both orders are the same machine. */
export function sameUuid(a: string, b: string): boolean {
  return a === b || a === swapped(b);
}

function swapped(uuid: string): string {
  const [a, b, c, ...rest] = uuid.split("-") as [string, string, string, string, string];
  return [...[a, b, c].map((field) => field.match(/../g)!.reverse().join("")), ...rest].join("-");
}

/** Serial numbers that makers left in by the thousand tell machines apart as little as none. */
const JUNK_SERIAL =
  /^(none|n\/?a|unknown|default([ -]?string)?|system[ -]?serial[ -]?number|serial([ -]?number)?|to[ -]be[ -]filled.*|o\.?e\.?m\.?|not[ -](specified|applicable|available|settable).*|chassis.*|0?123456789.*)$/i;
const ONE_CHARACTER = /^(.)\1*$/;

export function tellsApart(serial: string | undefined): serial is string {
  return serial !== undefined && serial.length >= 4 && !JUNK_SERIAL.test(serial) && !ONE_CHARACTER.test(serial);
}
