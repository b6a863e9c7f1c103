// Bytes of a disk, of a partition of it, or of an image, as the recognisers of what is on it read them: what lies beyond the end, or
// cannot be read, reads as nothing.
import { formatSize } from "#lib/units.ts";

export interface Reader {
  sizeBytes: number;
  /** As many bytes as there are; less than asked for at the end. */
  read(at: number, length: number): Promise<Buffer>;
}

/** Tells in words what it knows, or undefined. */
export type Recogniser = (from: Reader) => Promise<string | undefined>;

/** A part of it, as if it were all. */
export function within(from: Reader, at: number, sizeBytes: number): Reader {
  return {
    sizeBytes,
    read: (begin, length) =>
      begin < 0 || begin >= sizeBytes
        ? Promise.resolve(Buffer.alloc(0))
        : from.read(at + begin, Math.min(length, sizeBytes - begin)),
  };
}

const TEXT_MOST = 64;

/** A text that a stranger wrote on a disk: up to its NUL, printable, short. */
export function text(field: Buffer): string {
  const end = field.indexOf(0);
  const whole = field.toString("utf8", 0, end < 0 ? field.length : end);
  return whole
    .replaceAll(/[^\p{L}\p{N}\p{P}\p{S} ]/gu, "?")
    .trim()
    .slice(0, TEXT_MOST);
}

export const labelled = (label: string): string => (label === "" ? "" : ` labelled ${label}`);

/** `12 GiB used of 100 GiB`; nothing where the numbers cannot be so. */
export function usedOf(usedBytes: number, ofBytes: number): string {
  const sane = Number.isFinite(usedBytes) && Number.isFinite(ofBytes) && usedBytes >= 0 && usedBytes <= ofBytes;
  return sane && ofBytes > 0 ? `, ${formatSize(usedBytes)} used of ${formatSize(ofBytes)}` : "";
}

export const u64 = (bytes: Buffer, at: number): number => Number(bytes.readBigUInt64LE(at));
export const u64be = (bytes: Buffer, at: number): number => Number(bytes.readBigUInt64BE(at));
