// The name of a variable, or the refusal of it.
import { Fault } from "#api/fault.ts";
import { EnvName } from "#api/schema.ts";

const NAME = new RegExp(EnvName);

export function envName(name: string): string {
  if (!NAME.test(name) || name === "__proto__")
    throw new Fault(
      "invalid",
      `${name}: write a variable's name with letters, digits and _, no digit first, such as DATABASE_URL`,
    );
  return name;
}
