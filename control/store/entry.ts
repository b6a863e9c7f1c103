// One entry of the view, and how a view is read: what the store, its durable side and its rules have in common.
import type { Json } from "./log.ts";

export interface Entry<T = Json> {
  readonly key: string;
  /** Frozen all the way down. */
  readonly value: T;
  /** Seq of the record that wrote it: the version to expect when changing it. */
  readonly version: number;
}

export interface Reader {
  get<T = Json>(key: string): Entry<T> | undefined;
  /** Entries whose key starts with the prefix, in key order. */
  list<T = Json>(prefix: string): Entry<T>[];
  count(prefix: string): number;
}
