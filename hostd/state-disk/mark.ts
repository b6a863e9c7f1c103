// The mark on a disk that we take: one sector, the disk's first, which ext4 leaves alone and every partitioner and mkfs but ours
// overwrites. It is the first thing written and says whose the disk is, so that what was begun is finished and nothing else is adopted.
//
// Layout (512 bytes): magic 32 · version u32 · state u32 · cluster 32 · machine id 64 · machine name 64 · file system UUID 16 ·
// size u64 · order id 64 · zeros · sha256 of all before 32 · second magic 32. Texts end in NULs, numbers are little endian.
import { createHash, createPublicKey, X509Certificate } from "node:crypto";

export const MARK_BYTES = 512;

export interface DiskOwner {
  /** sha256 (hex) of the cluster CA's public key. */
  cluster: string;
  machineId: string;
  machineName: string;
}

export interface Mark extends DiskOwner {
  /**
   * erasing: a person gave it, what it held goes. formatting: all zero but for what we write. ready: a state disk. wiping: it is
   * erased to be given away, and never taken. dividing: it is to be installed to (hostd/install), and has no whole table yet.
   */
  state: "erasing" | "formatting" | "ready" | "wiping" | "dividing";
  /** UUID of the ext4 that belongs to it. */
  fileSystem: string;
  sizeBytes: number;
  /** The order to wipe that gave it to us, or by which it is wiped; empty when it was found empty. */
  orderId: string;
}

const STATES = ["erasing", "formatting", "ready", "wiping", "dividing"] as const;
const HEAD = Buffer.from("FLYNN STATE DISK\n\x1a\x9d\xe4\x07\xb8\x5c\xf1\x2e\xa3\x66\xd9\x14\xcb\x70\x0f", "latin1");
const TAIL = createHash("sha256").update(HEAD).digest();
const CHECKED_BYTES = MARK_BYTES - 64;
const VERSION = 1;

/** Whose disks are ours: from what the seed says. The CA's key, not its certificate, which may be issued anew. */
export function diskOwner(seed: { caPem: string; machineId?: string | undefined; hostname: string }): DiskOwner {
  const key = createPublicKey(new X509Certificate(seed.caPem).publicKey.export({ type: "spki", format: "pem" }));
  return {
    cluster: sha256(key.export({ type: "spki", format: "der" })).toString("hex"),
    machineId: seed.machineId ?? seed.hostname,
    machineName: seed.hostname,
  };
}

/** Always the same for the same disk in the same machine, so that a format that was cut off can be known again to the byte. */
export function fileSystemOf(owner: DiskOwner, disk: { serial?: string; wwn?: string; sizeBytes: number }): string {
  const names = [owner.cluster, owner.machineId, disk.serial ?? "", disk.wwn ?? "", disk.sizeBytes];
  const hash = sha256(JSON.stringify(names));
  hash[6] = (hash[6]! & 0x0f) | 0x80; // RFC 9562 5.8: version 8
  hash[8] = (hash[8]! & 0x3f) | 0x80;
  const hex = hash.toString("hex");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20, 32)].join("-");
}

export function encodeMark(mark: Mark): Buffer {
  const sector = Buffer.alloc(MARK_BYTES);
  HEAD.copy(sector, 0);
  sector.writeUInt32LE(VERSION, 32);
  sector.writeUInt32LE(STATES.indexOf(mark.state) + 1, 36);
  sector.write(mark.cluster, 40, 32, "hex");
  sector.write(mark.machineId, 72, 63, "utf8");
  sector.write(mark.machineName, 136, 63, "utf8");
  sector.write(mark.fileSystem.replaceAll("-", ""), 200, 16, "hex");
  sector.writeBigUInt64LE(BigInt(mark.sizeBytes), 216);
  sector.write(mark.orderId, 224, 63, "utf8");
  sha256(sector.subarray(0, CHECKED_BYTES)).copy(sector, CHECKED_BYTES);
  TAIL.copy(sector, MARK_BYTES - 32);
  return sector;
}

/** The mark in a disk's first sector; `damaged` when it is one of ours in part, undefined when it is none. */
export function decodeMark(sector: Buffer): Mark | "damaged" | undefined {
  const begins = sector.subarray(0, 32).equals(HEAD);
  const ends = sector.subarray(MARK_BYTES - 32, MARK_BYTES).equals(TAIL);
  if (!begins && !ends) return undefined;
  const sum = sha256(sector.subarray(0, CHECKED_BYTES));
  const state = STATES[sector.readUInt32LE(36) - 1];
  if (!begins || !ends || !sum.equals(sector.subarray(CHECKED_BYTES, CHECKED_BYTES + 32))) return "damaged";
  if (sector.readUInt32LE(32) !== VERSION || state === undefined) return "damaged";
  const uuid = sector.toString("hex", 200, 216);
  return {
    state,
    cluster: sector.toString("hex", 40, 72),
    machineId: text(sector.subarray(72, 136)),
    machineName: text(sector.subarray(136, 200)),
    fileSystem: uuid.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-"),
    sizeBytes: Number(sector.readBigUInt64LE(216)),
    orderId: text(sector.subarray(224, 288)),
  };
}

/**
 * Half of a mark of ours: each byte is zero or one of a mark that we may have been writing, and one of the two magics of 32
 * bytes is whole. So no other data can pass for it; a sector of which less arrived counts as data.
 */
export function isTornMark(sector: Buffer, possible: readonly Mark[]): boolean {
  if (decodeMark(sector) !== "damaged") return false;
  const marks = possible.map(encodeMark);
  return sector.subarray(0, MARK_BYTES).every((byte, at) => byte === 0 || marks.some((mark) => mark[at] === byte));
}

const sha256 = (content: Buffer | string): Buffer => createHash("sha256").update(content).digest();
const text = (field: Buffer): string => field.toString("utf8", 0, field.indexOf(0)).replaceAll(/[^\x20-\x7e]/g, "?");
