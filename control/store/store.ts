// The state of the control plane: the whole view in memory, changed only by records of one ordered log. A commit is
// checked, applied and numbered in the same turn, so the next reader sees it; its promise resolves when it is durable.
import { Fault } from "#api/fault.ts";
import type { Log as Logger } from "#lib/log.ts";
import { every, unhurriedNow } from "#lib/time.ts";
import { durableView } from "./durable-view.ts";
import type { Entry, Reader } from "./entry.ts";
import { type OutcomeIndex, outcomeIndex } from "./idempotency.ts";
import { IDEMPOTENCY_PREFIX, type Log, type LogRecord, type Mutation, type OpenReport, viewChanges } from "./log.ts";
import { type LevelLogOptions, openLevelLog } from "./log-level.ts";
import { sortedEntries } from "./sorted-entries.ts";
import { checkKey, freeze, storable } from "./values.ts";
import { recordFeed } from "./watch.ts";

export interface Change {
  key: string;
  /** Any JSON value; null deletes the key. The store keeps a copy. */
  value: unknown;
}

export interface Commit<R> {
  /** Who did it, as shown in events. */
  actor: string;
  mutations: readonly Change[];
  /** What must still be true: the version of each key, 0 for a key that must not exist. */
  expect?: readonly { key: string; version: number }[];
  /** The same key again within 24 hours gets the first outcome and writes nothing. */
  idempotencyKey?: string;
  /** Digest of the request: the same key with another digest is a `conflict`. */
  idempotencyHash?: string;
  /** Kept with the idempotency key and given back to whoever repeats the request. */
  result?: R;
}

export interface Committed<R> {
  seq: number;
  result: R;
  /** True when this was a repetition and nothing was written. */
  replayed: boolean;
}

export interface Store extends Reader {
  /** Fencing term: goes with every order to a host or router. */
  readonly term: number;
  /** Seq of the newest applied record, durable or about to be. */
  readonly seq: number;
  readonly durableSeq: number;
  /** Oldest record a watch can start from. */
  readonly oldestSeq: number;
  readonly report: OpenReport;
  /** Why the last snapshot could not be taken. */
  readonly snapshotProblem: string | undefined;
  /** The same store, read as of `durableSeq`: for what leaves control, since a crash takes nothing of it back. */
  readonly durable: Store;
  /**
   * Applied before it returns, resolved when durable. Faults: `precondition` (a version differs), `conflict` (exists already; key
   * used for another request), `too-large`, `invalid`, `unavailable` (log failed or closed: the outcome is unknown).
   */
  commit<R = undefined>(commit: Commit<R>): Promise<Committed<R>>;
  /** What a request with this key did, once durable; undefined when there was none. Fault `conflict` as of `commit`. */
  outcome<R>(idempotencyKey: string, idempotencyHash?: string): Promise<Committed<R> | undefined>;
  /**
   * Durable records from `fromSeq` (itself included) on, in order, until the signal aborts. Fault `gone` when that one is
   * no longer kept or lies beyond the next one to be written: list again and watch from `durableSeq + 1`.
   */
  watch(fromSeq: number, signal: AbortSignal): AsyncIterable<LogRecord>;
  /** Tells each record once it is durable, in order. Returns the way to stop. */
  onDurable(listener: (record: LogRecord) => void): () => void;
  /** True once nothing can be decided any more: the log has failed, or the store is closed. */
  readonly ended: boolean;
  /** Why changes are refused now, as their committers are answered; undefined when they are taken. */
  readonly paused: Fault | undefined;
  /** The longest that a write to disk took lately, one under way included, in milliseconds. */
  readonly worstWriteMs: number;
  close(): Promise<void>;
}

export interface StoreOptions {
  directory: string;
  log: Logger;
  now?: () => number;
  /** Told once when the log has failed for good; the program must end, a supervisor starts it again. */
  onFatal?: (error: Error) => void;
  /** Open damaged state with what verifies instead of refusing it. */
  salvage?: boolean;
  /** Records kept for watchers; default 20,000. */
  retainRecords?: number;
  /** How often kept outcomes are looked through for expired ones. */
  expireEveryMs?: number;
  /** How often writing is tried again after it failed. */
  retryMs?: number;
  openLog?: (options: LevelLogOptions) => Promise<Log>;
}

const EXPIRE_CHUNK = 500;

