// The fencing term of an opening: above that of every opening before it, however state came back. Members keep the greatest they have
// seen and refuse a control below it, so a term that falls locks control out of its own cluster. LevelDB's head has it, and a file
// beside it, since openings that write no record leave no trace in the journal.
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { readText, writeFileAtomic } from "#lib/files.ts";

/** More openings than anybody makes between a backup, or the last record that is left of a damaged log, and the loss. */
const TERM_LEAP = 1_000_000;
const TERMS_PER_MS = 1000;
/** A clock past this is broken: a term made of it would leave no room above. */
const LATEST_CLOCK_MS = Date.UTC(2200, 0);

export interface TermSources {
  /** The greatest term that anything readable speaks of. */
  known: number;
  /** Whether that is sure to include the last opening: no copy was damaged, nothing was restored. */
  whole: boolean;
  nowMs: number;
}

/** The clock, where it is ahead: then even a disk put back to an older copy of itself, which shows no damage, does not fall. */
export function nextTerm({ known, whole, nowMs }: TermSources): number {
  const clock = nowMs > 0 && nowMs < LATEST_CLOCK_MS ? Math.floor(nowMs) * TERMS_PER_MS : 0;
  return clock > known ? clock : known + (whole ? 1 : TERM_LEAP);
}

const FILE = "term";

/** The greatest term that was kept; 0 when the file is missing or damaged. */
export async function keptTerm(directory: string): Promise<number> {
  const [term = "", check] = ((await readText(join(directory, FILE))) ?? "").trimEnd().split(" ");
  return check === String(crc32(term)) && Number.isSafeInteger(Number(term)) ? Number(term) : 0;
}

/** Durable before anybody is sent the term. */
export const keepTerm = (directory: string, term: number): Promise<void> =>
  writeFileAtomic(join(directory, FILE), `${term} ${crc32(String(term))}\n`, { mode: 0o600 });
