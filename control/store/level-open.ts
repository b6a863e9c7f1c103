// Opening the two copies of the log: look at both, ask the rule (recovery.ts), do what it says, say so.
import { access, mkdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { Fault } from "#api/fault.ts";
import { syncDirectory } from "#lib/files.ts";
import type { Log as Logger } from "#lib/log.ts";
import { type Frame, GENESIS, parseFrame } from "./frame.ts";
import {
  createSegment,
  type JournalWriter,
  listSegments,
  reopenSegment,
  type Segment,
  scanFile,
  scanFrom,
  setAside,
} from "./journal.ts";
import type { Scan } from "./journal-format.ts";
import {
  build,
  chainFrom,
  type Database,
  forward,
  inspect,
  type LevelState,
  openDatabase,
  readHead,
} from "./level-db.ts";
import { emptyHead, HEAD_ROW, type Head, headRow, logKey } from "./level-rows.ts";
import { IDEMPOTENCY_PREFIX, type OpenReport, type ViewEntry } from "./log.ts";
import { afterFrames } from "./proven.ts";
import { type Decision, decide, type JournalFound, type LevelFound } from "./recovery.ts";
import { listSnapshots, readSnapshot, writeSnapshot } from "./snapshot.ts";
import { journalDirectory, verifiedLines } from "./snapshot-taker.ts";

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
  salvage?: boolean;
}

interface Level {
  found: LevelFound;
  db?: Database;
  state?: LevelState;
  entries: ViewEntry[];
  /** When damaged: its frames that go on from the journal's head. */
  salvageable: Frame[];
}

interface Journal {
  found: JournalFound;
  segment?: Segment;
  scan?: Scan;
}

export async function openCopies({ directory, logger, retainRecords, salvage }: Opening): Promise<Copies> {
  const startedMs = performance.now();
  const path = join(directory, "level");
  const journal = await lookAtJournal(directory);
  let level = await lookAtLevel(path, journal);
  meet(level, journal);
  const decision = decide(level.found, journal.found, salvage);
  try {
    if (decision.act === "refuse") throw refusal(directory, decision.findings);
    if (decision.act === "create") await build(path, emptyHead(), [], []);
    if (decision.act === "rebuild")
      await rebuild({ directory, path, level, journal, retainRecords, findings: decision.findings });
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
    const writer = await continueJournal(directory, decision, journal, level);
    const term = state.head.term + 1;
    state.head.term = term;
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

async function lookAtJournal(directory: string): Promise<Journal> {
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

async function lookAtLevel(path: string, journal: Journal): Promise<Level> {
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
function meet(level: Level, { found, scan }: Journal): void {
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

interface Rebuild {
  directory: string;
  path: string;
  level: Level;
  journal: Journal;
  retainRecords: number;
  findings: string[];
}

/** LevelDB anew from the newest snapshot that verifies and the journal after it; the damaged one is set aside. */
async function rebuild({ directory, path, level, journal, retainRecords, findings }: Rebuild): Promise<void> {
  const header = journal.scan?.header;
  if (header === undefined) throw refusal(directory, findings);
  const { id } = header;
  const bases = [...(await listSnapshots(directory)), undefined];
  for (const file of bases) {
    const snapshot = file && (await readSnapshot(file.path));
    if (file !== undefined && (snapshot === undefined || snapshot.header.id !== id)) {
      findings.push(`snapshot ${file.seq} does not verify`);
      continue;
    }
    const seq = snapshot?.header.seq ?? 0;
    const hash = snapshot?.header.hash ?? GENESIS;
    const scan = await scanFrom(journalDirectory(directory), seq + 1, hash);
    if (scan === undefined || scan.headSeq !== journal.found.headSeq) {
      findings.push(`the journal does not go on from ${file === undefined ? "the first record" : `snapshot ${seq}`}`);
      continue;
    }
    const frames = scan.frames.concat(level.salvageable);
    const kept = frames.findIndex((frame) => headSeq(frames) - frame.lastSeq < retainRecords);
    const dropped = Math.max(0, kept);
    const first = frames[dropped];
    const baseSeq = first?.firstSeq ?? seq + 1;
    const baseHash = first?.before ?? hash;
    // Records that will not be kept still shape the view, so they are applied before the base is written.
    const entries = afterFrames(snapshot?.entries ?? [], frames.slice(0, dropped));
    const term = Math.max(snapshot?.header.term ?? 0, header.term);
    const base = { ...emptyHead(), id, term, seq: baseSeq - 1, hash: baseHash, oldestSeq: baseSeq, baseSeq, baseHash };
    const fresh = `${path}.new`;
    await build(fresh, base, entries, frames.slice(dropped));
    await rm(`${path}.damaged`, { recursive: true, force: true });
    if (level.found.state !== "absent") await rename(path, `${path}.damaged`);
    await rename(fresh, path);
    await syncDirectory(directory);
    return;
  }
  throw refusal(directory, findings);
}

/** The journal to append to, equal to LevelDB from here on. */
async function continueJournal(
  directory: string,
  { act }: Decision,
  journal: Journal,
  level: Level,
): Promise<JournalWriter> {
  const { head } = level.state!;
  const { id, term, seq, hash } = head;
  const folder = journalDirectory(directory);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  if (act === "reseed" || act === "create") {
    // The snapshot first: a journal that begins after it is worth nothing without it.
    if (seq > 0) await writeSnapshot(directory, { format: 1, id, term, seq, hash }, verifiedLines(level.db!, head));
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

const headSeq = (frames: readonly Frame[]): number => frames.at(-1)?.lastSeq ?? 0;

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

function refusal(directory: string, findings: readonly string[]): Fault {
  const text = `state in ${directory} is damaged and cannot be recovered without loss: ${findings.join("; ")}. Put back a backup (\`flynn cluster restore FILE\`), or go on with what verifies: \`flynn cluster restore\`, or \`flynn up --salvage\``;
  return new Fault("unavailable", text, { retry: false, details: { directory, findings } });
}
