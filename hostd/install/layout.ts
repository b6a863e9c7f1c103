// How an installed disk is divided: pure. GPT with an EFI system partition, two slots for boot images, the rest for the state, and
// before them all a place for the core of GRUB that a BIOS starts.
import { createHash } from "node:crypto";
import { formatSize } from "#lib/units.ts";
import type { DiskOwner } from "../state-disk/mark.ts";
import type { Slot } from "./slots.ts";

const MIB = 1 << 20;
const ESP_BYTES = 64 * MIB;
/** Room of a slot beside its image: later images are larger. */
const SLOT_LEAST_BYTES = 1024 * MIB;
const STATE_LEAST_BYTES = 1024 * MIB;
const END_BYTES = MIB;
/** Behind the partition table, up to the first whole MiB. */
const BIOS = { at: 64 << 10, sizeBytes: MIB - (64 << 10) };

export type PartType = "efi" | "linux" | "bios";
export interface Part {
  name: string;
  type: PartType;
  /** As the kernel counts them. */
  number: number;
  at: number;
  sizeBytes: number;
  uuid: string;
}
export interface Layout {
  esp: Part;
  slots: Record<Slot, Part>;
  state: Part;
  bios: Part;
}

const PARTS: readonly { name: string; type: PartType }[] = [
  // The first: GRUB's core looks for its configuration there (images/host/boot-files.ts).
  { name: "FLYNN-ESP", type: "efi" },
  { name: "FLYNN-A", type: "linux" },
  { name: "FLYNN-B", type: "linux" },
  { name: "FLYNN-STATE", type: "linux" },
  { name: "FLYNN-BIOS", type: "bios" },
];

export const partsOf = ({ esp, slots, state, bios }: Layout): Part[] => [esp, slots.a, slots.b, state, bios];

/** Of this disk in this machine of this cluster: what is on it is named after it, the same each time, and known by it. */
export const diskIdOf = (
  owner: DiskOwner,
  { serial = "", wwn = "", sizeBytes }: { serial?: string; wwn?: string; sizeBytes: number },
): string => JSON.stringify([owner.cluster, owner.machineId, serial, wwn, sizeBytes]);

/** `imageBytes`: all files of an image of today. */
export function layoutOf({
  sizeBytes,
  imageBytes,
  diskId,
}: {
  sizeBytes: number;
  imageBytes: number;
  diskId: string;
}): Layout {
  const slotBytes = Math.max(SLOT_LEAST_BYTES, Math.ceil((2 * imageBytes) / MIB) * MIB);
  const least = MIB + ESP_BYTES + 2 * slotBytes + STATE_LEAST_BYTES + END_BYTES;
  if (sizeBytes < least)
    throw new Error(`a disk of ${formatSize(sizeBytes)} is too small to install to; ${formatSize(least)} are needed`);
  const sizes = [ESP_BYTES, slotBytes, slotBytes, Math.floor((sizeBytes - least + STATE_LEAST_BYTES) / MIB) * MIB];
  let at = MIB;
  const places = sizes.map((size) => {
    const place = { at, sizeBytes: size };
    at += size;
    return place;
  });
  return named([...places, BIOS], diskId);
}

/** Of a disk that was installed before, perhaps for an image of another size; undefined when it is none. */
export function layoutFrom(
  partitions: readonly { at: number; sizeBytes: number; name: string }[],
  diskId: string,
): Layout | undefined {
  const isOurs = partitions.length === PARTS.length && PARTS.every(({ name }, n) => partitions[n]!.name === name);
  return isOurs && partitions.every(({ sizeBytes }) => sizeBytes > 0) ? named(partitions, diskId) : undefined;
}

function named(places: readonly { at: number; sizeBytes: number }[], diskId: string): Layout {
  const [esp, a, b, state, bios] = PARTS.map(({ name, type }, n): Part => {
    const { at, sizeBytes } = places[n]!;
    return { name, type, number: n + 1, at, sizeBytes, uuid: uuidOf(`${diskId} ${name}`) };
  });
  return { esp: esp!, slots: { a: a!, b: b! }, state: state!, bios: bios! };
}

/** RFC 9562 5.8. */
export function uuidOf(text: string): string {
  const hash = createHash("sha256").update(text).digest();
  hash[6] = (hash[6]! & 0x0f) | 0x80;
  hash[8] = (hash[8]! & 0x3f) | 0x80;
  const hex = hash.toString("hex");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20, 32)].join("-");
}
