// project.toml, the project descriptor of Cloud Native Buildpacks (schema 0.2 and 0.3, and 0.1 with its [build]): what it says of
// a build, read strictly, by control and inside the build alike. Tables of other programs and what describes the project are theirs.
import { parse, TomlError } from "smol-toml";
import { Fault } from "./fault.ts";

export interface ProjectToml {
  /** Builder image, as it is written. */
  builder?: string;
  /** Patterns as in .gitignore; one of the two is empty. */
  include: string[];
  exclude: string[];
  /** For buildpacks, while they build. */
  env: Record<string, string>;
  /** In place of the builder's own order; empty: the builder's. */
  group: ProjectBuildpack[];
  /** Before and after each group of the builder's order. */
  pre: ProjectBuildpack[];
  post: ProjectBuildpack[];
  warnings: string[];
}

export interface ProjectBuildpack {
  id: string;
  version?: string;
}

type Table = Record<string, unknown>;

const FILE_MOST_BYTES = 64 * 1024;
const MOST = 200;
const SCHEMAS = ["0.1", "0.2", "0.3"];
const IMAGE = /^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,255}$/;
const VARIABLE = /^[A-Za-z_][A-Za-z0-9_]{0,127}$/;
const VALUE_MOST = 64 * 1024;
const PATTERN = /^[^\u0000-\u001f\u007f]{1,256}$/;
const BUILDPACK = /^(?!.*\.\.)[A-Za-z0-9_-][A-Za-z0-9._-]*(\/[A-Za-z0-9_-][A-Za-z0-9._-]*){0,5}$/;
const VERSION = /^(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._+-]{0,99}$/;
const IN_BUILDER = /^(?:urn:cnb:builder:|from=builder:)([^@]+)(?:@(.+))?$/;
/** What an app is built for here, among the execution environments of schema 0.3. */
const EXEC_ENV = "production";

const wrong = (why: string) => new Fault("invalid", `project.toml: ${why}`);

/** Fault `invalid` in words. */
export function parseProjectToml(text: string): ProjectToml {
  const all = read(text);
  const warnings: string[] = [];
  const { build, name } = buildTable(all, warnings);
  const found: ProjectToml = { include: [], exclude: [], env: {}, group: [], pre: [], post: [], warnings };
  const isOld = name === "build";
  for (const [key, value] of Object.entries(build)) {
    const at = `${name}.${key}`;
    if (key === "builder") {
      if (typeof value !== "string" || !IMAGE.test(value)) throw wrong(`${at} is no name of an image`);
      found.builder = value;
    } else if (key === "include" || key === "exclude") found[key] = patterns(value, at);
    else if (key === (isOld ? "buildpacks" : "group")) found.group = buildpacks(value, at, warnings);
    else if (!isOld && (key === "pre" || key === "post")) found[key] = onlyKey(value, at, "group", warnings);
    else if (isOld && key === "env") Object.assign(found.env, variables(value, at, warnings));
    else if (!isOld && key === "build") Object.assign(found.env, envOf(value, at, "env", warnings));
    else if (!isOld && key === "env") found.env = { ...envOf(value, at, "build", warnings), ...found.env };
    else if (key !== "schema-version") throw wrong(`there is no ${at}`);
  }
  if (found.include.length > 0 && found.exclude.length > 0)
    throw wrong(`${name} has both include and exclude; the format allows one of the two`);
  return found;
}

function read(text: string): Table {
  if (Buffer.byteLength(text) > FILE_MOST_BYTES) throw wrong("it is larger than 64 KiB");
  try {
    return parse(text.replace(/^\ufeff/, ""), { unsafeKeyBehaviour: "throw" } as never);
  } catch (error) {
    if (!(error instanceof TomlError)) throw wrong("it is not sound TOML");
    const [said = ""] = error.message.split("\n");
    throw wrong(`line ${error.line}: ${said.replace(/^Invalid TOML document: /, "")}`);
  }
}

/** The one table that says how to build, by the schema that the file names. */
function buildTable(all: Table, warnings: string[]): { build: Table; name: string } {
  const about = all["_"] === undefined ? {} : table(all["_"], "_");
  const io = all["io"] === undefined ? undefined : table(all["io"], "io")["buildpacks"];
  const old = all["build"];
  const schema = about["schema-version"];
  if (schema !== undefined && !SCHEMAS.includes(schema as string))
    throw wrong(`schema-version ${shown(schema)} is not known here; known are ${SCHEMAS.join(", ")}`);
  if (io !== undefined && old !== undefined)
    throw wrong(
      "[build] and [io.buildpacks] both say how to build; the first is of schema 0.1, the second of later ones",
    );
  if (old !== undefined && schema !== undefined && schema !== "0.1")
    throw wrong(`[build] is of schema 0.1, and the file says ${String(schema)}: write [io.buildpacks]`);
  if (io !== undefined && schema === "0.1")
    throw wrong("[io.buildpacks] is of schema 0.2, and the file says 0.1: write [build], or another schema-version");
  if (io !== undefined && schema === undefined)
    warnings.push("project.toml names no schema-version; it is read as schema 0.2");
  if (old !== undefined) return { build: table(old, "build"), name: "build" };
  return { build: io === undefined ? {} : table(io, "io.buildpacks"), name: "io.buildpacks" };
}

