// How an installed disk is divided: pure. GPT with an EFI system partition, two slots for boot images, and the rest for the state.
import { createHash } from "node:crypto";
import { formatSize } from "#lib/units.ts";
import type { Slot } from "./slots.ts";

const MIB = 1 << 20;
const ESP_BYTES = 64 * MIB;
/** Room of a slot beside its image: later images are larger. */
const SLOT_LEAST_BYTES = 1024 * MIB;
const STATE_LEAST_BYTES = 1024 * MIB;
const END_BYTES = MIB;
const NAMES = ["FLYNN-ESP", "FLYNN-A", "FLYNN-B", "FLYNN-STATE"];

export interface Part {
  name: string;
  type: "efi" | "linux";
  at: number;
  sizeBytes: number;
  uuid: string;
}
export interface Layout {
  esp: Part;
  slots: Record<Slot, Part>;
  state: Part;
}

/** `diskId`: of this disk in this machine; file systems and partitions are named after it, the same each time. */
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
  const parts = NAMES.map((name, n): Part => {
    const part: Part = {
      name,
      type: n === 0 ? "efi" : "linux",
      at,
      sizeBytes: sizes[n]!,
      uuid: uuidOf(`${diskId} ${name}`),
    };
    at += part.sizeBytes;
    return part;
  });
  return { esp: parts[0]!, slots: { a: parts[1]!, b: parts[2]! }, state: parts[3]! };
}

/** Of a disk that was installed before, perhaps for an image of another size; undefined when it is none. */
export function layoutFrom(
  partitions: readonly { at: number; sizeBytes: number; name: string }[],
  diskId: string,
): Layout | undefined {
  const [esp, a, b, state] = partitions.map(
    (part, n): Part => ({ ...part, type: n === 0 ? "efi" : "linux", uuid: uuidOf(`${diskId} ${part.name}`) }),
  );
  const isOurs = partitions.length === NAMES.length && NAMES.every((name, n) => partitions[n]!.name === name);
  return isOurs ? { esp: esp!, slots: { a: a!, b: b! }, state: state! } : undefined;
}

/** RFC 9562 5.8. */
export function uuidOf(text: string): string {
  const hash = createHash("sha256").update(text).digest();
  hash[6] = (hash[6]! & 0x0f) | 0x80;
  hash[8] = (hash[8]! & 0x3f) | 0x80;
  const hex = hash.toString("hex");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20, 32)].join("-");
}
