// Machines nobody approved: how many are kept beside those that were, who makes room, how fast new ones may come, and when they
// expire. Whoever was seen on the wire goes before whoever only sent a packet.
import type { MachineRecord } from "../records.ts";
import type { Entry } from "../store/entry.ts";

export const UNAPPROVED_MOST = 2_000;
const UNSEEN_MS = 24 * 3_600_000;
const NEWCOMERS = { burst: 1_000, perSecond: { seen: 20, said: 2 } };

/** The ones to forget for `count` others: those never seen on the wire first, the longest silent first of each. Pure. */
export function quietest(waiting: readonly Entry<MachineRecord>[], count: number): Entry<MachineRecord>[] {
  if (count <= 0) return [];
  const rank = ({ value }: Entry<MachineRecord>) => `${value.observed === undefined ? 0 : 1} ${value.lastSeenAt}`;
  return [...waiting].sort((a, b) => (rank(a) < rank(b) ? -1 : 1)).slice(0, count);
}

/** Those that nobody decided on and nobody saw for a day. Pure. */
export function expiredMachines(machines: readonly Entry<MachineRecord>[], nowMs: number): Entry<MachineRecord>[] {
  return machines.filter(
    ({ value }) => value.state === "discovered" && nowMs - Date.parse(value.lastSeenAt) > UNSEEN_MS,
  );
}

/** True while one more machine may be written: seen on the wire or not, each kind has its own allowance. */
export function newcomers(nowMs: () => number): (seen: boolean) => boolean {
  const allowance = (perSecond: number) => {
    let left = NEWCOMERS.burst;
    let atMs = nowMs();
    return (): boolean => {
      const now = nowMs();
      left = Math.min(NEWCOMERS.burst, left + ((now - atMs) / 1_000) * perSecond);
      atMs = now;
      if (left < 1) return false;
      left--;
      return true;
    };
  };
  const [said, seen] = [allowance(NEWCOMERS.perSecond.said), allowance(NEWCOMERS.perSecond.seen)];
  return (wasSeen) => (wasSeen ? seen : said)();
}
