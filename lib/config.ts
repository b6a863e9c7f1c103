// Configuration of one program: defaults < file (YAML or JSON) < environment < flags, checked against a TypeBox schema.
// An unknown key or a wrong value is an error before any socket opens. Beside its pattern a schema says in `wants` what is taken, in
// words and with an example: people are never shown the pattern.
import { readFileSync } from "node:fs";
import { Ajv, type ErrorObject } from "ajv";
import type { Static, TObject } from "typebox";
import { parse } from "yaml";

export interface ConfigSources {
  file?: string;
  /** Variables named PREFIX_FIELD_NAME override fields; the value is parsed as YAML unless the field is a string. */
  env?: { prefix: string; variables: NodeJS.ProcessEnv };
  /** Values given on the command line; undefined ones are ignored. */
  flags?: Record<string, unknown>;
  /** How people write the flag of a field, `--http-port`; by itself a field is called by its name. */
  flagName?: (field: string) => string;
}

export function loadConfig<T extends TObject>(schema: T, sources: ConfigSources = {}): Static<T> {
  const fromFile = sources.file === undefined ? {} : readConfigFile(sources.file);
  const fromEnv = sources.env ? environmentFields(schema, sources.env) : {};
  const fromFlags = Object.fromEntries(Object.entries(sources.flags ?? {}).filter(([, value]) => value !== undefined));
  const merged: unknown = { ...fromFile, ...fromEnv, ...fromFlags };
  const ajv = new Ajv({ useDefaults: true, allErrors: true, verbose: true, strict: false, validateSchema: false });
  const validate = ajv.compile({ ...schema, additionalProperties: false });
  if (!validate(merged)) {
    const name = (field: string): string => {
      if (Object.hasOwn(fromFlags, field)) return sources.flagName?.(field) ?? field;
      if (sources.env && Object.hasOwn(fromEnv, field)) return variableOf(sources.env.prefix, field);
      return Object.hasOwn(fromFile, field) ? `${field} in ${sources.file}` : field;
    };
    const problems = (validate.errors ?? []).map((error) => problemOf(error, name));
    throw new Error([...new Set(problems)].join("; "));
  }
  return merged as Static<T>;
}

const variableOf = (prefix: string, field: string): string =>
  `${prefix}_${field.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`;

const SHOWN_MOST = 60;

/** One finding in words: which setting, what it is, and what it may be. */
function problemOf(
  { keyword, instancePath, params, message, data, parentSchema = {} }: ErrorObject,
  name: (field: string) => string,
): string {
  const [field = "", ...inside] = instancePath.split("/").slice(1);
  const within = inside.filter((step) => !/^\d+$/.test(step)).map((step) => `.${step}`);
  const setting = field === "" ? "" : `${name(field)}${within.join("")}`;
  if (keyword === "additionalProperties") {
    const unknown = String(params["additionalProperty"]);
    return setting === "" ? `${name(unknown)} is not a setting` : `${setting}: ${unknown} is not one of its names`;
  }
  if (keyword === "required")
    return `${setting === "" ? "" : `${setting}: `}${String(params["missingProperty"])} is missing`;
  return `${setting}${/token|secret|password/i.test(field) ? "" : ` ${shown(data)}`}: ${wanted(keyword, params, parentSchema) ?? message ?? "it is wrong"}`;
}

function wanted(keyword: string, params: ErrorObject["params"], schema: Record<string, unknown>): string | undefined {
  const { minimum, maximum, wants, description } = schema;
  if (keyword === "enum") return `must be ${oneOf(params["allowedValues"] as unknown[])}`;
  if (keyword === "type" && params["type"] === "integer" && minimum === undefined) return "must be a whole number";
  if (keyword === "minimum" || keyword === "maximum" || (keyword === "type" && params["type"] === "integer"))
    return `must be a whole number${minimum === undefined ? "" : ` from ${String(minimum)}`}${maximum === undefined ? "" : ` to ${String(maximum)}`}`;
  if (keyword === "type") return `must be ${TYPES[String(params["type"])] ?? String(params["type"])}`;
  if (params["limit"] === 1 && (keyword === "minLength" || keyword === "minItems")) return "must not be empty";
  if (keyword !== "pattern") return undefined;
  return wants === undefined
    ? `is not right${description === undefined ? "" : `. ${String(description)}`}`
    : `must be ${String(wants)}`;
}

const oneOf = (values: unknown[]): string =>
  values.length < 2 ? values.join("") : `${values.slice(0, -1).join(", ")} or ${String(values.at(-1))}`;

const TYPES: Readonly<Record<string, string>> = {
  string: "text",
  number: "a number",
  boolean: "true or false",
  array: "a list",
  object: "a mapping",
};

function shown(value: unknown): string {
  const text = typeof value === "string" && /^[\x21-\x7e]+$/.test(value) ? value : (JSON.stringify(value) ?? "");
  return text.length > SHOWN_MOST ? `${text.slice(0, SHOWN_MOST)}...` : text;
}

function readConfigFile(file: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = parse(readFileSync(file, "utf8"));
  } catch (cause) {
    throw new Error(`read configuration ${file}`, { cause });
  }
  if (value === null || value === undefined) return {};
  if (typeof value !== "object" || Array.isArray(value)) throw new Error(`configuration ${file}: must be a mapping`);
  return value as Record<string, unknown>;
}

function environmentFields(schema: TObject, env: NonNullable<ConfigSources["env"]>): Record<string, unknown> {
  const fields: Record<string, unknown> = {};
  for (const [name, field] of Object.entries(schema.properties)) {
    const text = env.variables[variableOf(env.prefix, name)];
    if (text !== undefined) fields[name] = (field as { type?: string }).type === "string" ? text : parse(text);
  }
  return fields;
}
