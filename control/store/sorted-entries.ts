// Entries in key order (code units) with cheap insert, delete and prefix listing at 100,000 keys: a list of sorted
// chunks. A slot keeps its place while its entry is replaced, so an update never searches.

const MAX_CHUNK = 512;

export interface Slot<E> {
  readonly key: string;
  entry: E;
}

export interface SortedEntries<E> {
  readonly size: number;
  get(key: string): E | undefined;
  set(key: string, entry: E): void;
  delete(key: string): void;
  /** Entries whose key starts with the prefix, in key order. */
  list(prefix: string): E[];
  count(prefix: string): number;
}

export function sortedEntries<E>(): SortedEntries<E> {
  const slots = new Map<string, Slot<E>>();
  const chunks: Slot<E>[][] = [];

  /** Index of the chunk that holds, or would hold, the key. */
  const chunkOf = (key: string): number => {
    let low = 0;
    let high = chunks.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (chunks[middle]![0]!.key <= key) low = middle;
      else high = middle - 1;
    }
    return low;
  };

  const insert = (slot: Slot<E>) => {
    if (chunks.length === 0) return void chunks.push([slot]);
    const at = chunkOf(slot.key);
    const chunk = chunks[at]!;
    chunk.splice(lowerBound(chunk, slot.key), 0, slot);
    if (chunk.length <= MAX_CHUNK) return;
    // Ids sort by time of making, so most inserts are at the end: leave full chunks behind, not half-full ones.
    const appended = at === chunks.length - 1 && chunk[chunk.length - 1] === slot;
    chunks.splice(at + 1, 0, chunk.splice(appended ? MAX_CHUNK : MAX_CHUNK >> 1));
  };

  /** Calls back with [chunk, from, to) for each run of slots that start with the prefix. */
  const eachRun = (prefix: string, run: (chunk: Slot<E>[], from: number, to: number) => void) => {
    if (chunks.length === 0) return;
    for (let at = chunkOf(prefix); at < chunks.length; at++) {
      const chunk = chunks[at]!;
      const from = lowerBound(chunk, prefix);
      if (from === chunk.length) continue;
      if (!chunk[from]!.key.startsWith(prefix)) return;
      const whole = chunk[chunk.length - 1]!.key.startsWith(prefix);
      const to = whole ? chunk.length : endOfPrefix(chunk, from, prefix);
      run(chunk, from, to);
      if (!whole) return;
    }
  };

  return {
    get size() {
      return slots.size;
    },
    get: (key) => slots.get(key)?.entry,
    set(key, entry) {
      const slot = slots.get(key);
      if (slot !== undefined) {
        slot.entry = entry;
        return;
      }
      const added = { key, entry };
      slots.set(key, added);
      insert(added);
    },
    delete(key) {
      if (!slots.delete(key)) return;
      const at = chunkOf(key);
      const chunk = chunks[at]!;
      chunk.splice(lowerBound(chunk, key), 1);
      if (chunk.length === 0) chunks.splice(at, 1);
    },
    list(prefix) {
      const found: E[] = [];
      eachRun(prefix, (chunk, from, to) => {
        for (let i = from; i < to; i++) found.push(chunk[i]!.entry);
      });
      return found;
    },
    count(prefix) {
      let total = 0;
      eachRun(prefix, (_, from, to) => {
        total += to - from;
      });
      return total;
    },
  };
}

/** First index whose key is not below `key`. */
function lowerBound(chunk: readonly { key: string }[], key: string): number {
  let low = 0;
  let high = chunk.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (chunk[middle]!.key < key) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** First index after `from` whose key does not start with the prefix; keys that do are contiguous. */
function endOfPrefix(chunk: readonly { key: string }[], from: number, prefix: string): number {
  let low = from;
  let high = chunk.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (chunk[middle]!.key.startsWith(prefix)) low = middle + 1;
    else high = middle;
  }
  return low;
}
