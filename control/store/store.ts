// The state of the control plane: the whole view in memory, changed only by records of one ordered log. A commit is
// checked, applied and numbered in the same turn, so the next reader sees it; its promise resolves when it is durable.
import { Fault } from "#api/fault.ts";
import type { Log as Logger } from "#lib/log.ts";
import { every, unhurriedNow } from "#lib/time.ts";
import type { Reader } from "./entry.ts";
import { IDEMPOTENCY_PREFIX, type LogRecord, type Mutation, type OpenReport } from "./log.ts";
import { type LevelLog, type LevelLogOptions, openLevelLog } from "./log-level.ts";
import { createReplica, type Replica } from "./replica.ts";
import { checkKey, storable } from "./values.ts";
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
  openLog?: (options: LevelLogOptions) => Promise<LevelLog>;
}

const EXPIRE_CHUNK = 500;
const READ_CHUNK = 500;

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
  const replica = createReplica();
  await replica.begin(log.view);
  while (replica.seq < log.headSeq)
    for (const record of await log.read(replica.seq + 1, READ_CHUNK)) replica.apply(record);
  const feed = recordFeed(log, logger);
  const stopped = new AbortController();
  /** The greatest number that a refused record had: none of them is given to a record with other content. */
  let refusedSeq = 0;

  const takeBack = () => {
    refusedSeq = Math.max(refusedSeq, replica.seq);
    replica.takeBack(log.headSeq);
  };

  /** Applies what reached the disk after all, and uses up the numbers of what did not. */
  const goOn = (landed: readonly LogRecord[]) => {
    for (const record of landed) {
      replica.apply(record);
      feed.push(record);
    }
    while (replica.seq < refusedSeq) write({ actor: "store", mutations: [] });
  };

  /** The next record: applied when this returns, and durable once `written` resolves. */
  const write = (content: Pick<LogRecord, "actor" | "mutations" | "idempotency">, atMs = now()) => {
    const record = { seq: replica.seq + 1, term: log.term, at: new Date(atMs).toISOString(), ...content };
    const written = log.append([record]).then(() => {
      replica.settle(record);
      feed.push(record);
    });
    written.catch(() => undefined); // the committer hears of it; nobody else has to
    replica.applyAhead(record, written);
    return { seq: record.seq, written };
  };

  const outcome = async <R>(key: string, hash = "", nowMs = keptUntil()): Promise<Committed<R> | undefined> => {
    checkKey(key);
    const earlier = replica.outcomes.find(key, hash, nowMs);
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
      idempotencyKey !== undefined && replica.outcomes.find(idempotencyKey, idempotencyHash, keptUntil()) !== undefined;
    if (log.paused !== undefined && !isRepeated()) throw log.paused;
    if (idempotencyKey !== undefined) {
      checkKey(idempotencyKey);
      const earlier = replica.outcomes.find(idempotencyKey, idempotencyHash, keptUntil());
      if (earlier !== undefined) {
        await earlier.durable;
        return { seq: earlier.seq, result: (earlier.result ?? undefined) as R, replayed: true };
      }
    }
    for (const { key, version } of request.expect ?? []) checkVersion(key, version, replica.get(key)?.version ?? 0);
    const mutations = request.mutations.map(toMutation);
    const result = request.result === undefined ? null : storable(request.result, "the result");

    // From here on nothing can fail: memory and the log change together or not at all.
    const idempotency =
      idempotencyKey === undefined ? {} : { idempotency: { key: idempotencyKey, hash: idempotencyHash, result } };
    const { seq, written } = write({ actor, mutations, ...idempotency }, nowMs);
    await written;
    return { seq, result: request.result as R, replayed: false };
  };

  const expiring = expireOutcomes(
    { outcomes: replica.outcomes, everyMs: expireEveryMs, signal: stopped.signal, now: keptUntil },
    async (keys) => {
      if (log.paused !== undefined) throw log.paused;
      const mutations = keys.map((key) => ({ key: IDEMPOTENCY_PREFIX + key, value: null }));
      await write({ actor: "store", mutations }).written;
    },
  );

  const store: Store = {
    get durable() {
      return settled;
    },
    term: log.term,
    get seq() {
      return replica.seq;
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
    get: replica.get,
    list: replica.list,
    count: replica.count,
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
  const { get, list, count } = replica.durable;
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

interface Expiry {
  outcomes: Replica["outcomes"];
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
