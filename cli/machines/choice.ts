// A flag that takes one word of a closed set of the contract.
import { Fault } from "#api/fault.ts";
import type { Invocation } from "../parse/command.ts";

/** `set`: a schema made by `oneOf`. */
export function choice<T extends string>(call: Invocation, flag: string, set: object): T | undefined {
  const given = call.text(flag);
  const words = (set as { enum: readonly T[] }).enum;
  if (given === undefined || words.includes(given as T)) return given as T | undefined;
  throw new Fault("invalid", `--${flag} ${given}: is one of ${words.join(", ")}`);
}
