// Who takes in every durable record from the start, in the order of a list. What a follower reads of others stands in the list beside it,
// so that a list in the wrong order is refused, not found out by what goes wrong.
import type { LogRecord } from "../store/log.ts";
import type { Store } from "../store/store.ts";

export interface Follower {
  name: string;
  take: (record: LogRecord) => void;
  /** Names of those that have to have taken the record in before. */
  reads?: readonly string[];
}

/** Throws when one would read what is not there yet. */
export function checkOrder(followers: readonly Pick<Follower, "name" | "reads">[]): void {
  const before = new Set<string>();
  for (const { name, reads = [] } of followers) {
    const missing = reads.filter((other) => !before.has(other));
    if (missing.length > 0) throw new Error(`${name} reads ${missing.join(" and ")}, which has to come before it`);
    if (before.has(name)) throw new Error(`${name} is in the list twice`);
    before.add(name);
  }
}

/** From now on until the returned function is called. One that throws harms nobody else: the store gives it the record again. */
export function follow(store: Pick<Store, "onDurable">, followers: readonly Follower[]): () => void {
  checkOrder(followers);
  const stops = followers.map(({ take }) => store.onDurable(take));
  return () => {
    for (const stop of stops) stop();
  };
}
