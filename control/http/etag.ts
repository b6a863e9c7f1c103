// Versions of objects over HTTP (RFC 9110, 8.8 and 13). An ETag is `"VERSION"` on what a change answers and `"VERSION-CONTENT"` on what a
// GET answers: an object's reply may say more than its record (whether a host is there), so that the version alone would hide changes.
import type { Endpoint } from "#api/endpoint.ts";
import { Fault } from "#api/fault.ts";

const OURS = /^"?([1-9]\d{0,14})(-[A-Za-z0-9_-]{1,64})?"?$/;
const CONTENT_CHARACTERS = 16;

/** One strong ETag of ours, or `*`. Anything else is refused: to pass over it would be to overwrite what it protects. */
export function ifMatchOf({ method, path, conditional }: Endpoint, header: string | undefined): number | undefined {
  if (method === "GET") return undefined;
  if (header === undefined || header.trim() === "*") return undefined;
  const version = OURS.exec(header.trim())?.[1];
  if (version === undefined) throw new Fault("invalid", "If-Match is to be one ETag as this API gives it, or *");
  if (!conditional) throw new Fault("invalid", `${method} ${path} takes no If-Match`);
  return Number(version);
}

/** The ETag of a read object: `versioned` is that of its version, `digest` one of the whole reply. */
export const contentTag = (versioned: string, digest: string): string =>
  `${versioned.slice(0, -1)}-${digest.slice(0, CONTENT_CHARACTERS)}"`;

/** Whether an If-None-Match names this ETag; compared weakly, as 13.1.2 says. */
export function isUnchanged(ifNoneMatch: string | undefined, etag: string): boolean {
  if (ifNoneMatch === undefined) return false;
  const named = ifNoneMatch.split(",").map((each) => each.trim().replace(/^W\//, ""));
  return named.includes("*") || named.includes(etag);
}
