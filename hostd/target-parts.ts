// A target that comes in parts (HostTargetPart) made whole again: lists that grow with the cluster or with what runs here come as changes of
// what the same stream sent before. Pure.
import type { HostTarget, HostTargetPart } from "#api/host-agents.ts";
import type { Reach } from "#api/reach.ts";

interface Changes<T> {
  put: T[];
  gone: string[];
}

/** `before`: the target that the stream gave last, accepted or not. Undefined when the part is of something this host has not got. */
export function wholeTarget(part: HostTargetPart, before: HostTarget | undefined): HostTarget | undefined {
  const { peerChanges, jobChanges, closedChanges, appChanges, ...rest } = part;
  const { peers = before?.peers, jobs = before?.jobs, reach: _, ...same } = rest;
  const reach = part.reach && wholeReach(part.reach, before?.reach, { closedChanges, appChanges });
  if (peers === undefined || jobs === undefined || (part.reach !== undefined && reach === undefined)) return undefined;
  return {
    ...same,
    peers: changed(peers, peerChanges, ({ hostId }) => hostId).filter(({ hostId }) => hostId !== part.hostId),
    jobs: sorted(jobs, jobChanges, ({ id }) => id),
    ...(reach === undefined ? {} : { reach }),
  };
}

function wholeReach(
  part: NonNullable<HostTargetPart["reach"]>,
  before: Reach | undefined,
  { closedChanges, appChanges }: Pick<HostTargetPart, "closedChanges" | "appChanges">,
): Reach | undefined {
  const { closed = before?.closed, apps = before?.apps } = part;
  if (closed === undefined || apps === undefined) return undefined;
  return {
    ...part,
    closed: sorted(closed, closedChanges, (range) => range),
    apps: sorted(apps, appChanges, ({ appId }) => appId),
  };
}

/** As control has it: by what the rows are known by. */
const sorted = <T>(rows: readonly T[], changes: Changes<T> | undefined, keyOf: (row: T) => string): T[] =>
  changes === undefined ? [...rows] : changed(rows, changes, keyOf).sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));

function changed<T>(rows: readonly T[], changes: Changes<T> | undefined, keyOf: (row: T) => string): T[] {
  if (changes === undefined) return [...rows];
  const kept = new Map(rows.map((row) => [keyOf(row), row]));
  for (const key of changes.gone) kept.delete(key);
  for (const row of changes.put) kept.set(keyOf(row), row);
  return [...kept.values()];
}
