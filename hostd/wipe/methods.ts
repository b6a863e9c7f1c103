// By which means a disk is erased: what is tried, in order. blkdiscard of util-linux for all of them; the kernel asks the disk for zeros
// and writes them itself where it cannot.
import { readFile } from "node:fs/promises";
import { basename } from "node:path";
import type { WipeMethod } from "#api/wipes.ts";

export type Means = "zero" | "discard" | "secure";

export const ARGUMENTS: Readonly<Record<Means, readonly string[]>> = {
  zero: ["--zeroout"],
  discard: [],
  secure: ["--secure"],
};
export const WORDS: Readonly<Record<Means, string>> = {
  zero: "zeros written",
  discard: "discarded",
  secure: "discarded securely",
};

/** What is done, and what after that when it does not read as zero. */
export function meansOf(method: WipeMethod, canDiscard: boolean): Means[] {
  if (method === "zero") return ["zero"];
  if (method === "secure") return ["secure", "zero"];
  if (method === "discard") return ["discard", "zero"];
  return canDiscard ? ["discard", "zero"] : ["zero"];
}

/** Documentation/ABI/stable/sysfs-block: 0 for a disk that has no such thing; of what is no block device that is so too. */
export async function canDiscard(path: string): Promise<boolean> {
  const text = await readFile(`/sys/class/block/${basename(path)}/queue/discard_max_bytes`, "utf8").catch(() => "0");
  return Number(text) > 0;
}
