// Which of all mutants are tried: chosen by a seed, so that the same call tries the same ones and a run can go on where one ended.
import type { Mutant } from "./operators.ts";

/** The chosen, by file and place; every mutant is as likely as any other. */
export function chosen(mutants: readonly Mutant[], seed: number, count: number): Mutant[] {
  const random = mulberry32(seed);
  return mutants
    .map((mutant) => ({ mutant, draw: random() }))
    .sort((a, b) => a.draw - b.draw)
    .slice(0, count)
    .map(({ mutant }) => mutant);
}

/** A small generator of numbers in [0, 1) that are the same everywhere for a seed. */
function mulberry32(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let z = state;
    z = Math.imul(z ^ (z >>> 15), z | 1);
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61);
    return ((z ^ (z >>> 14)) >>> 0) / 2 ** 32;
  };
}
