// Which of very many entries came before, in half a MiB for each quarter of a million of them (a Bloom filter in two generations): one that came
// is always known; of those that did not, one in some hundreds is taken for one that did.

export interface SeenEntries {
  add(seconds: number, nanos: number, mark: number): void;
  has(seconds: number, nanos: number, mark: number): boolean;
  /** It is so late: what is of long ago is not given again. */
  forget(seconds: number): void;
  readonly bytes: number;
}

interface Generation {
  bits: Uint32Array;
  count: number;
  newestSeconds: number;
}

const BITS_EACH = 16;
const PROBES = 4;
/** Longer ago than this nothing is given again. */
const OLD_SECONDS = 60;

/** `most`, a power of two: that many of the last are known at least, twice as many at most. */
export function seenEntries(most: number): SeenEntries {
  const mask = most * BITS_EACH - 1;
  let young: Generation | undefined;
  let old: Generation | undefined;
  const eachBit = (seconds: number, nanos: number, mark: number, bit: (word: number, flag: number) => boolean) => {
    let place = mix(Math.imul(seconds, 0x9e3779b1) ^ nanos ^ Math.imul(mark, 0x85ebca6b));
    const step = mix(mark ^ Math.imul(nanos, 0xc2b2ae35)) | 1;
    for (let n = 0; n < PROBES; n++, place += step) if (!bit((place & mask) >>> 5, 1 << (place & 31))) return false;
    return true;
  };
  const isIn = (generation: Generation | undefined, seconds: number, nanos: number, mark: number): boolean =>
    generation !== undefined && eachBit(seconds, nanos, mark, (word, flag) => (generation.bits[word]! & flag) !== 0);
  return {
    add(seconds, nanos, mark) {
      if (young === undefined || young.count === most) {
        old = young;
        young = { bits: new Uint32Array((most * BITS_EACH) / 32), count: 0, newestSeconds: 0 };
      }
      const { bits } = young;
      eachBit(seconds, nanos, mark, (word, flag) => {
        bits[word]! |= flag;
        return true;
      });
      young.count++;
      young.newestSeconds = Math.max(young.newestSeconds, seconds);
    },
    forget(seconds) {
      if (old !== undefined && old.newestSeconds < seconds - OLD_SECONDS) old = undefined;
      if (young !== undefined && young.newestSeconds < seconds - OLD_SECONDS) young = undefined;
    },
    has: (...entry) => isIn(young, ...entry) || isIn(old, ...entry),
    get bytes() {
      return (young?.bits.byteLength ?? 0) + (old?.bits.byteLength ?? 0);
    },
  };
}

/** Each bit of it from every bit of `n`. */
function mix(n: number): number {
  let x = n ^ (n >>> 16);
  x = Math.imul(x, 0x7feb352d);
  x ^= x >>> 15;
  x = Math.imul(x, 0x846ca68b);
  return x ^ (x >>> 16);
}
