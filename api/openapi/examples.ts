// An example for everything that the documents show: of a request the one written down for it, of a reply one made from values that fit
// the names of its fields. Tests hold each against its schema, and send the requests to a real control.
import type { Endpoint } from "../endpoint.ts";
import { BODIES } from "./example-bodies.ts";
import { LEFT_OUT, OBJECTS, VALUES } from "./example-values.ts";
import type { Schema, Shapes } from "./shapes.ts";

export interface Examples {
  body(endpoint: Endpoint): unknown;
  of(schema: Schema): unknown;
  parameter(endpoint: Endpoint, name: string, schema: Schema): unknown;
}

const ANY = Object.values(VALUES).flat();

export function examplesOf({ nameOf }: Pick<Shapes, "nameOf">): Examples {
  /** `field`: where it stands, such as `Host.name`. */
  const make = (schema: Schema, field: string): unknown => {
    const owner = nameOf(schema);
    if (owner !== undefined && Object.hasOwn(OBJECTS, owner)) return OBJECTS[owner];
    const words = field.split(".");
    const known = [words.slice(-2), words.slice(-1)].flatMap((last) => VALUES[last.join(".")] ?? []);
    for (const value of known) if (fits(schema, value)) return value;
    const { type, enum: values, properties, patternProperties, items, anyOf } = schema;
    if (values !== undefined) return values[0];
    if (anyOf !== undefined) return make(anyOf[0]!, field);
    if (type === "array") return [make(items!, field)];
    if (patternProperties !== undefined) return { web: make(Object.values(patternProperties)[0]!, field) };
    if (properties !== undefined)
      return Object.fromEntries(
        Object.entries(properties)
          .filter(([each]) => !LEFT_OUT.has(`${owner}.${each}`))
          .map(([each, of]) => [each, make(of, `${owner ?? field}.${each}`)]),
      );
    if (type === "boolean") return true;
    if (type === "integer" || type === "number") return Math.max(schema.minimum ?? 1, 1);
    return type === "string"
      ? schema.pattern === undefined
        ? "text".slice(0, schema.minLength ?? 0)
        : ANY.find((value) => fits(schema, value))
      : {};
  };
  return {
    body: ({ id, body }) => BODIES[id] ?? make(body as Schema, "request"),
    of: (schema) => make(schema, "reply"),
    parameter: ({ id }, name, schema) =>
      [...(VALUES[`${id}.${name}`] ?? []), ...(VALUES[name] ?? [])].find((value) => fits(schema, value)),
  };
}

/** Enough to choose among values that are right somewhere. */
function fits({ type, pattern, enum: values, minimum, maximum, items, anyOf }: Schema, value: unknown): boolean {
  if (anyOf !== undefined) return anyOf.some((each) => fits(each, value));
  if (values !== undefined) return values.includes(value);
  if (type === "string") return typeof value === "string" && (pattern === undefined || new RegExp(pattern).test(value));
  if (type === "integer" || type === "number")
    return typeof value === "number" && value >= (minimum ?? value) && value <= (maximum ?? value);
  if (type === "boolean") return typeof value === "boolean";
  return type === "array" && Array.isArray(value) && value.every((each) => fits(items!, each));
}
