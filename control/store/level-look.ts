// A look at the two copies of the log as they are on disk, before anything is done about them: what each holds, how far it
// verifies, and whether both tell the same history. Nothing is mended here but a segment that a crash left without a header.
import { access, rm } from "node:fs/promises";
import { type Frame, parseFrame } from "./frame.ts";
import { listSegments, type Segment, scanFile } from "./journal.ts";
import type { Scan } from "./journal-format.ts";
import { chainFrom, type Database, inspect, type LevelState, openDatabase, readHead } from "./level-db.ts";
import { logKey } from "./level-rows.ts";
import type { ViewEntry } from "./log.ts";
import type { JournalFound, LevelFound } from "./recovery.ts";
import { journalDirectory } from "./snapshot-taker.ts";

export interface Level {
  found: LevelFound;
  db?: Database;
  state?: LevelState;
  entries: ViewEntry[];
  /** When damaged: its frames that go on from the journal's head. */
  salvageable: Frame[];
}

export interface Journal {
  found: JournalFound;
  segment?: Segment;
  scan?: Scan;
}

export async function lookAtJournal(directory: string): Promise<Journal> {
  const found: JournalFound = { state: "absent", firstSeq: 0, headSeq: 0, lastFrameSeq: 0, claimedSeq: 0 };
  const segments = await listSegments(journalDirectory(directory));
  for (let at = segments.length - 1; at >= 0; at--) {
    const segment = segments[at]!;
    const scan = await scanFile(segment);
    // A crash while a segment is made leaves it without a header and without a frame: the one before is the newest.
    if (scan.header === undefined && scan.tail === "torn" && at > 0) {
      await rm(segment.path, { force: true });
      continue;
    }
    const { headSeq, lastFrameSeq, claimedSeq, tail } = scan;
    return {
      found: {
        state: tail,
        id: scan.header?.id,
        firstSeq: scan.header?.firstSeq ?? 0,
        headSeq,
        lastFrameSeq,
        claimedSeq,
      },
      segment,
      scan,
    };
  }
  return { found };
}

export async function lookAtLevel(path: string, journal: Journal): Promise<Level> {
  const level: Level = { found: { state: "damaged", oldestSeq: 1 }, entries: [], salvageable: [] };
  const there = await access(path).then(
    () => true,
    () => false,
  );
  if (!there) return { ...level, found: { state: "absent", oldestSeq: 1 } };
  const db = await openDatabase(path);
  if ("damage" in db) return { ...level, found: { ...level.found, reason: db.damage } };
  try {
    const head = readHead(db);
    if (head === undefined) level.found.reason = "its head row is missing or damaged";
    else {
      const { state, entries, damage } = await inspect(db, head);
      level.found = {
        state: damage === undefined ? "sound" : "damaged",
        reason: damage,
        id: head.id,
        headSeq: head.seq,
        term: head.term,
        oldestSeq: head.oldestSeq,
      };
      Object.assign(level, { state, entries });
    }
  } catch (error) {
    if (!(error as { code?: string }).code?.startsWith("LEVEL_")) {
      await db.close();
      throw error;
    }
    level.found.reason = (error as Error).message;
  }
  if (level.found.state === "sound") return { ...level, db };
  if (journal.scan?.header !== undefined) {
    level.salvageable = await chainFrom(db, journal.found.headSeq + 1, journal.scan.headHash);
    level.found.salvageableSeq = level.salvageable.at(-1)?.lastSeq;
  }
  await db.close();
  return level;
}

/** What two histories that have no frame ending at the same record have in common. */
const NO_MEETING = "no frame ends here";

/** Fills in the hash of both copies at the newest record that both should have. */
export function meet(level: Level, { found, scan }: Journal): void {
  if (level.state === undefined || level.db === undefined || scan?.header === undefined) return;
  const { head } = level.state;
  const { header, frames } = scan;
  const seq = Math.min(head.seq, scan.headSeq);
  if (seq >= head.baseSeq) level.found.meetingHash = hashAt(level.db, seq) ?? NO_MEETING;
  else if (seq === head.baseSeq - 1) level.found.meetingHash = head.baseHash;
  if (seq >= header.firstSeq) found.meetingHash = frames.find((frame) => frame.lastSeq === seq)?.hash ?? NO_MEETING;
  else if (seq === header.firstSeq - 1) found.meetingHash = header.baseHash;
}

/** Hash of the frame that ends with this record. */
function hashAt(db: Database, lastSeq: number): string | undefined {
  const bytes = db.getSync<string, Buffer>(logKey(lastSeq), { valueEncoding: "buffer" });
  return bytes && parseFrame(bytes)?.hash;
}
