// What a person's word makes of a machine: approved, rejected, adopted. Only here does what was approved change. Pure.
import { Fault } from "#api/fault.ts";
import { claimToDecide } from "#api/machines.ts";
import type { MachineRecord } from "../records.ts";
import { sha256Hex } from "./principal.ts";

/** Names what waits for a person; other words of the machine have another one. */
export const claimOf = (...what: unknown[]): string => sha256Hex(JSON.stringify(what)).slice(0, 8);

/** A decision answers what was read: when something else waits by now, nothing is decided. */
export function refuseStale(machine: MachineRecord, claim: string | undefined): void {
  const { name, pending, check, approvedAt } = machine;
  const waiting = claimToDecide(machine);
  if (claim === waiting) return;
  const signed = approvedAt === undefined && check?.by === "key";
  // Card, UUID and serial alone name nobody for certain: a decision on them may leave them out.
  if (claim === undefined && pending === undefined && !signed) return;
  const shows =
    waiting === undefined
      ? "nothing of it waits for a decision"
      : `${pending?.reason ?? `its six words are ${check?.words}`} (claim ${waiting})`;
  throw new Fault(
    "conflict",
    claim === undefined
      ? `machine ${name} waits for a decision, which must name its claim: ${shows}`
      : `machine ${name}: it shows something else now: ${shows}; look again with: flynn machine show ${name}`,
  );
}

const CARDS_MOST = 32;

/** Approved; a change that waits is accepted: its SMBIOS values are the machine's from now on. */
export function approvedAfter(machine: MachineRecord, by: string, at: Date): Partial<MachineRecord> {
  const { state, identity, pending, claimed } = machine;
  const accepted = pending?.kind === "changed" ? pending.claimed! : { ...claimed, ...identity };
  const { uuid, serial } = accepted;
  const { uuid: _, serial: __, ...kept } = { ...identity, ...accepted, mac: identity.mac };
  return {
    target: "boot",
    state: state === "discovered" || state === "rejected" ? "approved" : state,
    reason: "",
    identity: { ...kept, ...(uuid ? { uuid } : {}), ...(serial ? { serial } : {}) },
    pending: undefined,
    approvedAt: machine.approvedAt ?? at.toISOString(),
    approvedBy: machine.approvedBy ?? by,
  };
}

/** What waits is refused. A change is put away and the machine stays as approved; anything else is a machine that may not boot. */
export function rejectedAfter(machine: MachineRecord): Partial<MachineRecord> {
  const { pending, approvedAt, name } = machine;
  if (approvedAt !== undefined && pending !== undefined)
    return { pending: undefined, ...(pending.claimed ? { refusedClaim: pending.claimed } : {}) };
  return {
    state: "rejected",
    reason: `rejected; \`flynn machine approve ${name}\` lets it boot after all`,
    target: "wait",
    pending: undefined,
    approvedAt: undefined,
    approvedBy: undefined,
  };
}

/** The machine with the cards of `stranger`, and its SMBIOS values where it showed some: a person says that this is the same machine. */
export function adoptedBy(machine: MachineRecord, stranger: MachineRecord): MachineRecord {
  if (machine.id === stranger.id) throw new Fault("invalid", `${machine.name} cannot adopt itself`);
  if (machine.approvedAt === undefined)
    throw new Fault("conflict", `machine ${machine.name} is not approved; only an approved machine takes a new card`);
  if (stranger.approvedAt !== undefined || stranger.hostId !== undefined)
    throw new Fault("conflict", `machine ${stranger.name} is approved itself; delete it first`);
  const macs = [...new Set([...machine.macs, ...stranger.macs])];
  if (macs.length > CARDS_MOST) throw new Fault("conflict", `machine ${machine.name} has ${CARDS_MOST} cards already`);
  const { uuid = machine.identity.uuid, serial = machine.identity.serial } = stranger.identity;
  return {
    ...machine,
    macs,
    identity: { ...machine.identity, ...(uuid ? { uuid } : {}), ...(serial ? { serial } : {}) },
  };
}
