// What a Redfish service says, read with suspicion: bounded in size, depth and number of members, and every value taken by name and
// type. A field of the wrong type counts as one that is missing.
import { cleanText, trouble } from "../trouble.ts";

export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };

export const ANSWER_MOST_BYTES = 1 << 20;
const DEPTH_MOST = 24;
const MEMBERS_MOST = 256;

/** True when brackets nest no deeper than is sound; strings are passed over. JSON.parse itself recurses. */
export function nestsWithin(text: string, most: number): boolean {
  let depth = 0;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === 0x22) {
      for (at++; at < text.length && text.charCodeAt(at) !== 0x22; at++) if (text.charCodeAt(at) === 0x5c) at++;
    } else if (code === 0x7b || code === 0x5b) {
      if (++depth > most) return false;
    } else if (code === 0x7d || code === 0x5d) depth--;
  }
  return true;
}

export function readAnswer(body: Buffer): Json {
  if (body.length > ANSWER_MOST_BYTES) throw trouble("bmc-answer", "the BMC's answer is larger than 1 MiB");
  const text = body.toString("utf8");
  if (text.trim() === "") return null;
  if (!nestsWithin(text, DEPTH_MOST)) throw trouble("bmc-answer", "the BMC's answer is nested without end");
  try {
    return JSON.parse(text) as Json;
  } catch {
    throw trouble("bmc-answer", `the BMC's answer is no JSON: ${cleanText(text, 60)}`);
  }
}

/** The value at a path of names; own properties of objects only. */
export function at(value: Json | undefined, ...path: string[]): Json | undefined {
  let found: Json | undefined = value;
  for (const name of path) {
    if (typeof found !== "object" || found === null || Array.isArray(found) || !Object.hasOwn(found, name))
      return undefined;
    found = found[name];
  }
  return found;
}

export function textAt(value: Json | undefined, ...path: string[]): string | undefined {
  const found = at(value, ...path);
  return typeof found === "string" && found.length <= 2_048 ? found : undefined;
}

/** Texts of a list; undefined when there is no such list. */
export function textsAt(value: Json | undefined, ...path: string[]): string[] | undefined {
  const found = at(value, ...path);
  if (!Array.isArray(found)) return undefined;
  return found.slice(0, MEMBERS_MOST).filter((one): one is string => typeof one === "string" && one.length <= 256);
}

/** A path on the same service, never another host's. */
export function isOwnPath(path: string): boolean {
  return (
    /^\/redfish(\/[A-Za-z0-9._:~@%$()'=+,#-]{1,200}){1,12}\/?$/.test(path) && !/(^|\/)\.\.?(\/|$)|%2e|%2f/i.test(path)
  );
}

export function linkAt(value: Json | undefined, ...path: string[]): string | undefined {
  const link = textAt(value, ...path, "@odata.id");
  return link !== undefined && isOwnPath(link) ? link : undefined;
}

export function membersOf(collection: Json | undefined): string[] {
  const found = at(collection, "Members");
  if (!Array.isArray(found)) return [];
  return found.slice(0, MEMBERS_MOST).flatMap((member) => linkAt(member) ?? []);
}

/** A Location header: a whole URL of the service itself, or its path. */
export function ownLocation(location: string | undefined, base: URL): string | undefined {
  if (location === undefined || location.length > 2_048) return undefined;
  const url = URL.parse(location, base.href);
  if (url === null || url.host !== base.host || !isOwnPath(url.pathname)) return undefined;
  return url.pathname;
}

/** What an error answer says, in one line; empty when it says nothing. */
export function errorText(value: Json | undefined): string {
  const extended = at(value, "error", "@Message.ExtendedInfo");
  const first = Array.isArray(extended) ? extended[0] : extended;
  return cleanText(textAt(first, "Message") ?? textAt(value, "error", "message") ?? "");
}
