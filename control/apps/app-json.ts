// app.json as Heroku and Dokku know it: what of it this platform does is read strictly, everything else is named in a warning.
// Nothing of it is ever run by control; commands go into jobs, checks into process types.
import { Fault, isFault } from "#api/fault.ts";
import type { HealthCheck } from "#api/jobs.ts";
import { newSecret } from "#lib/ids.ts";
import { checkOf } from "./app-json-check.ts";
import {
  ENV_NAME,
  type Json,
  type Note,
  plainWord,
  processName,
  record,
  refuse,
  text,
  whole,
} from "./app-json-fields.ts";
import { RESERVED_ENV } from "./release.ts";

export interface AppJson {
  env: Record<string, AppJsonVariable>;
  /** Process type to the count it has at the first deployment. */
  formation: Record<string, number>;
  /** Command of the release phase, for a source whose Procfile has none. */
  release?: string;
  /** Process type to its check, with every field there. */
  healthchecks: Record<string, HealthCheck>;
  /** Kept for later; nothing runs them yet. */
  cron: { command: string; schedule: string }[];
  /** Names or URLs, in order. */
  buildpacks: string[];
  warnings: string[];
}

export interface AppJsonVariable {
  value?: string;
  /** A secret is made for it once, when the app has no such variable. */
  generated: boolean;
  /** Without a value of its own, the app must have one. */
  required: boolean;
  description?: string;
}

const FILE_MOST_BYTES = 256 * 1024;
const WARNINGS_MOST = 30;
const ENTRIES_MOST = 200;
/** About the app, for people and directories of apps; nothing to do. */
const SAID = new Set("name description keywords website repository logo success_url stack image $schema".split(" "));
const KNOWN = new Set(["env", "formation", "scripts", "healthchecks", "cron", "buildpacks"]);

export function parseAppJson(source: string): AppJson {
  if (Buffer.byteLength(source) > FILE_MOST_BYTES) throw refuse("the file", "is larger than 256 KiB");
  const warnings: string[] = [];
  const note: Note = (words) => {
    if (warnings.length < WARNINGS_MOST) warnings.push(`app.json: ${words}`);
  };
  if (source.startsWith("\ufeff")) note("it begins with a byte order mark, which is passed over");
  const all = record(parsed(source.replace(/^\ufeff/, "")), "the file");
  for (const name of Object.keys(all))
    if (!KNOWN.has(name) && !SAID.has(name)) note(`${plainWord(name)} is not used here and is passed over`);
  const release = scriptsOf(all["scripts"], note);
  return {
    env: envOf(all["env"], note),
    formation: formationOf(all["formation"], note),
    ...(release === undefined ? {} : { release }),
    healthchecks: checksOf(all["healthchecks"], note),
    cron: cronOf(all["cron"], note),
    buildpacks: buildpacksOf(all["buildpacks"]),
    warnings,
  };
}

/** Variables an app has from its first deployment on: those it has not, with secrets made. Fault `invalid` names what is missing. */
export function firstEnv(
  { env }: Pick<AppJson, "env">,
  present: Readonly<Record<string, string>>,
  secret: () => string = newSecret,
): Record<string, string> {
  const absent = Object.entries(env).filter(([name]) => !Object.hasOwn(present, name));
  const missing = absent.filter(([, { value, generated, required }]) => required && !generated && value === undefined);
  if (missing.length > 0) {
    const names = missing.map(([name]) => name);
    const said = missing.map(([name, { description }]) => (description ? `${name} (${description})` : name));
    throw new Fault(
      "invalid",
      `app.json requires ${said.join(", ").slice(0, 1_000)}; set ${names.length > 1 ? "them" : "it"} first: flynn env set ${names
        .map((name) => `${name}=...`)
        .join(" ")
        .slice(0, 1_000)}`,
      { details: { fields: names } },
    );
  }
  return Object.fromEntries(
    absent.flatMap(([name, { value, generated }]) => {
      const given = generated ? secret() : value;
      return given === undefined ? [] : [[name, given]];
    }),
  );
}

function parsed(source: string): Json {
  try {
    return JSON.parse(source) as Json;
  } catch (cause) {
    // The parser's words quote the source, which may hold secrets; only the place is told.
    const at = /position (\d+)/.exec(String(cause))?.[1];
    const before = at === undefined ? undefined : source.slice(0, Number(at));
    throw refuse("the file", `is not JSON${before === undefined ? "" : `: look at line ${before.split("\n").length}`}`);
  }
}

function envOf(value: Json, note: Note): AppJson["env"] {
  const variables: [string, AppJsonVariable][] = [];
  for (const [name, given] of entries(value, "env")) {
    const where = `env ${plainWord(name)}`;
    if (!ENV_NAME.test(name) || name === "__proto__")
      throw refuse(where, "is no name of a variable: letters, digits and _, no digit first");
    if (RESERVED_ENV.has(name)) {
      note(`${where} is set by the platform for every job and is passed over`);
      continue;
    }
    if (["string", "number", "boolean"].includes(typeof given)) {
      variables.push([name, { value: asText(given, where, note), generated: false, required: false }]);
      continue;
    }
    const { value: preset, generator, required = true, description, ...rest } = record(given, where);
    for (const field of Object.keys(rest)) note(`${where}: ${plainWord(field)} is passed over`);
    if (generator !== undefined && generator !== null && generator !== "secret")
      throw refuse(`${where}: generator`, `can only be "secret"`);
    if (typeof required !== "boolean") throw refuse(`${where}: required`, "is to be true or false");
    variables.push([
      name,
      {
        ...(preset === undefined || preset === null ? {} : { value: asText(preset, `${where}: value`, note) }),
        generated: generator === "secret",
        required,
        ...(typeof description === "string" && description ? { description: plainWord(description, 200) } : {}),
      },
    ]);
  }
  return Object.fromEntries(variables);
}

