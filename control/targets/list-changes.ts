// What differs between two states of a list that every host is sent: found once, however many hosts go from the one to the other.
export interface ListChanges<T> {
  put: T[];
  gone: string[];
}

export type DiffLists<T> = (from: readonly T[], to: readonly T[]) => ListChanges<T>;

/** `keyOf`: what a row is known by. Lists are never changed in place; a row that is another object is another row. */
export function listDiffs<T>(keyOf: (row: T) => string): DiffLists<T> {
  const known = new WeakMap<readonly T[], { to: readonly T[]; changes: ListChanges<T> }>();
  return (from, to) => {
    const last = known.get(from);
    if (last?.to === to) return last.changes;
    const before = new Map(from.map((row) => [keyOf(row), row]));
    const put: T[] = [];
    for (const row of to) {
      const key = keyOf(row);
      if (before.get(key) !== row) put.push(row);
      before.delete(key);
    }
    const changes = { put, gone: [...before.keys()] };
    known.set(from, { to, changes });
    return changes;
  };
}
