// Requests that may be sent twice: the outcome of each, by idempotency key, for 24 hours. The rows live in the view, so
// they are as durable as the record they came with; this index only answers quickly.
import { Fault } from "#api/fault.ts";
import { IDEMPOTENCY_PREFIX, type Json, type ViewEntry } from "./log.ts";

export const IDEMPOTENCY_TTL_MS = 24 * 3_600_000;

export interface Outcome {
  seq: number;
  hash: string;
  result: Json;
  atMs: number;
  /** Settles when the record is durable. */
  durable: Promise<void>;
}

export interface OutcomeIndex {
  readonly size: number;
  /** The live outcome for the key; Fault `conflict` when the key was used for another request. */
  find(key: string, hash: string, nowMs: number): Outcome | undefined;
  add(key: string, outcome: Outcome): void;
  load(entry: ViewEntry): void;
  forget(key: string): void;
  /** Keys whose outcome is older than the time to live, oldest first, at most `limit`. */
  expired(nowMs: number, limit: number): string[];
}

export function outcomeIndex(): OutcomeIndex {
  const byKey = new Map<string, Outcome>();
  return {
    get size() {
      return byKey.size;
    },
    find(key, hash, nowMs) {
      const outcome = byKey.get(key);
      if (outcome === undefined || nowMs - outcome.atMs > IDEMPOTENCY_TTL_MS) return undefined;
      if (outcome.hash !== hash)
        throw new Fault("conflict", `idempotency key ${JSON.stringify(key)} was used for another request`);
      return outcome;
    },
    add(key, outcome) {
      byKey.delete(key); // a key used again after its day goes to the young end
      byKey.set(key, outcome);
    },
    load({ key, value }) {
      const row = value as { hash: string; result: Json; seq: number; at: string };
      const outcome = {
        seq: row.seq,
        hash: row.hash,
        result: row.result,
        atMs: Date.parse(row.at),
        durable: Promise.resolve(),
      };
      byKey.set(key.slice(IDEMPOTENCY_PREFIX.length), outcome);
    },
    forget: (key) => void byKey.delete(key),
    expired(nowMs, limit) {
      const keys: string[] = [];
      for (const [key, { atMs }] of byKey) {
        if (keys.length >= limit) break;
        if (nowMs - atMs > IDEMPOTENCY_TTL_MS) keys.push(key);
      }
      return keys;
    },
  };
}
