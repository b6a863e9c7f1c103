// Two cloud-config documents as one, by rules that are few and always the same: lists are appended, maps are joined key by key, and where
// both say one thing the platform's word stands. Pure.

type Document = Readonly<Record<string, unknown>>;

/**
 * `first`: keys whose list has the platform's part at the front; of all others it comes after the user's. Files are written in order and
 * the last of one path stands; commands run in order.
 */
export function merged(ours: Document, theirs: Document, first: readonly string[] = []): Record<string, unknown> {
  const result: Record<string, unknown> = {};
  for (const key of [...Object.keys(ours), ...Object.keys(theirs).filter((one) => !Object.hasOwn(ours, one))]) {
    const [own, other] = [ours[key], theirs[key]];
    if (own === undefined) result[key] = other;
    else if (Array.isArray(own) && Array.isArray(other))
      result[key] = first.includes(key) ? [...own, ...other] : [...other, ...own];
    else if (isMap(own) && isMap(other)) result[key] = merged(own, other);
    else result[key] = own;
  }
  return result;
}

const isMap = (value: unknown): value is Document =>
  typeof value === "object" && value !== null && !Array.isArray(value);
