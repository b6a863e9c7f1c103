// The entries as of the newest durable record, while memory is ahead of the disk: what members are sent, since a crash takes nothing of it
// back. Few keys differ at any moment, so only those are kept beside the view.
import type { Entry, Reader } from "./entry.ts";

interface Ahead {
  /** As it is on disk. */
  entry: Entry | undefined;
  /** Records that write the key and are not durable yet. */
  writes: number;
}

export interface DurableView extends Reader {
  /** A record was applied that writes the key; `entry` is what stood there before. */
  ahead(key: string, entry: Entry | undefined): void;
  /** The oldest of them is durable, and wrote this. */
  settle(key: string, entry: Entry | undefined): void;
  /** The newest of them was refused. */
  takeBack(key: string): void;
}

export function durableView(entries: Reader): DurableView {
  const differing = new Map<string, Ahead>();
  const less = (key: string): Ahead | undefined => {
    const found = differing.get(key);
    if (found !== undefined && --found.writes === 0) differing.delete(key);
    return found;
  };
  const list = (prefix: string): Entry[] => {
    const found = entries.list(prefix) as Entry[];
    const other = [...differing].filter(([key]) => key.startsWith(prefix));
    if (other.length === 0) return found;
    const kept = found.filter(({ key }) => !differing.has(key));
    for (const [, { entry }] of other) if (entry !== undefined) kept.push(entry);
    return kept.sort((a, b) => (a.key < b.key ? -1 : 1));
  };
  return {
    get: <T>(key: string) =>
      (differing.has(key) ? differing.get(key)!.entry : entries.get(key)) as Entry<T> | undefined,
    list: <T>(prefix: string) => list(prefix) as Entry<T>[],
    count: (prefix) => (differing.size === 0 ? entries.count(prefix) : list(prefix).length),
    ahead(key, entry) {
      const found = differing.get(key);
      if (found === undefined) differing.set(key, { entry, writes: 1 });
      else found.writes++;
    },
    settle(key, entry) {
      const found = less(key);
      if (found !== undefined) found.entry = entry;
    },
    takeBack: (key) => void less(key),
  };
}
