// Text that firmware, disks and switches chose: cut, cleaned, and left out where it says nothing.

/** What makers leave in a field that they did not fill. */
const JUNK =
  /^(none|n\/?a|null|unknown|default([ -]?string)?|not[ -](specified|available|applicable|present|settable).*|no[ -](dimm|module).*|to[ -]be[ -]filled.*|o\.?e\.?m\.?|system[ -](serial[ -]number|product[ -]name|manufacturer)|empty|undefined|0x0+|0+|0?123456789|\[empty\])$/i;

/** Printable ASCII, at most so long; undefined for nothing and for filler. */
export function told(text: string | undefined | null, most: number): string | undefined {
  const plain = cut(text, most);
  return plain === "" || JUNK.test(plain) ? undefined : plain;
}

export function cut(text: string | undefined | null, most: number): string {
  return (text ?? "")
    .slice(0, most * 4)
    .replace(/[\s\0]+/g, " ")
    .replace(/[^\x20-\x7e]/g, "?")
    .trim()
    .slice(0, most)
    .trim();
}

/** A whole number of at least 0, or undefined. */
export function natural(value: unknown): number | undefined {
  const number = typeof value === "string" && /^\s*\d{1,16}\s*$/.test(value) ? Number(value) : value;
  return typeof number === "number" && Number.isSafeInteger(number) && number >= 0 ? number : undefined;
}

/** `{ name: value }` when there is a value. */
export function field<K extends string, V>(name: K, value: V | undefined): { [name in K]?: V } {
  return (value === undefined ? {} : { [name]: value }) as { [name in K]?: V };
}
