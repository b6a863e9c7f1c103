// The port every store back end implements: one ordered log of records with dense sequence numbers. What the records make, key by key,
// is a replica's (replica.ts). One adapter so far: level, for one control node.
import type { Fault } from "#api/fault.ts";

export type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json };

export interface Mutation {
  key: string;
  /** null deletes the key. */
  value: Json | null;
}

/** The outcome of a request that may be sent twice, kept with the record it made. */
export interface Idempotency {
  key: string;
  /** Digest of the request, so that a key used again for another request is refused. */
  hash: string;
  result: Json;
}

export interface LogRecord {
  /** Dense, from 1. */
  seq: number;
  /** Fencing token of the writer; never decreases. */
  term: number;
  /** ISO 8601, UTC. */
  at: string;
  actor: string;
  mutations: readonly Mutation[];
  idempotency?: Idempotency;
}

export interface ViewEntry {
  key: string;
  value: Json;
  /** Seq of the record that wrote it. */
  version: number;
}

/** How a log that was restored, or salvaged, came about. */
export interface Restoration {
  restoredAt: string;
  /** When the newest record that is in it was made, as far as known. */
  at?: string;
  /** Records that were written and are not in it. */
  lost?: { fromSeq: number; toSeq: number };
}

/** How the log was found when it was opened. Everything but `clean` and `created` belongs in the program's log. */
export interface OpenReport {
  /** `rolled-forward`: a copy was behind by what a crash leaves. `recovered`: a copy was damaged; the other one healed it. */
  outcome: "created" | "clean" | "rolled-forward" | "recovered";
  findings: string[];
  headSeq: number;
  oldestSeq: number;
  entries: number;
  tookMs: number;
  /** Of the last restore or salvage that this log goes on from, now or before. */
  restored?: Restoration;
}

export interface Log {
  /** Fencing term of this opening: greater than that of every record before it. */
  readonly term: number;
  /** Seq of the newest durable record; 0 when there is none. */
  readonly headSeq: number;
  /** Seq of the oldest record that `read` still has; `headSeq + 1` when it has none. */
  readonly oldestSeq: number;
  readonly report: OpenReport;
  /** Why the last snapshot could not be taken; undefined when it was, and of a log that takes none. */
  readonly snapshotProblem?: string | undefined;
  /**
   * Makes the records durable, all or none of one call, and resolves then. Calls keep their order and may overlap: what is
   * queued while a write is in flight goes in the next one. After a failed write every call rejects with `paused` until writing works.
   */
  append(records: readonly LogRecord[]): Promise<void>;
  /** Durable records from `fromSeq` on, at most `limit`. Fault `gone` when `fromSeq` is older than `oldestSeq`. */
  read(fromSeq: number, limit: number): Promise<LogRecord[]>;
  /** Forgets records with a seq below `beforeSeq`; the newest record always stays. */
  trim(beforeSeq: number): Promise<void>;
  /** Why nothing is written now; undefined when it is. Whatever paused it is tried again until it works. */
  readonly paused?: Fault | undefined;
  /** The longest that a write took lately, one under way included. */
  readonly worstWriteMs?: number;
  /** Waits for queued writes, then lets go of the directory or connection. */
  close(): Promise<void>;
}

/** View keys under this prefix belong to the store itself: kept outcomes of requests, by idempotency key. */
export const IDEMPOTENCY_PREFIX = "idempotency/";

/** What a record does to the view; every adapter applies exactly this. */
export function viewChanges(record: LogRecord): readonly Mutation[] {
  const { idempotency, mutations, at, seq } = record;
  if (idempotency === undefined) return mutations;
  const { key, hash, result } = idempotency;
  return [...mutations, { key: IDEMPOTENCY_PREFIX + key, value: { hash, result, seq, at } }];
}
