// The log on one control node, and the view that a replica begins with, in `directory`: `level/` (records, view, head: one synced batch per group), `journal/` (the
// same records appended and synced beside it) and snapshots of the view. Why two copies: LevelDB can lose commits from the middle or the
// end of its files and open without an error; a chain inside it finds a hole but not a missing end, and heals neither.
// The journal costs one more sequential write and sync, in parallel, and makes every single damage either recoverable or
// provable. Layout and rules: recovery.ts.
import { Fault } from "#api/fault.ts";
import type { Log as Logger } from "#lib/log.ts";
import { every } from "#lib/time.ts";
import { openClaimed } from "./claimed.ts";
import { commitGroups, InDoubt } from "./commit-groups.ts";
import { encodeFrame, type Frame, frameTexts, parseFrame } from "./frame.ts";
import { goOn, openAnew } from "./go-on.ts";
import { type Batch, frameRows, putFrame, stage, viewRows } from "./level-db.ts";
import { HEAD_ROW, type Head, headRow, LOG_ROWS, logKey, parseViewRow } from "./level-rows.ts";
import type { Log, LogRecord, ViewEntry } from "./log.ts";
import { claimDirectory } from "./owner.ts";
import { checkRoom, inDoubtFault } from "./paused.ts";
import { decodeRecord, encodeRecord } from "./record.ts";
import { MAX_GROUP_RECORDS } from "./recovery.ts";
import type { StoredView } from "./replica.ts";
import { restorationOf } from "./restore.ts";
import { snapshotTaker } from "./snapshot-taker.ts";
import { writeLatency } from "./write-latency.ts";

