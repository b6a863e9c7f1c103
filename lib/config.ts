// Configuration of one program: defaults < file (YAML or JSON) < environment < flags, checked against a TypeBox schema.
// An unknown key or a wrong value is an error before any socket opens.
import { readFileSync } from "node:fs";
import { Ajv } from "ajv";
import type { Static, TObject } from "typebox";
import { parse } from "yaml";

export interface ConfigSources {
  file?: string;
  /** Variables named PREFIX_FIELD_NAME override fields; the value is parsed as YAML unless the field is a string. */
  env?: { prefix: string; variables: NodeJS.ProcessEnv };
  /** Values given on the command line; undefined ones are ignored. */
  flags?: Record<string, unknown>;
}

export function loadConfig<T extends TObject>(schema: T, sources: ConfigSources = {}): Static<T> {
  const fromFile = sources.file === undefined ? {} : readConfigFile(sources.file);
  const fromEnv = sources.env ? environmentFields(schema, sources.env) : {};
  const fromFlags = Object.fromEntries(Object.entries(sources.flags ?? {}).filter(([, value]) => value !== undefined));
  const merged: unknown = { ...fromFile, ...fromEnv, ...fromFlags };
  const ajv = new Ajv({ useDefaults: true, allErrors: true, strict: false, validateSchema: false });
  const validate = ajv.compile({ ...schema, additionalProperties: false });
  if (!validate(merged)) {
    const problems = (validate.errors ?? []).map((error) => {
      const name =
        error.instancePath.replace(/^\//, "").replaceAll("/", ".") ||
        error.params["additionalProperty"] ||
        error.params["missingProperty"] ||
        "";
      return `${name ? `${name}: ` : ""}${error.message}`;
    });
    throw new Error(`configuration${sources.file ? ` ${sources.file}` : ""}: ${[...new Set(problems)].join("; ")}`);
  }
  return merged as Static<T>;
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
    const variable = `${env.prefix}_${name.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`;
    const text = env.variables[variable];
    if (text !== undefined) fields[name] = (field as { type?: string }).type === "string" ? text : parse(text);
  }
  return fields;
}
