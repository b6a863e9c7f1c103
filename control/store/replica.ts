// A node's view of the log: what the records up to a seq make, key by key, changed by applying records and by nothing else. It begins
// with a view that was stored, and goes on with the records after it, whoever wrote them. Its writer applies its own before they are
// durable, and takes back those that will not be.
import { durableView } from "./durable-view.ts";
import type { Entry, Reader } from "./entry.ts";
import { type OutcomeIndex, outcomeIndex } from "./idempotency.ts";
import { IDEMPOTENCY_PREFIX, type LogRecord, type Mutation, type ViewEntry, viewChanges } from "./log.ts";
import { sortedEntries } from "./sorted-entries.ts";
import { freeze } from "./values.ts";

/** A view that is kept where a restart finds it: what a replica begins with. */
export interface StoredView {
  /** Of the newest record that is in it, when iteration starts. */
  readonly seq: number;
  /** In no promised order. */
  entries(): AsyncIterable<ViewEntry>;
}

export interface Replica extends Reader {
  /** Of the newest record applied. */
  readonly seq: number;
  /** As of the newest record that is durable. */
  readonly durable: Reader;
  /** Outcomes of requests that may be sent twice. */
  readonly outcomes: Pick<OutcomeIndex, "find" | "expired">;
  /** Takes in a stored view, before any record. */
  begin(view: StoredView): Promise<void>;
  /** The next record, which is durable. */
  apply(record: LogRecord): void;
  /** The next record, which `written` makes durable: it is read at once. Its values are frozen. */
  applyAhead(record: LogRecord, written: Promise<void>): void;
  /** The oldest record that was applied ahead is durable. */
  settle(record: LogRecord): void;
  /** Undoes what was applied ahead of this seq: nobody reads on what was refused. */
  takeBack(toSeq: number): void;
}

/** A record that is applied, and not yet durable. */
interface Ahead {
  seq: number;
  /** What stood under each key before. */
  before: (readonly [key: string, entry: Entry | undefined])[];
  after: (readonly [key: string, entry: Entry | undefined])[];
  idempotencyKey: string | undefined;
}

export function createReplica(): Replica {
  const entries = sortedEntries<Entry>();
  const outcomes = outcomeIndex();
  const durable = durableView(entries as Reader);
  const ahead: Ahead[] = [];
  let seq = 0;

  const put = (key: string, entry: Entry | undefined): void => {
    if (entry === undefined) entries.delete(key);
    else entries.set(key, entry);
  };
  /** Rows of outcomes are answered from their index alone. */
  const putOutcome = ({ key, value }: Mutation, version: number): void => {
    if (value === null) outcomes.forget(key.slice(IDEMPOTENCY_PREFIX.length));
    else outcomes.load({ key, value, version });
  };
  const entryOf = ({ key, value }: Mutation, version: number): Entry | undefined =>
    value === null ? undefined : Object.freeze({ key, value, version });

  return {
    get seq() {
      return seq;
    },
    durable,
    outcomes,
    get: <T>(key: string) => entries.get(key) as Entry<T> | undefined,
    list: <T>(prefix: string) => entries.list(prefix) as Entry<T>[],
    count: (prefix) => entries.count(prefix),
    async begin(view) {
      const begun = view.seq;
      for await (const { key, value, version } of view.entries()) {
        if (isOutcome(key)) putOutcome({ key, value }, version);
        else put(key, entryOf({ key, value: freeze(value) }, version));
      }
      seq = begun;
    },
    apply(record) {
      checkNext(record, seq);
      for (const { key, value } of viewChanges(record)) {
        if (isOutcome(key)) putOutcome({ key, value }, record.seq);
        else put(key, entryOf({ key, value: freeze(value) }, record.seq));
      }
      seq = record.seq;
    },
    applyAhead(record, written) {
      checkNext(record, seq);
      const { idempotency, mutations, at } = record;
      const own = mutations.filter(({ key }) => !isOutcome(key));
      const before = own.map(({ key }) => [key, entries.get(key)] as const);
      const after = own.map((mutation) => [mutation.key, entryOf(mutation, record.seq)] as const);
      ahead.push({ seq: record.seq, before, after, idempotencyKey: idempotency?.key });
      for (const [key, entry] of before) durable.ahead(key, entry);
      for (const [key, entry] of after) put(key, entry);
      for (const mutation of mutations) if (isOutcome(mutation.key)) putOutcome(mutation, record.seq);
      if (idempotency !== undefined) {
        const { key, hash, result } = idempotency;
        outcomes.add(key, { seq: record.seq, hash, result, atMs: Date.parse(at), durable: written });
      }
      seq = record.seq;
    },
    settle(record) {
      if (ahead[0]?.seq === record.seq) for (const [key, entry] of ahead.shift()!.after) durable.settle(key, entry);
    },
    takeBack(toSeq) {
      for (let last = ahead.at(-1); last !== undefined && last.seq > toSeq; last = ahead.at(-1)) {
        ahead.pop();
        if (last.idempotencyKey !== undefined) outcomes.forget(last.idempotencyKey);
        for (const [key] of last.after) durable.takeBack(key);
        for (const [key, entry] of last.before.reverse()) put(key, entry);
      }
      seq = toSeq;
    },
  };
}

const isOutcome = (key: string): boolean => key.startsWith(IDEMPOTENCY_PREFIX);

function checkNext(record: LogRecord, seq: number): void {
  if (record.seq !== seq + 1) throw new Error(`record ${record.seq} does not follow ${seq}`);
}
