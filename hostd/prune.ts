// Which images may go: ours, used by no job for an hour, and more than a few of them. Rollback wants the newest few at hand;
// nobody rolls back to an earlier stack, so its images take no place of an app's.
export interface PruneInput {
  /** Images of the cluster's registry on this host. */
  refs: readonly string[];
  used: ReadonlySet<string>;
  /** When each was last seen in use, monotonic; one never seen counts from now on. */
  lastUsedMs: ReadonlyMap<string, number>;
  nowMs: number;
  keep?: number;
  unusedForMs?: number;
}

const STACK_IMAGE = /^[^/]+\/stack\/(builder|runner)@/;

export function prunableImages({
  refs,
  used,
  lastUsedMs,
  nowMs,
  keep = 5,
  unusedForMs = 3_600_000,
}: PruneInput): string[] {
  const idle = refs
    .filter((ref) => !used.has(ref))
    .map((ref) => ({ ref, at: lastUsedMs.get(ref) ?? nowMs }))
    .sort((a, b) => b.at - a.at || (a.ref < b.ref ? -1 : 1));
  const isStack = ({ ref }: { ref: string }) => STACK_IMAGE.test(ref);
  return [...idle.filter(isStack), ...idle.filter((one) => !isStack(one)).slice(keep)]
    .filter(({ at }) => nowMs - at >= unusedForMs)
    .map(({ ref }) => ref);
}
