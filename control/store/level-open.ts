// Opening the two copies of the log: look at both (level-look.ts), ask the rule (recovery.ts), do what it says, say so.
import { join } from "node:path";
import { makeDirectory } from "#lib/files.ts";
import type { Log as Logger } from "#lib/log.ts";
import { createSegment, type JournalWriter, listSegments, reopenSegment, setAside } from "./journal.ts";
import { build, chainFrom, type Database, forward, type LevelState } from "./level-db.ts";
import { type Journal, type Level, lookAtJournal, lookAtLevel, meet } from "./level-look.ts";
import { rebuild, refusal } from "./level-rebuild.ts";
import { emptyHead, HEAD_ROW, type Head, headRow } from "./level-rows.ts";
import { IDEMPOTENCY_PREFIX, type OpenReport, type ViewEntry } from "./log.ts";
import { afterFrames } from "./proven.ts";
import { type Decision, decide } from "./recovery.ts";
import { listSnapshots, writeSnapshot } from "./snapshot.ts";
import { journalDirectory, verifiedLines } from "./snapshot-taker.ts";
import { keepTerm, keptTerm, nextTerm } from "./term.ts";

export interface Copies {
  db: Database;
  state: LevelState;
  entries: ViewEntry[];
  journal: JournalWriter;
  /** Seq of the newest snapshot; -1 when there is none. */
  snapshotSeq: number;
  term: number;
  report: OpenReport;
}

interface Opening {
  directory: string;
  logger: Logger;
  retainRecords: number;
  /** Go on with what verifies, although acknowledged records are lost: only on a copy (restore.ts). */
  salvage?: boolean;
  nowMs: number;
  /** Of an opening that goes on, after writing failed for a time. */
  term?: number;
}

export async function openCopies(opening: Opening): Promise<Copies> {
  const { directory, logger, retainRecords, salvage, nowMs } = opening;
  const startedMs = performance.now();
  const path = join(directory, "level");
  const journal = await lookAtJournal(directory);
  let level = await lookAtLevel(path, journal);
  meet(level, journal);
  const decision = decide(level.found, journal.found, salvage);
  const damagedTerm = level.found.term ?? 0; // of a head that verifies, in a database that does not
  try {
    if (decision.act === "refuse") throw refusal(directory, decision.findings);
    if (decision.act === "create") await build(path, emptyHead(), [], []);
    if (decision.act === "rebuild") {
      await level.db?.close(); // sound, and behind the journal
      await rebuild({ directory, path, level, journal, retainRecords, findings: decision.findings });
    }
    if (decision.act === "create" || decision.act === "rebuild") {
      level = await lookAtLevel(path, journal);
      if (level.found.state !== "sound") throw new Error(`LevelDB built anew does not verify: ${level.found.reason}`);
    }
    const db = level.db!;
    const state = level.state!;
    if (decision.act === "forward") {
      await forward(
        db,
        state,
        journal.scan!.frames.filter((frame) => frame.firstSeq > state.head.seq),
      );
      level = { ...level, entries: afterFrames(level.entries, journal.scan!.frames) };
    }
    const writer = await continueJournal(opening, decision, journal, level);
    const kept = await keptTerm(directory);
    const known = Math.max(state.head.term, journal.scan?.header?.term ?? 0, damagedTerm, kept);
    const term = opening.term ?? nextTerm({ known, whole: decision.outcome !== "recovered", nowMs });
    state.head.term = term;
    await keepTerm(directory, term);
    await db.put(HEAD_ROW, headRow(state.head), { sync: true });
    const report = reportOf(decision, state.head, level.entries, performance.now() - startedMs);
    say(logger, directory, report);
    const snapshotSeq = (await listSnapshots(directory))[0]?.seq ?? -1;
    return { db, state, entries: level.entries, journal: writer, snapshotSeq, term, report };
  } catch (error) {
    await level.db?.close();
    throw error;
  }
}

/** The journal to append to, equal to LevelDB from here on. */
async function continueJournal(
  { directory, nowMs }: Opening,
  { act }: Decision,
  journal: Journal,
  level: Level,
): Promise<JournalWriter> {
  const { head } = level.state!;
  const { id, term, seq, hash } = head;
  const folder = journalDirectory(directory);
  await makeDirectory(folder, 0o700);
  if (act === "reseed" || act === "create") {
    // The snapshot first: a journal that begins after it is worth nothing without it.
    const header = { format: 1, id, term, seq, hash, at: new Date(nowMs).toISOString() } as const;
    if (seq > 0) await writeSnapshot(directory, header, verifiedLines(level.db!, head));
    for (const segment of await listSegments(folder)) await setAside(segment.path, directory);
    return createSegment(folder, { id, term, firstSeq: seq + 1, baseHash: hash });
  }
  const { scan, segment } = journal;
  const writer = await reopenSegment(segment!.path, scan!.soundBytes);
  if (scan!.headSeq < seq) {
    const missing = await chainFrom(level.db!, scan!.headSeq + 1, scan!.headHash);
    await writer.append(Buffer.concat(missing.map((frame) => frame.bytes)));
  }
  return writer;
}

function reportOf(
  { outcome, findings }: Decision,
  head: Head,
  entries: readonly ViewEntry[],
  tookMs: number,
): OpenReport {
  const shown = entries.filter((entry) => !entry.key.startsWith(IDEMPOTENCY_PREFIX)).length;
  return {
    outcome,
    findings,
    headSeq: head.seq,
    oldestSeq: head.oldestSeq,
    entries: shown,
    tookMs: Math.round(tookMs),
  };
}

function say(logger: Logger, directory: string, report: OpenReport): void {
  const { outcome, ...fields } = report;
  if (outcome === "recovered") logger.error({ directory, ...fields }, "state was damaged and has been recovered");
  else if (outcome === "rolled-forward") logger.warn({ directory, ...fields }, "state evened out after a crash");
  else logger.info({ directory, outcome, ...fields }, "state opened");
}
