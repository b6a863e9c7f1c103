// Hosts with equal tags form one class. A constraint is decided once per class and kept as a bitset over classes, so the
// placement scan tests one bit per host however many tags there are (Nomad's computed node class).

export type Tags = Readonly<Record<string, string>>;

interface Class {
  signature: string;
  tags: Tags;
  hosts: number;
}

interface Compiled {
  bits: Uint32Array;
  /** Classes below this id are decided in `bits`. */
  decided: number;
}

const COMPILED_KEPT = 4096;

export class TagClasses {
  readonly #idBySignature = new Map<string, number>();
  readonly #classes: (Class | undefined)[] = [];
  readonly #free: number[] = [];
  readonly #compiled = new Map<string, Compiled>();

  /** Counts one more host with these tags and returns its class. */
  join(tags: Tags): number {
    const signature = tagSignature(tags);
    const known = this.#idBySignature.get(signature);
    if (known !== undefined) {
      this.#classes[known]!.hosts++;
      return known;
    }
    const reused = this.#free.pop();
    if (reused !== undefined) this.#compiled.clear(); // its bits speak of the class that had this id before
    const id = reused ?? this.#classes.length;
    this.#classes[id] = { signature, tags: { ...tags }, hosts: 1 };
    this.#idBySignature.set(signature, id);
    return id;
  }

  leave(id: number): void {
    const found = this.#classes[id];
    if (found === undefined || --found.hosts > 0) return;
    this.#idBySignature.delete(found.signature);
    this.#classes[id] = undefined;
    this.#free.push(id);
  }

  tagsOf(id: number): Tags {
    return this.#classes[id]?.tags ?? {};
  }

  /** One bit per class: set when hosts of the class carry every wanted tag. */
  compile(wanted: Tags): Uint32Array {
    const signature = tagSignature(wanted);
    let compiled = this.#compiled.get(signature);
    if (compiled === undefined) {
      if (this.#compiled.size >= COMPILED_KEPT) this.#compiled.clear();
      compiled = { bits: new Uint32Array(1), decided: 0 };
      this.#compiled.set(signature, compiled);
    }
    const words = (this.#classes.length + 31) >>> 5;
    if (compiled.bits.length < words) {
      const grown = new Uint32Array(words * 2);
      grown.set(compiled.bits);
      compiled.bits = grown;
    }
    for (; compiled.decided < this.#classes.length; compiled.decided++) {
      const found = this.#classes[compiled.decided];
      if (found !== undefined && carries(found.tags, wanted)) {
        compiled.bits[compiled.decided >>> 5]! |= 1 << (compiled.decided & 31);
      }
    }
    return compiled.bits;
  }
}

/** True when `tags` has every wanted tag with the same value. */
export function carries(tags: Tags, wanted: Tags): boolean {
  for (const key of Object.keys(wanted)) {
    if (!Object.hasOwn(tags, key) || tags[key] !== wanted[key]) return false;
  }
  return true;
}

/** Equal for equal tag sets in any order; JSON keeps keys with odd characters apart. */
export function tagSignature(tags: Tags): string {
  const keys = Object.keys(tags);
  return keys.length === 0 ? "" : JSON.stringify(keys.sort().map((key) => [key, tags[key]]));
}
