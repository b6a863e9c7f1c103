// What may be stored: the border between a caller's objects and the store's own frozen copies, and the rules for keys.
import { Fault } from "#api/fault.ts";
import type { Json } from "./log.ts";

/** The largest is a release: 12 KiB of variables, sealed as base64, and their names. */
export const MAX_VALUE_BYTES = 32 * 1024;
const MAX_KEY_LENGTH = 512;

/** A frozen copy, exactly what a later start would read back. Fault `too-large` over 32 KiB of JSON, `invalid` when it is none. */
export function storable(value: unknown, what: string): Json {
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch (cause) {
    throw new Fault("invalid", `${what} is not JSON`, { cause });
  }
  if (text === undefined) throw new Fault("invalid", `${what} is not JSON`);
  // A UTF-16 unit is at most 3 bytes of UTF-8, so short text needs no count.
  if (text.length * 3 > MAX_VALUE_BYTES && Buffer.byteLength(text) > MAX_VALUE_BYTES) {
    const sizeBytes = Buffer.byteLength(text);
    throw new Fault("too-large", `${what} is ${sizeBytes} bytes; at most ${MAX_VALUE_BYTES} fit`, {
      details: { sizeBytes, maxBytes: MAX_VALUE_BYTES },
    });
  }
  return freeze(JSON.parse(text) as Json);
}

/** Keys are `segment/...`: no control characters, well-formed text, at most 512 units. */
export function checkKey(key: string): void {
  const sound = typeof key === "string" && key.length > 0 && key.length <= MAX_KEY_LENGTH && key.isWellFormed();
  if (!sound || /[\u0000-\u001f\u007f]/.test(key)) {
    throw new Fault("invalid", `${JSON.stringify(String(key).slice(0, 80))} is not a store key`);
  }
}

/** Freezes all the way down. Only for values that came out of JSON.parse: a tree, no cycles. */
export function freeze(value: Json): Json {
  if (typeof value !== "object" || value === null) return value;
  for (const child of Object.values(value)) freeze(child);
  return Object.freeze(value);
}