export interface LevelLogOptions {
  directory: string;
  logger: Logger;
  /** Called once when acknowledged records turn out to be gone: end the program, nothing more is accepted. */
  onFatal?: (error: Error) => void;
  /** Called when writing failed: what is not durable by now is refused, and its numbers are free again. */
  onPaused?: (why: Fault) => void;
  /** Called when writing works again, with the records that reached the disk although they were refused. */
  onResumed?: (landed: LogRecord[]) => void;
  /** How often writing is tried again. */
  retryMs?: number;
  /** Records kept for readers; default 20,000. */
  retainRecords?: number;
  /** How often the view is written out as a snapshot when it has changed; default hourly. */
  snapshotEveryMs?: number;
  /** A snapshot is also due when the journal has grown by this much (and by the size of the last snapshot). */
  snapshotJournalBytes?: number;
  /** Restore what can be proven (restore.ts) when acknowledged records are lost. For an operator who asked for it. */
  salvage?: boolean;
  /** Milliseconds since 1970. */
  now?: () => number;
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

/** Both are one synced batch a group, so the view is always that of the head. */
export interface LevelLog extends Log {
  readonly view: StoredView;
}

export async function openLevelLog(options: LevelLogOptions): Promise<LevelLog> {
  const {
    directory,
    logger,
    onFatal,
    retainRecords = 20_000,
    snapshotEveryMs = 3_600_000,
    snapshotJournalBytes = 64 << 20,
    salvage = false,
    now = Date.now,
    onPaused,
    onResumed,
    retryMs = 1_000,
  } = options;
  const claimed = await openClaimed({ directory, logger, retainRecords, salvage, now });
  const { copies } = claimed;
  const { report, term, snapshotSeq } = copies;
  let { db, state, journal } = copies;
  let { release } = claimed;
  report.restored = await restorationOf(directory);
  let loaded: ViewEntry[] | undefined = copies.entries;
  let durable: Head = { ...state.head, view: { ...state.head.view } };
  const latency = writeLatency();
  let trimming = false;
  const stopped = new AbortController();

  const write = async ({ batch, firstSeq, lines, seq, term, count, sum }: Staged) => {
    const { id, format, oldestSeq, baseSeq, baseHash } = state.head;
    const frame = lines === "" ? undefined : encodeFrame(firstSeq, seq - firstSeq + 1, lines, durable.hash);
    const hash = frame?.hash ?? durable.hash;
    const head = { format, id, seq, hash, term, oldestSeq, baseSeq, baseHash, view: { count, sum } };
    if (frame !== undefined) putFrame(batch, frame);
    batch.put(HEAD_ROW, headRow(head));
    const ended = latency.begin();
    const both = await Promise.allSettled([batch.write({ sync: true }), frame && journal!.append(frame.bytes)]);
    ended();
    for (const one of both) if (one.status === "rejected") throw one.reason;
    durable = head;
  };

  const groups = commitGroups<Staged>({
    begin: () => stagedAfter(db!.batch(), state.head),
    write: async (staged) => {
      await write(staged);
      if (durable.seq - state.head.oldestSeq + 1 > retainRecords + Math.max(64, retainRecords >> 2))
        background(trim(durable.seq - retainRecords + 1));
      if (snapshots.due(journal!.sizeBytes)) background(snapshots.take());
    },
    maxRecords: MAX_GROUP_RECORDS,
    maxBytes: MAX_GROUP_BYTES,
    promptRecords: PROMPT_RECORDS,
    onFailure: (cause) => goingOn.pause(cause),
  });

  /** Both copies anew, as at a start: after a failed write nobody knows what the disk holds. */
  const reopen = async (): Promise<LogRecord[]> => {
    await checkRoom(directory);
    await groups.idle();
    await snapshots.idle();
    await Promise.all([db?.close(), journal?.close().catch(() => undefined)]);
    db = undefined;
    journal = undefined;
    release ??= await claimDirectory(directory);
    const { next, landed } = await openAnew({ directory, logger, retainRecords, nowMs: now(), term }, durable);
    ({ db, state, journal } = next);
    durable = { ...state.head, view: { ...state.head.view } };
    return landed;
  };

  const goingOn = goOn({
    ...{ directory, logger, retryMs, signal: stopped.signal, reopen, onPaused, onResumed, onFatal },
    paused: claimed.paused,
    seq: () => durable.seq,
    onReopened: () => groups.resume(),
  });

  const background = (work: Promise<unknown>) => {
    work.catch((error) => goingOn.fatal === undefined && logger.error({ err: error, directory }, "log upkeep failed"));
  };

  const snapshots = snapshotTaker({
    directory,
    logger,
    journalBytes: snapshotJournalBytes,
    lastSeq: snapshotSeq,
    now,
    db: () => db!,
    /** Moves the journal to a new segment with no write in flight, so that it goes on exactly where the snapshot ends. */
    cut: async (begin) => {
      await groups.between(async () => {
        if (journal === undefined || goingOn.paused !== undefined) return;
        journal = await begin(durable, journal);
      });
    },
  });

  const append = (records: readonly LogRecord[]): Promise<void> => {
    const { fatal, paused } = goingOn;
    if (fatal !== undefined) return Promise.reject(fatal);
    if (stopped.signal.aborted) return Promise.reject(new Fault("unavailable", "the log is closed"));
    if (paused !== undefined) return Promise.reject(paused);
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
    return done.catch((error: unknown) => {
      const { fatal, paused } = goingOn;
      if (fatal === undefined && paused !== undefined && error instanceof InDoubt) throw inDoubtFault(paused);
      throw fatal ?? paused ?? new Fault("unavailable", "the log is closed");
    });
  };

  /** The frame that holds the record. */
  const firstFrame = async (seq: number): Promise<Frame> => {
    for await (const [, bytes] of frameRows(db!, seq)) {
      const frame = parseFrame(bytes);
      if (frame !== undefined && frame.firstSeq <= seq) return frame;
      break;
    }
    throw damaged(`record ${seq}`);
  };

  const failed = (error: unknown): never => {
    groups.fail(error);
    goingOn.pause(error);
    throw error;
  };

  const trim = async (beforeSeq: number) => {
    const keepFrom = Math.min(beforeSeq, durable.seq);
    if (trimming || goingOn.paused !== undefined || keepFrom <= state.head.oldestSeq) return;
    trimming = true;
    try {
      const frame = await firstFrame(keepFrom);
      // The head first says where the log begins, durably; only then are the rows before it removed.
      const before = state.head.baseSeq;
      state.head.oldestSeq = keepFrom;
      state.head.baseSeq = frame.firstSeq;
      state.head.baseHash = frame.before;
      await groups.between(() => write(stagedAfter(db!.batch(), durable)).catch(failed));
      if (frame.firstSeq > before) await db?.clear({ gte: logKey(before), lt: logKey(frame.firstSeq) });
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
    if (db === undefined) throw goingOn.paused ?? new Fault("unavailable", "the log is being opened again");
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

  async function* entries(): AsyncGenerator<ViewEntry, void, undefined> {
    if (loaded !== undefined && durable.seq === report.headSeq) {
      const found = loaded;
      loaded = undefined;
      yield* found;
      return;
    }
    loaded = undefined;
    if (db === undefined) throw goingOn.paused ?? new Fault("unavailable", "the log is being opened again");
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
  const checking = goingOn.paused === undefined ? snapshots.check() : Promise.resolve();
  background(checking);
  if (db !== undefined) background(db.clear({ gte: LOG_ROWS.gte, lt: logKey(state.head.baseSeq) })); // what a crash left of a trim

  return {
    term,
    get headSeq() {
      return durable.seq;
    },
    get oldestSeq() {
      return state.head.oldestSeq;
    },
    report,
    get paused() {
      return goingOn.paused;
    },
    get worstWriteMs() {
      return latency.worstMs();
    },
    get snapshotProblem() {
      return snapshots.problem;
    },
    append,
    read,
    view: {
      get seq() {
        return durable.seq;
      },
      entries,
    },
    trim,
    async close() {
      if (stopped.signal.aborted) return;
      stopped.abort();
      await hourly;
      await checking.catch(() => undefined);
      await groups.idle();
      await goingOn.ended();
      if (goingOn.fatal === undefined && goingOn.paused === undefined)
        await snapshots.take().catch((error) => logger.error({ err: error, directory }, "snapshot at close failed"));
      await snapshots.idle();
      await db?.close();
      await journal?.close();
      await release?.();
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
