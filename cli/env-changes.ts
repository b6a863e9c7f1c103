// `K=V` words as changes of an environment.

import { Fault } from "#api/fault.ts";
import { EnvName } from "#api/schema.ts";

const NAME = new RegExp(EnvName);

export function envChanges(words: readonly string[]): Record<string, string> {
  const changes = new Map<string, string>();
  for (const word of words) {
    const equals = word.indexOf("=");
    if (equals < 1) throw new Fault("invalid", `${word}: write a variable as NAME=VALUE`);
    changes.set(envName(word.slice(0, equals)), word.slice(equals + 1));
  }
  return Object.fromEntries(changes);
}

export function envName(name: string): string {
  if (!NAME.test(name))
    throw new Fault("invalid", `${name} is no name of a variable: letters, digits and _, no digit first`);
  return name;
}
