// A target that comes in parts (HostTargetPart) made whole again: lists that are long on a large cluster come as changes of what the same
// stream sent before. Pure.
import type { HostTarget, HostTargetPart } from "#api/hosts.ts";

/** `before`: the target that the stream gave last, accepted or not. Undefined when the part is of something this host has not got. */
export function wholeTarget(part: HostTargetPart, before: HostTarget | undefined): HostTarget | undefined {
  const { peerChanges, closedChanges, peers = before?.peers, reach, ...rest } = part;
  const closed = reach?.closed ?? before?.reach?.closed;
  if (peers === undefined || (reach !== undefined && closed === undefined)) return undefined;
  const own = changed(peers, peerChanges, ({ hostId }) => hostId).filter(({ hostId }) => hostId !== part.hostId);
  return {
    ...rest,
    peers: own,
    ...(reach === undefined
      ? {}
      : { reach: { ...reach, closed: changed(closed!, closedChanges, (range) => range).sort() } }),
  };
}

function changed<T>(
  rows: readonly T[],
  changes: { put: T[]; gone: string[] } | undefined,
  keyOf: (row: T) => string,
): T[] {
  if (changes === undefined) return [...rows];
  const kept = new Map(rows.map((row) => [keyOf(row), row]));
  for (const key of changes.gone) kept.delete(key);
  for (const row of changes.put) kept.set(keyOf(row), row);
  return [...kept.values()];
}
