// A binary min-heap of host slots by (key, slot): the lower slot wins a tie, so equal inputs give equal placements.

export class HostHeap {
  readonly #slots: Int32Array;
  readonly #keys: Float64Array;
  #size = 0;

  constructor(capacity: number) {
    this.#slots = new Int32Array(capacity);
    this.#keys = new Float64Array(capacity);
  }

  get size(): number {
    return this.#size;
  }

  /** Adds without ordering; call `order` once after the last. */
  append(slot: number, key: number): void {
    this.#slots[this.#size] = slot;
    this.#keys[this.#size] = key;
    this.#size++;
  }

  order(): void {
    for (let at = (this.#size >>> 1) - 1; at >= 0; at--) this.#sink(at);
  }

  /** The slot with the smallest key. Only when `size > 0`. */
  top(): number {
    return this.#slots[0]!;
  }

  rekeyTop(key: number): void {
    this.#keys[0] = key;
    this.#sink(0);
  }

  dropTop(): void {
    this.#size--;
    this.#slots[0] = this.#slots[this.#size]!;
    this.#keys[0] = this.#keys[this.#size]!;
    this.#sink(0);
  }

  #sink(from: number): void {
    const slots = this.#slots;
    const keys = this.#keys;
    const size = this.#size;
    const slot = slots[from]!;
    const key = keys[from]!;
    let at = from;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= size) break;
      const right = child + 1;
      if (right < size && before(keys[right]!, slots[right]!, keys[child]!, slots[child]!)) child = right;
      if (!before(keys[child]!, slots[child]!, key, slot)) break;
      slots[at] = slots[child]!;
      keys[at] = keys[child]!;
      at = child;
    }
    slots[at] = slot;
    keys[at] = key;
  }
}

function before(keyA: number, slotA: number, keyB: number, slotB: number): boolean {
  return keyA < keyB || (keyA === keyB && slotA < slotB);
}
