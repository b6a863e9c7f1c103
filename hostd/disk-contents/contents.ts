// What is on a disk, in words, as far as superblocks tell: for people who are about to lose it. It permits nothing: whether a disk is
// empty is decided by reading every byte of it, and what is not known here is data all the same.
import { open } from "node:fs/promises";
import { formatSize } from "#lib/units.ts";
import { FILE_SYSTEMS } from "./file-systems.ts";
import { MEMBERS } from "./members.ts";
import { type Reader, type Recogniser, within } from "./reader.ts";
import { type Partition, partitionTable } from "./tables.ts";

const WORDS_MOST = 32;
const LETTERS_MOST = 300;

/** One line for each thing found: those of the whole disk first, then the partitions in their order. */
export async function contentsOf(from: Reader): Promise<string[]> {
  const whole = await recognised(from, [...MEMBERS, ...FILE_SYSTEMS]);
  const table = await partitionTable(from);
  const words = [...whole];
  if (table !== undefined) {
    const { kind, partitions } = table;
    words.push(
      `${kind} with ${partitions.length === 0 ? "no partition" : partitions.length === 1 ? "1 partition" : `${partitions.length} partitions`}`,
    );
    for (const [n, partition] of partitions.entries()) words.push(await partitionWords(from, partition, n + 1));
  }
  return words.slice(0, WORDS_MOST).map((line) => line.slice(0, LETTERS_MOST));
}

async function partitionWords(from: Reader, { at, sizeBytes, name }: Partition, number: number): Promise<string> {
  const called = `partition ${number}${name === "" ? "" : ` "${name}"`}`;
  if (sizeBytes === 0) return `${called}, which does not fit the disk`;
  const found = await recognised(within(from, at, sizeBytes), [...MEMBERS, ...FILE_SYSTEMS]);
  return `${called} (${formatSize(sizeBytes)}): ${found.join("; ") || "nothing that is known"}`;
}

async function recognised(from: Reader, recognisers: readonly Recogniser[]): Promise<string[]> {
  const words: string[] = [];
  for (const recogniser of recognisers) {
    const found = await recogniser(from);
    if (found !== undefined) words.push(found);
  }
  return words;
}

/** Of a device or a file; what cannot be read is told as that. */
export async function readContents(path: string, sizeBytes: number): Promise<string[]> {
  if (!(sizeBytes > 0)) return [];
  try {
    const device = await open(path, "r");
    try {
      return await contentsOf({
        sizeBytes,
        async read(at, length) {
          if (at < 0 || at >= sizeBytes || length <= 0) return Buffer.alloc(0);
          const buffer = Buffer.alloc(Math.min(length, sizeBytes - at));
          const { bytesRead } = await device.read(buffer, 0, buffer.length, at);
          return buffer.subarray(0, bytesRead);
        },
      });
    } finally {
      await device.close();
    }
  } catch (error) {
    return [`what could not be read (${(error as NodeJS.ErrnoException).code ?? String(error).slice(0, 60)})`];
  }
}
