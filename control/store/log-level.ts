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
import { encodeFrame } from "./journal-format.ts";
import { type Batch, rows, stage } from "./level-db.ts";
import { openCopies } from "./level-open.ts";
import { HEAD_ROW, type Head, headRow, LOG_ROWS, logKey, parseLogRow, parseViewRow, VIEW_ROWS } from "./level-rows.ts";
import type { Log, LogRecord, ViewEntry } from "./log.ts";
import { claimDirectory } from "./owner.ts";
import { chainHash, decodeRecord, encodeRecord } from "./record.ts";
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

interface Staged {
  batch: Batch;
  firstSeq: number;
  texts: string[];
  /** The head after the last staged record. */
  head: Head;
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

  const write = async ({ batch, firstSeq, texts, head }: Staged) => {
    const { oldestSeq, baseHash } = state.head;
    batch.put(HEAD_ROW, headRow({ ...head, oldestSeq, baseHash }));
    const frame = texts.length === 0 ? undefined : encodeFrame(firstSeq, texts, head.hash);
    const both = await Promise.allSettled([batch.write({ sync: true }), frame && journal.append(frame)]);
    for (const one of both) if (one.status === "rejected") throw one.reason;
    durable = head;
  };

  const groups = commitGroups<Staged>({
    begin: () => ({ batch: db.batch(), firstSeq: state.head.seq + 1, texts: [], head: state.head }),
    write: async (staged) => {
      await write(staged);
      if (durable.seq - state.head.oldestSeq + 1 > retainRecords + Math.max(64, retainRecords >> 2))
        background(trim(durable.seq - retainRecords + 1));
      if (snapshots.due(journal.sizeBytes)) background(snapshots.take());
    },
    maxRecords: MAX_GROUP_RECORDS,
    maxBytes: MAX_GROUP_BYTES,
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
        const encoded = encodeRecord(record);
        stage(state, staged.batch, record, encoded);
        staged.texts.push(encoded.text);
        sizeBytes += encoded.text.length * 2;
      }
      staged.head = { ...state.head, view: { ...state.head.view } };
      return sizeBytes;
    });
    return done.catch(() => {
      throw fatal ?? new Fault("unavailable", "the log is closed");
    });
  };

  const trim = async (beforeSeq: number) => {
    const keepFrom = Math.min(beforeSeq, durable.seq);
    if (trimming || keepFrom <= state.head.oldestSeq) return;
    trimming = true;
    try {
      const row = db.getSync(logKey(keepFrom - 1));
      if (row === undefined) throw new Error(`record ${keepFrom - 1} is missing`);
      // The head first says where the log begins, durably; only then are the rows before it removed.
      const before = state.head.oldestSeq;
      state.head.baseHash = parseLogRow("", row).hash;
      state.head.oldestSeq = keepFrom;
      await groups.between(() => write({ batch: db.batch(), firstSeq: 0, texts: [], head: durable }));
      await db.clear({ gte: logKey(before), lt: logKey(keepFrom) });
    } finally {
      trimming = false;
    }
  };

  const read = async (fromSeq: number, limit: number): Promise<LogRecord[]> => {
    if (stopped.signal.aborted) throw new Fault("unavailable", "the log is closed");
    const { oldestSeq, baseHash } = state.head;
    if (fromSeq < oldestSeq)
      throw new Fault("gone", `record ${fromSeq} is no longer kept; the oldest is ${oldestSeq}`, {
        details: { oldestSeq },
      });
    const last = Math.min(durable.seq, fromSeq + limit - 1);
    if (last < fromSeq) return [];
    let hash = fromSeq === oldestSeq ? baseHash : parseLogRow("", db.getSync(logKey(fromSeq - 1)) ?? "").hash;
    const records: LogRecord[] = [];
    for await (const [key, row] of rows(db, { gte: logKey(fromSeq), lt: logKey(last + 1) })) {
      const link = parseLogRow(key, row);
      if (link.seq !== fromSeq + records.length || chainHash(hash, link.text) !== link.hash) break;
      hash = link.hash;
      records.push(decodeRecord(link.text));
    }
    if (records.length === last - fromSeq + 1) return records;
    throw new Fault(
      "unavailable",
      `record ${fromSeq + records.length} is damaged on disk; restart control to recover it`,
      { retry: false },
    );
  };

  async function* view(): AsyncGenerator<ViewEntry, void, undefined> {
    if (loaded !== undefined && durable.seq === report.headSeq) {
      const entries = loaded;
      loaded = undefined;
      yield* entries;
      return;
    }
    loaded = undefined;
    for await (const [rowKey, row] of rows(db, VIEW_ROWS)) {
      const key = rowKey.slice(2);
      const parsed = parseViewRow(key, row);
      if (parsed === undefined)
        throw new Fault("unavailable", `the view entry ${key} is damaged on disk; restart control to recover it`, {
          retry: false,
        });
      yield { key, value: JSON.parse(parsed.valueText), version: parsed.version };
    }
  }

  const hourly = (async () => {
    for await (const turn of every(snapshotEveryMs, stopped.signal)) if (turn > 0) background(snapshots.take());
  })();
  const checking = snapshots.check();
  background(checking);
  background(db.clear({ gte: LOG_ROWS.gte, lt: logKey(state.head.oldestSeq) })); // what a crash left of a trim

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

function checkDense(records: readonly LogRecord[], firstSeq: number): void {
  for (const [index, record] of records.entries()) {
    if (record.seq !== firstSeq + index)
      throw new Error(`record ${record.seq} does not follow ${firstSeq + index - 1}`);
  }
}
