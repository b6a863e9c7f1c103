// When Docker turns to the next file of a log that is followed, it gives some of the last lines again. An entry that came before, by its
// nanosecond and its text, is told from one that is new, also when the clock was set back: what is not known to be a repeat is new.
// Behind a flood that it is not read as fast as, it gives a whole file again.
import { seenEntries } from "./seen-entries.ts";

/** As many entries as are known again: what Docker repeats is a fraction of a second. */
const KNOWN = 16_384;
/** More than a file of Docker's holds of short lines: what left the list above in a flood is known by less. */
const MANY = 1 << 18;
/** What is so much older than the newest is forgotten, but for a few: a quiet log's last lines are any time apart. */
const KNOWN_SECONDS = 5;
const KNOWN_LEAST = 64;
/** Of one entry: its second, its nanosecond within it, and its text's mark. */
const FIELDS = 3;

export interface Repeats {
  (time: string, text: Uint8Array, isPiece: boolean): boolean;
  /** What is held to know repeats by. */
  readonly bytes: number;
}

export function repeats(knownMost = KNOWN, many = seenEntries(MANY)): Repeats {
  // A ring, as large as what it holds needs.
  let ring = new Uint32Array(Math.min(KNOWN_LEAST, knownMost) * FIELDS);
  let first = 0;
  let count = 0;
  let newest = "";
  let goesOn = false;

  const slots = () => ring.length / FIELDS;
  const slot = (n: number) => ((first + n) % slots()) * FIELDS;
  const resize = (to: number) => {
    const next = new Uint32Array(to * FIELDS);
    for (let n = 0; n < count; n++) next.set(ring.subarray(slot(n), slot(n) + FIELDS), n * FIELDS);
    ring = next;
    first = 0;
  };
  const forget = () => {
    first = (first + 1) % slots();
    count--;
  };
  const has = (seconds: number, nanos: number, mark: number): boolean => {
    if (many.has(seconds, nanos, mark)) return true;
    for (let n = count - 1; n >= 0; n--) {
      const k = slot(n);
      if (ring[k + 2] === mark && ring[k + 1] === nanos && ring[k] === seconds) return true;
    }
    return false;
  };
  const remember = (seconds: number, nanos: number, mark: number) => {
    while (count > KNOWN_LEAST && ring[slot(0)]! < seconds - KNOWN_SECONDS) forget();
    many.forget(seconds);
    if (count === knownMost) {
      const k = slot(0);
      many.add(ring[k]!, ring[k + 1]!, ring[k + 2]!);
      forget();
    }
    if (count === slots()) resize(Math.min(knownMost, slots() * 2));
    else if (slots() > KNOWN_LEAST && count < slots() / 4) resize(Math.max(KNOWN_LEAST, Math.ceil(slots() / 2)));
    ring.set([seconds, nanos, mark], slot(count++));
  };

  const isRepeat = (time: string, text: Uint8Array, isPiece: boolean): boolean => {
    const mark = markOf(text);
    const seconds = Date.parse(`${time.slice(0, 19)}Z`) / 1_000;
    const nanos = Number(time.slice(20, -1).padEnd(9, "0"));
    const isNewer = time > newest;
    // Pieces of one line share its time; one that follows another goes on with it, whatever it holds.
    const continues = goesOn && time === newest;
    if (!isNewer && !continues && has(seconds, nanos, mark)) return true;
    newest = time;
    goesOn = isPiece;
    remember(seconds, nanos, mark);
    return false;
  };
  return Object.defineProperty(isRepeat, "bytes", { get: () => ring.byteLength + many.bytes }) as Repeats;
}

/** FNV-1a over its beginning, and its length. */
function markOf(text: Uint8Array): number {
  let hash = 0x811c9dc5 ^ text.length;
  for (let n = 0; n < text.length && n < 64; n++) hash = Math.imul(hash ^ text[n]!, 0x01000193);
  return hash >>> 0;
}
