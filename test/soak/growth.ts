// Whether memory grows: of samples in a row, the last third against the third before it, by their medians. Pure. What a program takes at
// first is the first third's.

/** A program that is at rest again keeps freed pages for itself: so much is no growth. */
const LEAST_BYTES = 12 * 2 ** 20;
const LEAST_SHARE = 0.08;

/** One line for each that grew; too few samples say nothing. */
export function grown(samples: readonly Readonly<Record<string, number>>[]): string[] {
  const third = Math.floor(samples.length / 3);
  if (third < 3) return [];
  const names = new Set(samples.flatMap((sample) => Object.keys(sample)));
  return [...names].sort().flatMap((name) => {
    const values = samples.flatMap((sample) => sample[name] ?? []);
    const part = Math.floor(values.length / 3);
    if (part < 3) return []; // it began anew meanwhile
    const [before, after] = [median(values.slice(-2 * part, -part)), median(values.slice(-part))];
    if (after - before <= Math.max(LEAST_BYTES, before * LEAST_SHARE)) return [];
    return [`${name}: ${mib(before)} MiB, then ${mib(after)} MiB, of ${values.map(mib).join(" ")}`];
  });
}

const mib = (bytes: number): number => Math.round(bytes / 2 ** 20);
const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;
