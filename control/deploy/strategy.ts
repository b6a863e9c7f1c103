// The strategies: from what the formations ask for, all of it healthy, to what they ask for next. Pure, and from any counts in
// between, so it does not matter who stopped where. W wanted, N new, O old of one process:
// - rolling: N grows by one; old ones beyond W - N go. Never fewer healthy than there were, or are wanted.
// - in-batches: the same, a third of W (or the app's batch size) at a time.
// - all-at-once: N becomes W; then O becomes 0.
// - one-down-one-up: an old one goes, and when it has ended a new one comes. At most one is missing, never one too many.
import type { Strategy } from "#api/apps.ts";

/** Jobs by process. */
export type Counts = Record<string, number>;

export interface Standing {
  strategy: Strategy;
  batchSize?: number;
  wanted: Counts;
  newCounts: Counts;
  oldCounts: Counts;
}

export interface Moved {
  newCounts: Counts;
  oldCounts: Counts;
  /** Processes whose old jobs beyond the count must have ended before this is done. */
  afterOldEnded: string[];
}

export function nextCounts({ strategy, batchSize, wanted, newCounts, oldCounts }: Standing): Moved {
  const next: Moved = { newCounts: {}, oldCounts: { ...oldCounts }, afterOldEnded: [] };
  for (const [process, count] of Object.entries(wanted)) {
    const now = Math.min(newCounts[process] ?? 0, count);
    const old = oldCounts[process];
    if (strategy === "one-down-one-up") {
      const pair = oneDownOneUp(count, now, old ?? 0);
      next.newCounts[process] = pair.now;
      if (old !== undefined) next.oldCounts[process] = pair.old;
      if (pair.now > now) next.afterOldEnded.push(process);
    } else {
      const size = { rolling: 1, "in-batches": batchSize ?? Math.max(1, Math.ceil(count / 3)), "all-at-once": count };
      next.newCounts[process] = Math.min(count, now + size[strategy]);
      if (old !== undefined) next.oldCounts[process] = Math.min(old, count - now);
    }
  }
  const arrived = Object.entries(wanted).every(([process, count]) => (newCounts[process] ?? 0) >= count);
  if (arrived) for (const process of Object.keys(next.oldCounts)) next.oldCounts[process] = 0;
  return next;
}

function oneDownOneUp(wanted: number, now: number, old: number): { now: number; old: number } {
  const missing = wanted - now;
  if (old > 0 && old >= missing) return { now, old: Math.max(0, missing - 1) };
  return { now: Math.min(wanted, now + 1), old };
}
