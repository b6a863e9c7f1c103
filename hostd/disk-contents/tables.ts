// Partition tables: GPT (UEFI 2.10, 5.3) at the front or, where that is gone, its copy at the end; MBR. Entries that do not fit the
// disk are counted, and nothing is looked for in them.
import { type Reader, u64 } from "./reader.ts";

export interface Partition {
  at: number;
  sizeBytes: number;
  name: string;
}
export interface Table {
  /** `a GPT`, `an MBR`. */
  kind: string;
  partitions: Partition[];
}

const ENTRIES_MOST = 128;

export async function partitionTable(from: Reader): Promise<Table | undefined> {
  for (const sector of [512, 4096]) {
    const front = await gptAt(from, sector, sector);
    if (front !== undefined) return { kind: "a GPT", partitions: front };
  }
  for (const sector of [512, 4096]) {
    const back = await gptAt(from, Math.floor(from.sizeBytes / sector) * sector - sector, sector);
    if (back !== undefined) return { kind: "a GPT of which only the copy at the end is left", partitions: back };
  }
  return mbr(from);
}

async function gptAt(from: Reader, at: number, sector: number): Promise<Partition[] | undefined> {
  if (at < 0) return undefined;
  const header = await from.read(at, 92);
  if (header.length < 92 || header.toString("latin1", 0, 8) !== "EFI PART") return undefined;
  const [lba, count, entry] = [u64(header, 72), header.readUInt32LE(80), header.readUInt32LE(84)];
  if (entry < 128 || entry > 4096 || lba * sector >= from.sizeBytes) return [];
  const entries = await from.read(lba * sector, Math.min(count, ENTRIES_MOST) * entry);
  const partitions: Partition[] = [];
  for (let one = 0; one + 128 <= entries.length; one += entry) {
    if (entries.subarray(one, one + 16).every((byte) => byte === 0)) continue;
    const [first, last] = [u64(entries, one + 32), u64(entries, one + 40)];
    const name = entries.toString("utf16le", one + 56, one + 128).split("\0")[0]!;
    partitions.push({
      ...bounded(from, first * sector, (last + 1 - first) * sector),
      name: name.replaceAll(/[^\x20-\x7e]/g, "?"),
    });
  }
  return partitions;
}

/** Boot sectors of file systems end alike: all four entries must look like some. */
async function mbr(from: Reader): Promise<Table | undefined> {
  const sector = await from.read(0, 512);
  if (sector.length < 512 || sector.readUInt16BE(510) !== 0x55aa) return undefined;
  const rows = [0, 1, 2, 3].map((n) => sector.subarray(446 + n * 16, 462 + n * 16));
  if (rows.some((row) => row[0] !== 0 && row[0] !== 0x80)) return undefined;
  const used = rows.filter((row) => row[4] !== 0 && row.readUInt32LE(12) > 0);
  const partitions = used.map((row) => ({
    ...bounded(from, row.readUInt32LE(8) * 512, row.readUInt32LE(12) * 512),
    name: "",
  }));
  if (used.length === 1 && used[0]![4] === 0xee) return { kind: "what is left of a GPT", partitions: [] };
  return used.length > 0 ? { kind: "an MBR", partitions } : undefined;
}

function bounded(from: Reader, at: number, sizeBytes: number): Pick<Partition, "at" | "sizeBytes"> {
  const fits = Number.isSafeInteger(at) && at > 0 && sizeBytes > 0 && at + sizeBytes <= from.sizeBytes;
  return { at, sizeBytes: fits ? sizeBytes : 0 };
}
