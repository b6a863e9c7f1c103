// Two cloud-config documents as one, by rules that are few and always the same: lists are appended, maps are joined key by key, and where
// both say one thing the platform's word stands. Pure.

type Document = Readonly<Record<string, unknown>>;

/**
 * `first`: keys whose list has the platform's part at the front; of all others it comes after the user's. Files are written in order and
 * the last of one path stands; commands run in order.
 */
export function merged(ours: Document, theirs: Document, first: readonly string[] = []): Record<string, unknown> {
  const keys = [...Object.keys(ours), ...Object.keys(theirs).filter((one) => !Object.hasOwn(ours, one))];
  const of = (document: Document, key: string) => (Object.hasOwn(document, key) ? document[key] : undefined);
  return Object.fromEntries(keys.map((key) => [key, both(of(ours, key), of(theirs, key), first.includes(key))]));
}

function both(own: unknown, other: unknown, first: boolean): unknown {
  if (own === undefined) return other;
  if (Array.isArray(own) && Array.isArray(other)) return first ? [...own, ...other] : [...other, ...own];
  return isMap(own) && isMap(other) ? merged(own, other) : own;
}

const isMap = (value: unknown): value is Document =>
  typeof value === "object" && value !== null && !Array.isArray(value);
