// Hostile input made of what real clients send: a part cut, doubled, turned, filled, of another or of chance. The same seed gives the same.

/** Whole numbers from 0 up to, not with, `below`. */
export type Chance = (below: number) => number;

/** xorshift32: quick, and good enough to walk a parser's branches. */
export function chance(seed: number): Chance {
  let state = seed | 0 || 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

const EDGES = [0, 1, 0x7f, 0x80, 0xfe, 0xff];
const LONGEST = 4096;

/** One more input: a sample with one to six harms done to it, now and then nothing but chance. */
export function mutated(samples: readonly Buffer[], next: Chance): Buffer {
  if (next(50) === 0) return random(next, next(600));
  let bytes: Buffer = Buffer.from(samples[next(samples.length)]!);
  for (let harms = 1 + next(6); harms > 0; harms--) bytes = harmed(bytes, samples, next);
  return bytes.subarray(0, LONGEST);
}

function harmed(bytes: Buffer, samples: readonly Buffer[], next: Chance): Buffer {
  if (bytes.length === 0) return random(next, 1 + next(8));
  const at = next(bytes.length);
  const length = Math.min(bytes.length - at, 1 + next(16));
  switch (next(8)) {
    case 0:
      bytes[at] = next(256);
      return bytes;
    case 1:
      bytes[at] = EDGES[next(EDGES.length)]!;
      return bytes;
    case 2:
      bytes[at]! ^= 1 << next(8);
      return bytes;
    case 3:
      return bytes.subarray(0, at);
    case 4:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + length)]);
    case 5:
      return Buffer.concat([bytes.subarray(0, at + length), bytes.subarray(at)]);
    case 6:
      return Buffer.concat([bytes.subarray(0, at), random(next, length), bytes.subarray(at)]);
    default: {
      const other = samples[next(samples.length)]!;
      const from = next(other.length + 1);
      return Buffer.concat([bytes.subarray(0, at), other.subarray(from, from + length * 4), bytes.subarray(at)]);
    }
  }
}

const random = (next: Chance, length: number): Buffer => Buffer.from(Array.from({ length }, () => next(256)));
