// A store as rules read it: what is kept, in key order. Nothing waits, nothing is durable, and only the test writes to it.

import type { Entry } from "../../control/store/entry.ts";
import { sortedEntries } from "../../control/store/sorted-entries.ts";
import type { Store } from "../../control/store/store.ts";

export interface Kept extends Store {
  /** As a record of the store would: the next version; undefined deletes. */
  put(key: string, value: unknown): void;
}

/** Each value at version 1; `seq` is that of the newest record. */
export function kept(values: Readonly<Record<string, unknown>> = {}, seq = 1): Kept {
  const entries = sortedEntries<Entry<unknown>>();
  for (const [key, value] of Object.entries(values)) entries.set(key, { key, value, version: 1 });
  const { get, list, count } = entries;
  const store = {
    seq,
    term: 1,
    get,
    list,
    count,
    report: {},
    get durable() {
      return store; // nothing is written that is not durable
    },
    put(key: string, value: unknown) {
      store.seq++;
      if (value === undefined) entries.delete(key);
      else entries.set(key, { key, value, version: store.seq });
    },
  };
  return store as unknown as Kept;
}
