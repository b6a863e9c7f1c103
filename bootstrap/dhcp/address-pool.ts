// The addresses of a range that nobody holds, and those that were held, by when they came free: both found without a walk over the
// range, which may be a /8 and is asked for by strangers.

/** Numbers 0 to `count` - 1, each taken or free. */
export interface FreeNumbers {
  take(number: number): void;
  free(number: number): void;
  /** The first free one at `start` or after it, the range taken as a circle; undefined when all are taken. */
  next(start: number): number | undefined;
}

export function freeNumbers(count: number): FreeNumbers {
  // A bit is set for a taken number; what is behind the end counts as taken.
  const words = new Uint32Array(Math.ceil(count / 32)).fill(0);
  const last = words.length - 1;
  const behind = words.length * 32 - count;
  if (behind > 0) words[last] = (0xffffffff << (32 - behind)) >>> 0;
  const lowestFree = (word: number, fromBit: number): number | undefined => {
    const open = (~words[word]! & (0xffffffff << fromBit)) >>> 0;
    return open === 0 ? undefined : word * 32 + (31 - Math.clz32(open & -open));
  };
  return {
    take(number) {
      words[number >>> 5]! |= 1 << (number & 31);
    },
    free(number) {
      words[number >>> 5]! &= ~(1 << (number & 31));
    },
    next(start) {
      const found = lowestFree(start >>> 5, start & 31);
      if (found !== undefined) return found;
      for (let n = 1; n <= words.length; n++) {
        const word = ((start >>> 5) + n) % words.length;
        if (words[word] === 0xffffffff) continue;
        const other = lowestFree(word, 0);
        if (other !== undefined) return other;
      }
      return undefined;
    },
  };
}

/** Keys by a time that may change: the one whose time is earliest comes first. */
export interface Expiries {
  set(key: string, atMs: number): void;
  delete(key: string): void;
  /** The earliest. */
  first(): { key: string; atMs: number } | undefined;
}

export function expiries(): Expiries {
  const timeOf = new Map<string, number>();
  // A binary heap; an entry whose time is not its key's any more is dropped when it comes to the top.
  let heap: { key: string; atMs: number }[] = [];
  const isStale = ({ key, atMs }: { key: string; atMs: number }) => timeOf.get(key) !== atMs;
  const swap = (a: number, b: number) => {
    [heap[a], heap[b]] = [heap[b]!, heap[a]!];
  };
  const up = (from: number): void => {
    for (let at = from; at > 0; ) {
      const parent = (at - 1) >> 1;
      if (heap[parent]!.atMs <= heap[at]!.atMs) return;
      swap(at, parent);
      at = parent;
    }
  };
  const down = (from: number): void => {
    for (let at = from; ; ) {
      const [left, right] = [2 * at + 1, 2 * at + 2];
      let least = at;
      if (left < heap.length && heap[left]!.atMs < heap[least]!.atMs) least = left;
      if (right < heap.length && heap[right]!.atMs < heap[least]!.atMs) least = right;
      if (least === at) return;
      swap(at, least);
      at = least;
    }
  };
  const dropTop = (): void => {
    const end = heap.pop()!;
    if (heap.length === 0) return;
    heap[0] = end;
    down(0);
  };
  return {
    set(key, atMs) {
      if (timeOf.get(key) === atMs) return;
      timeOf.set(key, atMs);
      heap.push({ key, atMs });
      up(heap.length - 1);
      if (heap.length <= 2 * timeOf.size + 1_024) return;
      heap = heap.filter((one) => !isStale(one)).sort((a, b) => a.atMs - b.atMs); // renewals leave old entries
    },
    delete(key) {
      timeOf.delete(key);
    },
    first() {
      while (heap.length > 0 && isStale(heap[0]!)) dropTop();
      return heap[0];
    },
  };
}
