// What happens when the host itself runs short of disk while builds run: the one that grew most of late ends, and no other. One after
// the other, each with time for its room to come back.

export interface DiskFloor {
  /** What a build has on disk now, and what the host has left. True: this build has to end. */
  look(buildId: string, look: { usedBytes: number; freeBytes: number; nowMs: number }): boolean;
  forget(buildId: string): void;
}

/** Below it builds make room: apps need the rest. */
export const FLOOR_BYTES = 512 * 1024 ** 2;
const WINDOW_MS = 30_000;
const GREW_BYTES = 8 * 1024 ** 2;
const BETWEEN_ENDS_MS = 10_000;

export function diskFloor(floorBytes = FLOOR_BYTES): DiskFloor {
  const looks = new Map<string, { usedBytes: number; nowMs: number }[]>();
  let endedMs = Number.NEGATIVE_INFINITY;
  const grown = (buildId: string, nowMs: number): number => {
    const kept = (looks.get(buildId) ?? []).filter((look) => nowMs - look.nowMs <= WINDOW_MS);
    looks.set(buildId, kept);
    return (kept.at(-1)?.usedBytes ?? 0) - (kept[0]?.usedBytes ?? 0);
  };
  return {
    look(buildId, { usedBytes, freeBytes, nowMs }) {
      // A build begins with nothing: what it has at the first look it has grown by.
      const known = looks.get(buildId) ?? [{ usedBytes: 0, nowMs }];
      looks.set(buildId, [...known, { usedBytes, nowMs }]);
      const mine = grown(buildId, nowMs);
      if (freeBytes >= floorBytes || nowMs - endedMs < BETWEEN_ENDS_MS || mine < GREW_BYTES) return false;
      if ([...looks.keys()].some((other) => other !== buildId && grown(other, nowMs) > mine)) return false;
      endedMs = nowMs;
      return true;
    },
    forget: (buildId) => void looks.delete(buildId),
  };
}
