// By which means a disk is erased: what is tried, in order. `own`: by the disk itself (own-erase.ts). blkdiscard of util-linux for all others;
// the kernel asks the disk for zeros and writes them itself where it cannot.
import { readFile } from "node:fs/promises";
import { basename } from "node:path";
import type { WipeMethod } from "#api/wipes.ts";

export type PartMeans = "zero" | "discard" | "secure";
export type Means = PartMeans | "own";

export const ARGUMENTS: Readonly<Record<PartMeans, readonly string[]>> = {
  zero: ["--zeroout"],
  discard: [],
  secure: ["--secure"],
};
export const WORDS: Readonly<Record<PartMeans, string>> = {
  zero: "zeros written",
  discard: "discarded",
  secure: "discarded securely",
};

/** What is done, and what after that when it does not read as zero. */
export function meansOf(method: WipeMethod, canDiscard: boolean): Means[] {
  if (method === "zero") return ["zero"];
  if (method === "secure") return ["own", "secure", "zero"];
  if (method === "discard") return ["discard", "zero"];
  return canDiscard ? ["own", "discard", "zero"] : ["own", "zero"];
}

/** Documentation/ABI/stable/sysfs-block: 0 for a disk that has no such thing; of what is no block device that is so too. */
export async function canDiscard(path: string): Promise<boolean> {
  const text = await readFile(`/sys/class/block/${basename(path)}/queue/discard_max_bytes`, "utf8").catch(() => "0");
  return Number(text) > 0;
}