/** Variables are text: a number or a truth value is taken as it is written. */
function asText(value: Json, where: string, note: Note): string {
  if (typeof value !== "number" && typeof value !== "boolean") return text(value, where, 8192);
  note(`${where} is taken as text, ${JSON.stringify(String(value))}`);
  return String(value);
}

function formationOf(value: Json, note: Note): AppJson["formation"] {
  const counts: [string, number][] = [];
  for (const [written, given] of entries(value, "formation")) {
    const where = `formation ${plainWord(written)}`;
    const { quantity, ...rest } = record(given, where);
    for (const field of Object.keys(rest)) note(`${where}: ${plainWord(field)} is passed over`);
    const name = processName(written, where, note);
    if (name === "release") note("formation release: the release phase is not scaled; it is passed over");
    else if (quantity !== undefined) counts.push([name, whole(quantity, `${where}: quantity`, 0, 10_000)]);
  }
  return Object.fromEntries(counts);
}

/** The release phase: Dokku's predeploy and Heroku's release say the same thing here. What runs after a deployment is not done. */
function scriptsOf(value: Json, note: Note): string | undefined {
  const { dokku, ...plain } = value === undefined ? {} : record(value, "scripts");
  const all = [
    ...Object.entries(plain),
    ...(dokku === undefined ? [] : Object.entries(record(dokku, "scripts dokku"))).map(
      ([name, given]) => [`dokku.${name}`, given] as const,
    ),
  ];
  let release: string | undefined;
  for (const [name, given] of all) {
    const where = `scripts ${plainWord(name)}`;
    if (!["release", "predeploy", "dokku.predeploy"].includes(name)) {
      note(`${where} is not run here; what must run with each deployment belongs into \`release:\` of the Procfile`);
      continue;
    }
    const command = text(given, where, 4096).trim();
    if (command === "") {
      note(`${where} is empty and is passed over`);
      continue;
    }
    if (release !== undefined && release !== command)
      throw refuse(where, "contradicts another release script; keep one of them");
    release = command;
    if (name !== "release") note(`${where} is run as the release phase: files it writes do not reach the app's jobs`);
  }
  return release;
}

function checksOf(value: Json, note: Note): AppJson["healthchecks"] {
  const checks: [string, HealthCheck][] = [];
  for (const [written, given] of entries(value, "healthchecks")) {
    const where = `healthchecks ${plainWord(written)}`;
    if (!Array.isArray(given) || given.length > 20) throw refuse(where, "is to be a list of at most 20 checks");
    const check = checkOf(given, where, note);
    if (check !== undefined) checks.push([processName(written, where, note), check]);
  }
  return Object.fromEntries(checks);
}

function cronOf(value: Json, note: Note): AppJson["cron"] {
  if (value === undefined) return [];
  if (!Array.isArray(value) || value.length > 100) throw refuse("cron", "is to be a list of at most 100 entries");
  if (value.length > 0) note("cron entries are kept, and not run yet");
  // Nothing runs them yet: one that is wrong costs its own entry, and not the push.
  return value.flatMap((given, at) => {
    const where = `cron entry ${at + 1}`;
    try {
      return [cronEntry(given, where)];
    } catch (error) {
      if (!isFault(error, "invalid")) throw error;
      note(`${error.message.replace(/^app\.json: /, "")}; it is passed over`);
      return [];
    }
  });
}

function cronEntry(given: Json, where: string): AppJson["cron"][number] {
  const { command, schedule } = record(given, where);
  const when = text(schedule, `${where}: schedule`, 100).trim();
  if (!/^(@[a-z]+|\S+(\s+\S+){4})$/.test(when))
    throw refuse(`${where}: schedule`, "is to have five fields, such as 0 4 * * *, or a word such as @daily");
  const line = text(command, `${where}: command`, 4096).trim();
  if (line === "") throw refuse(where, "has no command");
  return { command: line, schedule: when };
}

function buildpacksOf(value: Json): string[] {
  if (value === undefined) return [];
  if (!Array.isArray(value) || value.length > 16) throw refuse("buildpacks", "is to be a list of at most 16");
  return value.map((given, at) => {
    const where = `buildpack ${at + 1}`;
    const url = text(typeof given === "string" ? given : record(given, where)["url"], `${where}: url`, 400);
    if (!/^[\x21-\x7e]+$/.test(url)) throw refuse(`${where}: url`, "is to be one word of printable characters");
    return url;
  });
}

function entries(value: Json, where: string): [string, Json][] {
  if (value === undefined) return [];
  const list = Object.entries(record(value, where));
  if (list.length > ENTRIES_MOST) throw refuse(where, `has more than ${ENTRIES_MOST} entries`);
  return list;
}
