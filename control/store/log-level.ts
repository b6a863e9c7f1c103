// The log on one control node, in `directory`: `level/` (records, view, head: one synced batch per group), `journal/` (the
// same records appended and synced beside it) and snapshots of the view. Why two copies: LevelDB can lose commits from the middle or the
// end of its files and open without an error; a chain inside it finds a hole but not a missing end, and heals neither.
// The journal costs one more sequential write and sync, in parallel, and makes every single damage either recoverable or
// provable. Layout and rules: recovery.ts.
import { mkdir } from "node:fs/promises";
import { Fault } from "#api/fault.ts";
import type { Log as Logger } from "#lib/log.ts";
import { every } from "#lib/time.ts";
import { commitGroups } from "./commit-groups.ts";
import { encodeFrame, type Frame, frameTexts, parseFrame } from "./frame.ts";
import { type Batch, frameRows, putFrame, stage, viewRows } from "./level-db.ts";
import { openCopies } from "./level-open.ts";
import { HEAD_ROW, type Head, headRow, LOG_ROWS, logKey, parseViewRow } from "./level-rows.ts";
import type { Log, LogRecord, ViewEntry } from "./log.ts";
import { claimDirectory } from "./owner.ts";
import { decodeRecord, encodeRecord } from "./record.ts";
import { MAX_GROUP_RECORDS } from "./recovery.ts";
import { snapshotTaker } from "./snapshot-taker.ts";

export interface LevelLogOptions {
  directory: string;
  logger: Logger;
  /** Told once, with the error, when a write has failed: end the program, nothing more is accepted. */
  onFatal?: (error: Error) => void;
  /** Records kept for readers; default 20,000. */
  retainRecords?: number;
  /** How often the view is written out as a snapshot when it has changed; default hourly. */
  snapshotEveryMs?: number;
  /** A snapshot is also due when the journal has grown by this much (and by the size of the last snapshot). */
  snapshotJournalBytes?: number;
  /** Open with what verifies even when acknowledged records are lost. For an operator who was told and said yes. */
  salvage?: boolean;
}

const MAX_GROUP_BYTES = 4 << 20;
const PROMPT_RECORDS = 500;

interface Staged {
  batch: Batch;
  firstSeq: number;
  /** The records, a line each. */
  lines: string;
  /** Where the head is after the last staged record. */
  seq: number;
  term: number;
  count: number;
  sum: number;
}

