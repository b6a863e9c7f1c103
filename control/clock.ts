// Whether a host's clock is right, as far as its reports show it.

/** What is less is the way of the report, or nobody's trouble. */
const CLOCK_OFF_MS = 2_000;

/** By how much a host's clock is ahead of ours, or behind; undefined: it is not said, or close enough. */
export function clockOff(theirs: string | undefined, ours: string): number | undefined {
  const offMs = Date.parse(theirs ?? "") - Date.parse(ours);
  return Math.abs(offMs) >= CLOCK_OFF_MS ? offMs : undefined;
}