export async function openStore(options: StoreOptions): Promise<Store> {
  const {
    directory,
    log: logger,
    now = Date.now,
    onFatal,
    salvage,
    retainRecords,
    expireEveryMs = 600_000,
    openLog = openLevelLog,
    retryMs,
  } = options;
  const keptUntil = options.now ?? unhurriedNow;
  let failed = false;
  const fatal = (error: Error) => {
    failed = true;
    onFatal?.(error);
  };
  const log = await openLog({
    ...{ directory, logger, onFatal: fatal, salvage, retainRecords, now, retryMs },
    onPaused: () => takeBack(),
    onResumed: (landed) => goOn(landed),
  });
  const entries = sortedEntries<Entry>();
  const outcomes = outcomeIndex();
  for await (const { key, value, version } of log.view()) {
    if (key.startsWith(IDEMPOTENCY_PREFIX)) outcomes.load({ key, value, version });
    else entries.set(key, Object.freeze({ key, value: freeze(value), version }));
  }
  const feed = recordFeed(log, logger);
  const stopped = new AbortController();
  let seq = log.headSeq;
  /** Applied, and not yet durable. */
  const pending: Pending[] = [];
  const durable = durableView(entries as Reader);
  /** The greatest number that a refused record had: none of them is given to a record with other content. */
  let refusedSeq = 0;

  /** Undoes what will not be durable: nobody reads on what was refused. */
  const takeBack = () => {
    for (let last = pending.at(-1); last !== undefined && last.seq > log.headSeq; last = pending.at(-1)) {
      pending.pop();
      if (last.idempotencyKey !== undefined) outcomes.forget(last.idempotencyKey);
      for (const [key] of last.after) durable.takeBack(key);
      for (const [key, entry] of last.before.reverse()) {
        if (entry === undefined) entries.delete(key);
        else entries.set(key, entry);
      }
    }
    refusedSeq = Math.max(refusedSeq, seq);
    seq = log.headSeq;
  };

  /** Applies what reached the disk after all, and uses up the numbers of what did not. */
  const goOn = (landed: readonly LogRecord[]) => {
    for (const record of landed) {
      for (const { key, value } of viewChanges(record)) {
        if (key.startsWith(IDEMPOTENCY_PREFIX)) {
          if (value === null) outcomes.forget(key.slice(IDEMPOTENCY_PREFIX.length));
          else outcomes.load({ key, value, version: record.seq });
        } else if (value === null) entries.delete(key);
        else entries.set(key, Object.freeze({ key, value: freeze(value), version: record.seq }));
      }
      seq = record.seq;
      feed.push(record);
    }
    while (seq < refusedSeq)
      void append({ seq: ++seq, term: log.term, at: new Date(now()).toISOString(), actor: "store", mutations: [] });
  };

  const append = (record: LogRecord): Promise<void> => {
    const written = log.append([record]).then(() => {
      if (pending[0]?.seq === record.seq) for (const [key, entry] of pending.shift()!.after) durable.settle(key, entry);
      feed.push(record);
    });
    written.catch(() => undefined); // the committer hears of it; nobody else has to
    return written;
  };

  const outcome = async <R>(key: string, hash = "", nowMs = keptUntil()): Promise<Committed<R> | undefined> => {
    checkKey(key);
    const earlier = outcomes.find(key, hash, nowMs);
    if (earlier === undefined) return undefined;
    await earlier.durable;
    return { seq: earlier.seq, result: (earlier.result ?? undefined) as R, replayed: true };
  };

  const commit = async <R>(request: Commit<R>): Promise<Committed<R>> => {
    const { actor, idempotencyKey, idempotencyHash = "" } = request;
    if (stopped.signal.aborted || failed)
      throw new Fault("unavailable", failed ? "the log has failed" : "the store is closed");
    const nowMs = now();
    const isRepeated = () =>
      idempotencyKey !== undefined && outcomes.find(idempotencyKey, idempotencyHash, keptUntil()) !== undefined;
    if (log.paused !== undefined && !isRepeated()) throw log.paused;
    if (idempotencyKey !== undefined) {
      checkKey(idempotencyKey);
      const earlier = outcomes.find(idempotencyKey, idempotencyHash, keptUntil());
      if (earlier !== undefined) {
        await earlier.durable;
        return { seq: earlier.seq, result: (earlier.result ?? undefined) as R, replayed: true };
      }
    }
    for (const { key, version } of request.expect ?? []) checkVersion(key, version, entries.get(key)?.version ?? 0);
    const mutations = request.mutations.map(toMutation);
    const result = request.result === undefined ? null : storable(request.result, "the result");

    // From here on nothing can fail: memory and the log change together or not at all.
    const record: LogRecord = { seq: ++seq, term: log.term, at: new Date(nowMs).toISOString(), actor, mutations };
    if (idempotencyKey !== undefined) record.idempotency = { key: idempotencyKey, hash: idempotencyHash, result };
    const before = mutations.map(({ key }) => [key, entries.get(key)] as const);
    const after = mutations.map(
      ({ key, value }) =>
        [key, value === null ? undefined : Object.freeze({ key, value, version: record.seq })] as const,
    );
    pending.push({ seq: record.seq, before, after, idempotencyKey });
    for (const [key, entry] of before) durable.ahead(key, entry);
    for (const [key, entry] of after) {
      if (entry === undefined) entries.delete(key);
      else entries.set(key, entry);
    }
    const written = append(record);
    if (idempotencyKey !== undefined)
      outcomes.add(idempotencyKey, { seq: record.seq, hash: idempotencyHash, result, atMs: nowMs, durable: written });
    await written;
    return { seq: record.seq, result: request.result as R, replayed: false };
  };

  const expiring = expireOutcomes(
    { outcomes, everyMs: expireEveryMs, signal: stopped.signal, now: keptUntil },
    async (keys) => {
      if (log.paused !== undefined) throw log.paused;
      for (const key of keys) outcomes.forget(key);
      const mutations = keys.map((key) => ({ key: IDEMPOTENCY_PREFIX + key, value: null }));
      await append({ seq: ++seq, term: log.term, at: new Date(now()).toISOString(), actor: "store", mutations });
    },
  );

  const store: Store = {
    get durable() {
      return settled;
    },
    term: log.term,
    get seq() {
      return seq;
    },
    get durableSeq() {
      return feed.durableSeq;
    },
    get oldestSeq() {
      return log.oldestSeq;
    },
    report: log.report,
    get snapshotProblem() {
      return log.snapshotProblem;
    },
    get: <T>(key: string) => entries.get(key) as Entry<T> | undefined,
    list: <T>(prefix: string) => entries.list(prefix) as Entry<T>[],
    count: (prefix) => entries.count(prefix),
    commit,
    outcome: (key, hash) => outcome(key, hash),
    watch: (fromSeq, signal) => feed.watch(fromSeq, signal),
    onDurable: (listener) => feed.listen(listener),
    get ended() {
      return failed || stopped.signal.aborted;
    },
    get paused() {
      return log.paused;
    },
    get worstWriteMs() {
      return log.worstWriteMs ?? 0;
    },
    async close() {
      stopped.abort();
      await expiring;
      await log.close();
      feed.close();
    },
  };
  const { get, list, count } = durable;
  const readers = { get, list, count };
  const settled: Store = Object.create(store, Object.getOwnPropertyDescriptors(readers));
  return store;
}

