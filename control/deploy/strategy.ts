// The strategies: from what the formations ask for, all of it healthy, to what they ask for next. Pure, and from any counts in
// between, so it does not matter who stopped where. W wanted, C of what comes, G of what goes, of one process:
// - rolling: C grows by one; those that go beyond W - C go. Never fewer healthy than there were, or are wanted.
// - in-batches: the same, a third of W (or the app's batch size) at a time.
// - all-at-once: C becomes W; then G becomes 0.
// - one-down-one-up: one goes, and when it has ended one comes. At most one is missing, never one too many.
// On the way back what goes may have broken down meanwhile: what comes fills that gap at once, never more than the strategy has room for.
import type { Strategy } from "#api/apps.ts";

/** Jobs by process. */
export type Counts = Record<string, number>;

export interface Standing {
  strategy: Strategy;
  batchSize?: number;
  goingBack?: boolean;
  wanted: Counts;
  comingCounts: Counts;
  goingCounts: Counts;
}

export interface Moved {
  comingCounts: Counts;
  goingCounts: Counts;
  /** Processes of which jobs beyond the count that goes must have ended before this is done. */
  afterEnded: string[];
}

export function nextCounts(standing: Standing): Moved {
  const { strategy, goingBack = false, wanted, comingCounts, goingCounts } = standing;
  const next: Moved = { comingCounts: {}, goingCounts: { ...goingCounts }, afterEnded: [] };
  for (const [process, count] of Object.entries(wanted)) {
    const now = Math.min(comingCounts[process] ?? 0, count);
    const going = goingCounts[process];
    if (strategy === "one-down-one-up") {
      const pair = oneDownOneUp({ count, now, going: going ?? 0, goingBack });
      next.comingCounts[process] = pair.now;
      if (going !== undefined) next.goingCounts[process] = pair.going;
      if (pair.now > now) next.afterEnded.push(process);
    } else {
      const left = Math.min(going ?? 0, count - now);
      const size = atATime(standing, count);
      next.comingCounts[process] = goingBack ? refilled(standing, process, left) : Math.min(count, now + size);
      if (going !== undefined) next.goingCounts[process] = left;
    }
  }
  const arrived = Object.entries(wanted).every(([process, count]) => (comingCounts[process] ?? 0) >= count);
  if (arrived) for (const process of Object.keys(next.goingCounts)) next.goingCounts[process] = 0;
  return next;
}

/** Of what comes back: so many that with those `left` of what goes there are no more than the strategy has room for. */
export function refilled(standing: Standing, process: string, left: number): number {
  const count = standing.wanted[process] ?? 0;
  const now = Math.min(standing.comingCounts[process] ?? 0, count);
  if (standing.strategy === "one-down-one-up") return now;
  const size = atATime(standing, count);
  return Math.min(count, Math.max(now, count + size - left));
}

function atATime({ strategy, batchSize }: Standing, count: number): number {
  if (strategy === "in-batches") return batchSize ?? Math.max(1, Math.ceil(count / 3));
  return strategy === "all-at-once" ? count : 1;
}

function oneDownOneUp({
  count,
  now,
  going,
  goingBack,
}: {
  count: number;
  now: number;
  going: number;
  goingBack: boolean;
}): {
  now: number;
  going: number;
} {
  const missing = count - now;
  if (going > 0 && going >= missing) return { now, going: Math.max(0, missing - 1) };
  return { now: Math.min(count, goingBack ? Math.max(now + 1, count - going) : now + 1), going };
}
