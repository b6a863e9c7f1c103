// Pages by cursor: the cursor is the last key shown, so a page is stable while the list changes.
import { Fault } from "#api/fault.ts";

/** Keys rise, or fall in a list that begins with the newest; no two are the same. */
export function page<E extends { readonly key: string }, T>(
  entries: readonly E[],
  query: { limit?: number; cursor?: string },
  shown: (entry: E) => T,
  { falling = false } = {},
): { items: T[]; nextCursor?: string } {
  const { limit = 100, cursor } = query;
  let start = 0;
  if (cursor !== undefined) {
    const after = Buffer.from(cursor, "base64url").toString("utf8");
    if (after === "" || Buffer.from(after).toString("base64url") !== cursor)
      throw new Fault("invalid", "the cursor is not one of this list's");
    start = entries.findIndex(({ key }) => (falling ? key < after : key > after));
    if (start < 0) return { items: [] };
  }
  const shownEntries = entries.slice(start, start + limit);
  const more = start + limit < entries.length;
  return {
    items: shownEntries.map(shown),
    ...(more ? { nextCursor: Buffer.from(shownEntries.at(-1)!.key).toString("base64url") } : {}),
  };
}

/** A page of what has ids and is in their order: ids sort by time of making. */
export const pageOf = <T extends { id: string }>(
  values: readonly T[],
  query: { limit?: number; cursor?: string },
): { items: T[]; nextCursor?: string } =>
  page(
    values.map((value) => ({ key: value.id, value })),
    query,
    ({ value }) => value,
  );
