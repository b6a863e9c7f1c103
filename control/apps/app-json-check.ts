// app.json's health checks of one process as this platform's one: how long it may take to start (startup), and when it counts
// as broken later (liveness). Times are seconds there, as in Dokku.
import { DEFAULT_HEALTH, type HealthCheck } from "#api/jobs.ts";
import { type Json, type Note, plainWord, record, refuse, text, whole } from "./app-json-fields.ts";

const READ = new Set(
  "type name description path initialDelay interval wait timeout attempts uptime listening".split(" "),
);
const SECONDS_MOST = 3_600;
const PATH = /^\/[\x21-\x7e]{0,255}$/;

/** Undefined when no entry of the list says anything this platform does. */
export function checkOf(list: Json[], where: string, note: Note): HealthCheck | undefined {
  let check: HealthCheck | undefined;
  const kinds = new Set<string>();
  for (const [at, given] of list.entries()) {
    const here = `${where}, check ${at + 1}`;
    const fields = record(given, here);
    const { type = "startup" } = fields;
    if (type !== "startup" && type !== "liveness") {
      note(`${here}: type ${plainWord(JSON.stringify(type) ?? "")} is not done here and is passed over`);
      continue;
    }
    if (kinds.has(type)) throw refuse(here, `is a second ${type} check; a process has one`);
    if (fields["command"] !== undefined) {
      note(`${here}: a check by command is not done here and is passed over`);
      continue;
    }
    kinds.add(type);
    for (const field of Object.keys(fields))
      if (!READ.has(field))
        note(`${here}: ${plainWord(field)} is passed over; the check goes to the process's own port`);
    check = type === "startup" ? startup(check, fields, here) : liveness(check, fields, here);
  }
  return check;
}

type Fields = Record<string, Json>;

function startup(before: HealthCheck | undefined, fields: Fields, where: string): HealthCheck {
  const seconds = secondsOf(fields, where);
  const attempts = count(fields, where, 1_000) ?? 3;
  const interval = seconds("interval") ?? seconds("wait") ?? 5;
  const timeout = Math.max(1, seconds("timeout") ?? 5);
  const longestMs = ((seconds("initialDelay") ?? 0) + attempts * (timeout + interval)) * 1_000;
  const uptime = seconds("uptime");
  const base = before ?? DEFAULT_HEALTH;
  return {
    ...base,
    ...kindOf(fields, where, base),
    timeoutMs: before?.timeoutMs ?? Math.min(timeout * 1_000, 60_000),
    startTimeoutMs: clamp(longestMs, 1_000, 3_600_000),
    ...(uptime === undefined ? {} : { stableMs: Math.min(600_000, uptime * 1_000) }),
  };
}

function liveness(before: HealthCheck | undefined, fields: Fields, where: string): HealthCheck {
  const seconds = secondsOf(fields, where);
  const attempts = count(fields, where, 20);
  const interval = seconds("interval") ?? seconds("wait");
  const timeout = seconds("timeout");
  const base = before ?? DEFAULT_HEALTH;
  return {
    ...base,
    ...kindOf(fields, where, base),
    ...(attempts === undefined ? {} : { fall: attempts }),
    ...(interval === undefined ? {} : { intervalMs: clamp(interval * 1_000, 100, 60_000) }),
    ...(timeout === undefined ? {} : { timeoutMs: clamp(timeout * 1_000, 100, 60_000) }),
  };
}

/** A path makes it HTTP; two checks of one process ask the same path. */
function kindOf({ path }: Fields, where: string, base: HealthCheck): Pick<HealthCheck, "type" | "path"> {
  if (path === undefined) return { type: base.type };
  const asked = text(path, `${where}: path`, 256);
  if (!PATH.test(asked)) throw refuse(`${where}: path`, "is to begin with / and hold no spaces");
  if (base.path !== undefined && base.path !== asked)
    throw refuse(`${where}: path`, `differs from the other check's, ${base.path}; a process has one path`);
  return { type: "http", path: asked };
}

const secondsOf = (fields: Fields, where: string) => (name: string) =>
  fields[name] === undefined ? undefined : whole(fields[name], `${where}: ${name} (seconds)`, 0, SECONDS_MOST);

const count = ({ attempts }: Fields, where: string, most: number): number | undefined =>
  attempts === undefined ? undefined : whole(attempts, `${where}: attempts`, 1, most);

const clamp = (value: number, least: number, most: number): number => Math.min(most, Math.max(least, value));