export async function openLevelLog(options: LevelLogOptions): Promise<Log> {
  const {
    directory,
    logger,
    onFatal,
    retainRecords = 20_000,
    snapshotEveryMs = 3_600_000,
    snapshotJournalBytes = 64 << 20,
    salvage,
  } = options;
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const release = await claimDirectory(directory);
  const copies = await openCopies({ directory, logger, retainRecords, salvage }).catch(async (error) => {
    await release();
    throw error;
  });
  const { db, state, report, term, snapshotSeq } = copies;
  let loaded: ViewEntry[] | undefined = copies.entries;
  let durable: Head = { ...state.head, view: { ...state.head.view } };
  let journal = copies.journal;
  let fatal: Fault | undefined;
  let trimming = false;
  const stopped = new AbortController();

  const write = async ({ batch, firstSeq, lines, seq, term, count, sum }: Staged) => {
    const { id, format, oldestSeq, baseSeq, baseHash } = state.head;
    const frame = lines === "" ? undefined : encodeFrame(firstSeq, seq - firstSeq + 1, lines, durable.hash);
    const hash = frame?.hash ?? durable.hash;
    const head = { format, id, seq, hash, term, oldestSeq, baseSeq, baseHash, view: { count, sum } };
    if (frame !== undefined) putFrame(batch, frame);
    batch.put(HEAD_ROW, headRow(head));
    const both = await Promise.allSettled([batch.write({ sync: true }), frame && journal.append(frame.bytes)]);
    for (const one of both) if (one.status === "rejected") throw one.reason;
    durable = head;
  };

  const groups = commitGroups<Staged>({
    begin: () => stagedAfter(db.batch(), state.head),
    write: async (staged) => {
      await write(staged);
      if (durable.seq - state.head.oldestSeq + 1 > retainRecords + Math.max(64, retainRecords >> 2))
        background(trim(durable.seq - retainRecords + 1));
      if (snapshots.due(journal.sizeBytes)) background(snapshots.take());
    },
    maxRecords: MAX_GROUP_RECORDS,
    maxBytes: MAX_GROUP_BYTES,
    promptRecords: PROMPT_RECORDS,
    onFailure(cause) {
      fatal = new Fault("unavailable", "the log could not be written; control has to be restarted", { cause });
      logger.fatal({ err: cause, directory }, "log write failed");
      onFatal?.(fatal);
    },
  });

  const background = (work: Promise<unknown>) => {
    work.catch((error) => fatal === undefined && logger.error({ err: error, directory }, "log upkeep failed"));
  };

  const snapshots = snapshotTaker({
    directory,
    logger,
    journalBytes: snapshotJournalBytes,
    lastSeq: snapshotSeq,
    db,
    /** Moves the journal to a new segment with no write in flight, so that it goes on exactly where the snapshot ends. */
    cut: async (begin) => {
      await groups.between(async () => {
        journal = await begin(durable, journal);
      });
    },
  });

  const append = (records: readonly LogRecord[]): Promise<void> => {
    if (fatal !== undefined) return Promise.reject(fatal);
    if (stopped.signal.aborted) return Promise.reject(new Fault("unavailable", "the log is closed"));
    if (records.length === 0) return Promise.resolve();
    checkDense(records, state.head.seq + 1);
    const done = groups.add(records.length, (staged) => {
      let sizeBytes = 0;
      for (const record of records) {
        const { text, values } = encodeRecord(record);
        stage(state, staged.batch, record, values);
        staged.lines += `${text}\n`;
        sizeBytes += text.length * 2;
      }
      const { seq, term: newest, view } = state.head;
      staged.seq = seq;
      staged.term = newest;
      staged.count = view.count;
      staged.sum = view.sum;
      return sizeBytes;
    });
    return done.catch(() => {
      throw fatal ?? new Fault("unavailable", "the log is closed");
    });
  };

  /** The frame that holds the record. */
  const firstFrame = async (seq: number): Promise<Frame> => {
    for await (const [, bytes] of frameRows(db, seq)) {
      const frame = parseFrame(bytes);
      if (frame !== undefined && frame.firstSeq <= seq) return frame;
      break;
    }
    throw damaged(`record ${seq}`);
  };

  const trim = async (beforeSeq: number) => {
    const keepFrom = Math.min(beforeSeq, durable.seq);
    if (trimming || keepFrom <= state.head.oldestSeq) return;
    trimming = true;
    try {
      const frame = await firstFrame(keepFrom);
      // The head first says where the log begins, durably; only then are the rows before it removed.
      const before = state.head.baseSeq;
      state.head.oldestSeq = keepFrom;
      state.head.baseSeq = frame.firstSeq;
      state.head.baseHash = frame.before;
      await groups.between(() => write(stagedAfter(db.batch(), durable)));
      if (frame.firstSeq > before) await db.clear({ gte: logKey(before), lt: logKey(frame.firstSeq) });
    } finally {
      trimming = false;
    }
  };

  const read = async (fromSeq: number, limit: number): Promise<LogRecord[]> => {
    if (stopped.signal.aborted) throw new Fault("unavailable", "the log is closed");
    const { oldestSeq } = state.head;
    if (fromSeq < oldestSeq)
      throw new Fault("gone", `record ${fromSeq} is no longer kept; the oldest is ${oldestSeq}`, {
        details: { oldestSeq },
      });
    const last = Math.min(durable.seq, fromSeq + limit - 1);
    const records: LogRecord[] = [];
    if (last < fromSeq) return records;
    let before: string | undefined;
    for await (const [, bytes] of frameRows(db, fromSeq)) {
      const frame = parseFrame(bytes);
      const next = fromSeq + records.length;
      const follows = before === undefined || frame?.before === before;
      if (frame === undefined || !follows || frame.firstSeq > next) break;
      before = frame.hash;
      for (const text of frameTexts(frame).slice(next - frame.firstSeq, last - frame.firstSeq + 1))
        records.push(decodeRecord(text));
      if (frame.lastSeq >= last) return records;
    }
    throw damaged(`record ${fromSeq + records.length}`);
  };

  async function* view(): AsyncGenerator<ViewEntry, void, undefined> {
    if (loaded !== undefined && durable.seq === report.headSeq) {
      const entries = loaded;
      loaded = undefined;
      yield* entries;
      return;
    }
    loaded = undefined;
    for await (const [rowKey, row] of viewRows(db)) {
      const key = rowKey.slice(2);
      const parsed = parseViewRow(key, row);
      if (parsed === undefined) throw damaged(`the view entry ${key}`);
      yield { key, value: JSON.parse(parsed.valueText), version: parsed.version };
    }
  }

  const hourly = (async () => {
    for await (const turn of every(snapshotEveryMs, stopped.signal)) if (turn > 0) background(snapshots.take());
  })();
  const checking = snapshots.check();
  background(checking);
  background(db.clear({ gte: LOG_ROWS.gte, lt: logKey(state.head.baseSeq) })); // what a crash left of a trim

  return {
    term,
    get headSeq() {
      return durable.seq;
    },
    get oldestSeq() {
      return state.head.oldestSeq;
    },
    report,
    append,
    read,
    view,
    trim,
    async close() {
      if (stopped.signal.aborted) return;
      stopped.abort();
      await hourly;
      await checking.catch(() => undefined);
      await groups.idle();
      if (fatal === undefined)
        await snapshots.take().catch((error) => logger.error({ err: error, directory }, "snapshot at close failed"));
      await snapshots.idle();
      await db.close();
      await journal.close();
      await release();
    },
  };
}

function stagedAfter(batch: Batch, { seq, term, view }: Head): Staged {
  return { batch, firstSeq: seq + 1, lines: "", seq, term, count: view.count, sum: view.sum };
}

function damaged(what: string): Fault {
  return new Fault("unavailable", `${what} is damaged on disk; restart control to recover it`, { retry: false });
}

function checkDense(records: readonly LogRecord[], firstSeq: number): void {
  for (const [index, record] of records.entries()) {
    if (record.seq !== firstSeq + index)
      throw new Error(`record ${record.seq} does not follow ${firstSeq + index - 1}`);
  }
}
