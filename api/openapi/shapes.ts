// The schemas of the contract as a document's components: one for each shape that has a name, referred to wherever it stands. What a
// request may hold is closed, so that a typo is refused; what a reply may hold is open, so that a newer control breaks no client.
import type { Endpoint } from "../endpoint.ts";
import { LogTime } from "../logs.ts";
import { Time } from "../schema.ts";

/** Whether a shape is sent to control or comes from it. */
export type Way = "request" | "reply";

export interface Schema {
  type?: string;
  description?: string;
  default?: unknown;
  enum?: unknown[];
  pattern?: string;
  minLength?: number;
  not?: object;
  minimum?: number;
  maximum?: number;
  properties?: Record<string, Schema>;
  required?: string[];
  patternProperties?: Record<string, Schema>;
  propertyNames?: object;
  additionalProperties?: unknown;
  items?: Schema;
  anyOf?: Schema[];
}

/** Names of shapes, from what the contract exports; `ask` names one that has none, such as a list or an endpoint's body. */
export interface Names {
  of(schema: Schema): string | undefined;
  ask(schema: Schema, name: string): void;
}

const isSchema = (value: unknown): value is Schema =>
  typeof value === "object" && value !== null && !("permission" in value) && ("type" in value || "anyOf" in value);
/** Texts and numbers stand where they are used. */
const isShape = ({ type, anyOf, enum: values }: Schema): boolean =>
  values !== undefined ||
  type === "object" ||
  (anyOf !== undefined && !anyOf.some(({ type: each }) => each === "null"));

/** By what it is, not by which object: `Type.Optional` and another description make a copy. */
const keyOf = ({ description: _, default: __, ...rest }: Schema): string => JSON.stringify(rest);

export function namesOf(modules: readonly object[]): Names {
  const names = new Map<string, string>();
  const ask = (schema: Schema, name: string) => {
    const key = keyOf(schema);
    if (names.has(key)) return;
    if ([...names.values()].includes(name)) throw new Error(`two shapes are named ${name}`);
    names.set(key, name);
  };
  for (const [name, value] of modules.flatMap((module) => Object.entries(module)))
    if (/^[A-Z]/.test(name) && isSchema(value) && isShape(value)) ask(value, name);
  return { of: (schema) => (isShape(schema) ? names.get(keyOf(schema)) : undefined), ask };
}

export interface Shapes {
  /** The schema as it stands in the document: a reference where it has a name. */
  written(schema: Schema, way: Way): object;
  /** Every named shape that was written so far, and those that they name. */
  components(): Record<string, object>;
  /** What is behind the names, for examples: the same the other way round. */
  nameOf(schema: Schema): string | undefined;
}

/** `uses`: every schema that will be written, which tells whether a shape needs two components. */
export function shapesOf(names: Names, uses: readonly (readonly [Schema, Way])[]): Shapes {
  const ways = new Map<string, Set<Way>>();
  const look = (schema: Schema, way: Way): void => {
    const name = names.of(schema);
    if (name !== undefined) {
      const known = ways.get(name) ?? new Set();
      ways.set(name, known);
      if (known.has(way)) return;
      known.add(way);
    }
    for (const part of partsOf(schema)) look(part, way);
  };
  for (const [schema, way] of uses) look(schema, way);

  const components: Record<string, object> = {};
  const written = (schema: Schema, way: Way): object => {
    if (way === "request" || !isGrowing(schema)) return closed(schema, way);
    const { description, ...known } = closed(schema, way) as Schema;
    return { anyOf: [known, { type: "string" }], ...(description === undefined ? {} : { description }) };
  };
  const closed = (schema: Schema, way: Way): object => {
    const name = names.of(schema);
    if (name === undefined) return plain(schema, way);
    const isBoth = ways.get(name)?.size === 2 && isClosed(schema);
    const component = isBoth && way === "request" ? `${name}Input` : name;
    if (!Object.hasOwn(components, component)) {
      components[component] = {}; // one that names itself ends here
      components[component] = plain(schema, way);
    }
    const said = (components[component] as Schema).description;
    const { description } = schema;
    return {
      $ref: `#/components/schemas/${component}`,
      ...(description !== undefined && description !== said ? { description } : {}),
    };
  };
  const plain = (schema: Schema, way: Way): object => {
    if (isTime(schema)) return { type: "string", format: "date-time", description: schema.description };
    const { properties, patternProperties, propertyNames, additionalProperties, items, anyOf, ...rest } = schema;
    if (patternProperties !== undefined) {
      const [[pattern, value]] = Object.entries(patternProperties) as [[string, Schema]];
      const named = pattern === "^.*$" ? {} : { propertyNames: { type: "string", pattern, ...propertyNames } };
      return { ...rest, additionalProperties: written(value, way), ...(way === "request" ? named : {}) };
    }
    return {
      ...rest,
      ...formatOf(schema),
      ...(properties
        ? { properties: Object.fromEntries(Object.entries(properties).map(([name, of]) => [name, written(of, way)])) }
        : {}),
      ...(additionalProperties === false && way === "request" ? { additionalProperties } : {}),
      ...(items ? { items: written(items, way) } : {}),
      ...(anyOf ? { anyOf: anyOf.map((each) => written(each, way)) } : {}),
    };
  };
  return {
    written,
    nameOf: names.of,
    components: () => Object.fromEntries(Object.entries(components).sort(([a], [b]) => (a < b ? -1 : 1))),
  };
}

const partsOf = ({ properties, patternProperties, items, anyOf }: Schema): Schema[] => [
  ...Object.values(properties ?? {}),
  ...Object.values(patternProperties ?? {}),
  ...(items ? [items] : []),
  ...(anyOf ?? []),
];

/** A set of values that a newer control may have more of; one value alone tells shapes apart. */
const isGrowing = ({ enum: values }: Schema): boolean => values !== undefined && values.length > 1;

const isClosed = (schema: Schema): boolean =>
  schema.additionalProperties === false || partsOf(schema).some((part) => isClosed(part));

const INT32_MOST = 2 ** 31 - 1;

/** The formats that generators make types of. */
const formatOf = ({ type, maximum = Number.POSITIVE_INFINITY }: Schema): object =>
  type === "integer" ? { format: maximum > INT32_MOST ? "int64" : "int32" } : {};

const isTime = ({ pattern, description }: Schema): boolean =>
  pattern === (Time as Schema).pattern || description === (LogTime as Schema).description;

/** Every schema of these endpoints, with the way it goes. */
export const usesOf = (endpoints: readonly Endpoint[]): [Schema, Way][] =>
  endpoints.flatMap(({ params, query, body, reply, item }): [Schema, Way][] => [
    [params as Schema, "request"],
    [query as Schema, "request"],
    ...(body ? [[body as Schema, "request"] as [Schema, Way]] : []),
    [reply as Schema, "reply"],
    ...(item ? [[item as Schema, "reply"] as [Schema, Way]] : []),
  ]);
