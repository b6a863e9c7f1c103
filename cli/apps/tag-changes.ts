// `zone=a` sets a tag, `zone-` removes it.
import { Fault } from "#api/fault.ts";

export function tagChanges(words: readonly string[]): Record<string, string | null> {
  const changes = new Map<string, string | null>();
  for (const word of words) {
    const equals = word.indexOf("=");
    if (equals > 0) changes.set(word.slice(0, equals), word.slice(equals + 1));
    else if (equals < 0 && word.length > 1 && word.endsWith("-")) changes.set(word.slice(0, -1), null);
    else throw new Fault("invalid", `${word}: write a tag as name=value, or name- to remove it`);
  }
  return Object.fromEntries(changes);
}