function table(value: unknown, at: string): Table {
  if (typeof value !== "object" || value === null || Array.isArray(value) || value instanceof Date)
    throw wrong(`${at} is to be a table`);
  return value as Table;
}

function tables(value: unknown, at: string): Table[] {
  if (!Array.isArray(value)) throw wrong(`${at} is to be a list of tables, such as [[${at}]]`);
  if (value.length > MOST) throw wrong(`${at} has more than ${MOST} entries`);
  return value.map((one) => table(one, at));
}

function onlyKey(value: unknown, at: string, key: string, warnings: string[]): ProjectBuildpack[] {
  const { [key]: inside, ...rest } = table(value, at);
  const [other] = Object.keys(rest);
  if (other !== undefined) throw wrong(`there is no ${at}.${other}`);
  return inside === undefined ? [] : buildpacks(inside, `${at}.${key}`, warnings);
}

function patterns(value: unknown, at: string): string[] {
  if (!Array.isArray(value)) throw wrong(`${at} is to be a list of patterns`);
  if (value.length > MOST) throw wrong(`${at} has more than ${MOST} patterns`);
  for (const one of value)
    if (typeof one !== "string" || !PATTERN.test(one)) throw wrong(`${at}: ${shown(one)} is no pattern of file names`);
  return value as string[];
}

function envOf(value: unknown, at: string, key: string, warnings: string[]): Record<string, string> {
  const { [key]: inside, ...rest } = table(value, at);
  const [other] = Object.keys(rest);
  if (other !== undefined) throw wrong(`there is no ${at}.${other}`);
  return inside === undefined ? {} : variables(inside, `${at}.${key}`, warnings);
}

function variables(value: unknown, at: string, warnings: string[]): Record<string, string> {
  const found = new Map<string, string>();
  for (const entry of tables(value, at)) {
    const { name, value: text, "exec-env": execEnv, ...rest } = entry;
    const [other] = Object.keys(rest);
    if (typeof name !== "string" || !VARIABLE.test(name)) throw wrong(`${at}: ${shown(name)} is no name of a variable`);
    if (other !== undefined) throw wrong(`there is no ${at}.${other}`);
    if (typeof text !== "string" || text.includes("\0") || text.length > VALUE_MOST)
      throw wrong(`${at}: the value of ${name} is to be a text`);
    if (isForHere(execEnv, at)) found.set(name, text);
    else warnings.push(`project.toml: ${at} ${name} is for ${String(execEnv)} alone, not for ${EXEC_ENV}`);
  }
  return Object.fromEntries(found);
}

function buildpacks(value: unknown, at: string, warnings: string[]): ProjectBuildpack[] {
  return tables(value, at).flatMap((entry) => {
    const { id, version, uri, script, "exec-env": execEnv, ...rest } = entry;
    const [other] = Object.keys(rest);
    if (other !== undefined) throw wrong(`there is no ${at}.${other}`);
    if (script !== undefined)
      throw wrong(
        `${at}: buildpacks written into the file (script) are not run here; only those of the builder image are`,
      );
    if ((id === undefined) === (uri === undefined)) throw wrong(`${at}: each has either an id or a uri`);
    if (uri !== undefined && version !== undefined) throw wrong(`${at}: one with a uri has no version`);
    const named = typeof uri === "string" ? IN_BUILDER.exec(uri) : [uri, id, version];
    if (named === null)
      throw wrong(
        `${at}: ${shown(uri)} would have to be fetched; only buildpacks of the builder image are run here, by their id`,
      );
    const [, name, wanted] = named as unknown[];
    if (typeof name !== "string" || !BUILDPACK.test(name)) throw wrong(`${at}: ${shown(name)} is no id of a buildpack`);
    if (wanted !== undefined && (typeof wanted !== "string" || !VERSION.test(wanted)))
      throw wrong(`${at}: ${shown(wanted)} is no version of ${name}`);
    if (!isForHere(execEnv, at)) {
      warnings.push(`project.toml: ${at} ${name} is for ${String(execEnv)} alone, not for ${EXEC_ENV}`);
      return [];
    }
    return [{ id: name, ...(wanted === undefined || wanted === "latest" ? {} : { version: wanted as string }) }];
  });
}

function isForHere(execEnv: unknown, at: string): boolean {
  if (execEnv === undefined) return true;
  if (!Array.isArray(execEnv) || execEnv.some((one) => typeof one !== "string" || !/^[A-Za-z0-9*._-]{1,60}$/.test(one)))
    throw wrong(`${at}: exec-env is to be a list of names`);
  return execEnv.length === 0 || execEnv.includes(EXEC_ENV) || execEnv.includes("*");
}

const shown = (value: unknown): string => JSON.stringify(String(value).slice(0, 100));
