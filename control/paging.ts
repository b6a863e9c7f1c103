// Pages by cursor: the cursor is the last key shown, so a page is stable while the list changes.
import { Fault } from "#api/fault.ts";
import type { Entry } from "./store/store.ts";

export function page<S, T>(
  entries: readonly Entry<S>[],
  query: { limit?: number; cursor?: string },
  shown: (entry: Entry<S>) => T,
): { items: T[]; nextCursor?: string } {
  const { limit = 100, cursor } = query;
  let start = 0;
  if (cursor !== undefined) {
    const after = Buffer.from(cursor, "base64url").toString("utf8");
    if (after === "" || Buffer.from(after).toString("base64url") !== cursor)
      throw new Fault("invalid", "the cursor is not one of this list's");
    start = entries.findIndex(({ key }) => key > after);
    if (start < 0) return { items: [] };
  }
  const shownEntries = entries.slice(start, start + limit);
  const more = start + limit < entries.length;
  return {
    items: shownEntries.map(shown),
    ...(more ? { nextCursor: Buffer.from(shownEntries.at(-1)!.key).toString("base64url") } : {}),
  };
}