function checkVersion(key: string, expected: number, found: number): void {
  if (expected === found) return;
  const details = { key, expected, found };
  if (expected === 0) throw new Fault("conflict", `${key} exists already`, { details });
  const state = found === 0 ? "is gone" : `has changed (version ${found})`;
  throw new Fault("precondition", `${key} ${state} since version ${expected}`, { details });
}

function toMutation({ key, value }: Change): Mutation {
  checkKey(key);
  if (key.startsWith(IDEMPOTENCY_PREFIX)) throw new Fault("invalid", `${IDEMPOTENCY_PREFIX} belongs to the store`);
  return { key, value: value === null ? null : storable(value, key) };
}

interface Pending {
  seq: number;
  /** What stood under each key before. */
  before: (readonly [key: string, entry: Entry | undefined])[];
  after: (readonly [key: string, entry: Entry | undefined])[];
  idempotencyKey: string | undefined;
}

interface Expiry {
  outcomes: OutcomeIndex;
  everyMs: number;
  signal: AbortSignal;
  now: () => number;
}

async function expireOutcomes(
  { outcomes, everyMs, signal, now }: Expiry,
  drop: (keys: string[]) => Promise<void>,
): Promise<void> {
  for await (const turn of every(everyMs, signal)) {
    if (turn === 0) continue;
    for (;;) {
      const keys = outcomes.expired(now(), EXPIRE_CHUNK);
      if (keys.length === 0 || signal.aborted) break;
      try {
        await drop(keys);
      } catch {
        break; // writing is paused, or over; both were said
      }
    }
  }
}
