// Identifiers: sortable by time of making, safe in host names, paths and URLs.
import { randomBytes } from "node:crypto";

/** `<prefix>-<8 base32 time characters><10 random>`: lower case, sorts by second of making. */
export function newId(prefix: string, nowMs: number = Date.now()): string {
  const time = Math.floor(nowMs / 1000)
    .toString(32)
    .padStart(7, "0");
  return `${prefix}-${time}${randomText(9)}`;
}

/** `length` characters of [0-9a-v], 5 random bits each. */
export function randomText(length: number): string {
  return [...randomBytes(length)].map((byte) => (byte & 31).toString(32)).join("");
}

/** A secret of 256 random bits, base64url. Never begins with `-`: people give it to commands as a word. */
export function newSecret(): string {
  for (;;) {
    const secret = randomBytes(32).toString("base64url");
    if (!secret.startsWith("-")) return secret;
  }
}
