// Deploy settings as words: `strategy=in-batches web.health=/up web.stop-timeout=1m`. One table for the app's and one for those of
// a process; setting, unsetting and showing all go by them.
import { type App, type ProcessChanges, type ProcessType, Strategy } from "#api/apps.ts";
import { Fault } from "#api/fault.ts";
import { DEFAULT_HEALTH, DEFAULT_STOP_TIMEOUT_MS, type HealthCheck } from "#api/jobs.ts";
import { parseDuration } from "#lib/units.ts";

const STRATEGIES = (Strategy as unknown as { enum: App["strategy"][] }).enum;
const DEFAULT_TIMEOUT_MS = 120_000;
const DEFAULT_STABLE_MS = 2_000;

export type AppChanges = Partial<{
  strategy: App["strategy"];
  batchSize: number | null;
  deployTimeoutMs: number;
  deployBranch: string | null;
}>;

/** `value` is undefined to unset. */
type Change<T> = (value: string | undefined, say: (example: string) => Fault) => T;
interface Setting<T, S> {
  help: string;
  change: (before: S) => Change<T>;
  /** As it is now, the default in brackets. */
  show: (now: S) => string | undefined;
}

export const APP_SETTINGS: Record<string, Setting<AppChanges, App>> = {
  strategy: {
    help: STRATEGIES.join(", "),
    change: () => (value, say) => {
      if (value !== undefined && !STRATEGIES.includes(value as App["strategy"])) throw say(STRATEGIES.join(" or "));
      return { strategy: (value as App["strategy"] | undefined) ?? "rolling" };
    },
    show: ({ strategy }) => strategy,
  },
  "batch-size": {
    help: "jobs of a process that in-batches replaces at a time; a third of them when unset",
    change: () => (value, say) => ({ batchSize: value === undefined ? null : whole(value, 1, 1_000, say) }),
    show: ({ batchSize }) => (batchSize === undefined ? undefined : String(batchSize)),
  },
  timeout: {
    help: "longest wait for one step of a deployment, and for its release phase, such as 5m; 2m when unset",
    change: () => (value, say) => ({ deployTimeoutMs: time(value, 1_000, 3_600_000, say) ?? DEFAULT_TIMEOUT_MS }),
    show: ({ deployTimeoutMs }) => inWords(deployTimeoutMs),
  },
  branch: {
    help: "branch whose push is deployed; main and master when unset",
    change: () => (value) => ({ deployBranch: value ?? null }),
    show: ({ deployBranch }) => deployBranch,
  },
};

const health =
  (change: (check: HealthCheck, value: string | undefined, say: (example: string) => Fault) => HealthCheck) =>
  (before: ProcessType): Change<ProcessChanges> =>
  (value, say) => ({ health: change(checkOf(before), value, say) });
const healthTime = (
  field: "intervalMs" | "timeoutMs" | "startTimeoutMs",
  least: number,
  most: number,
  help: string,
) => ({
  help,
  change: health((check, value, say) => ({
    ...check,
    [field]: time(value, least, most, say) ?? DEFAULT_HEALTH[field],
  })),
  show: (process: ProcessType) => inWords(checkOf(process)[field]),
});
const healthCount = (field: "rise" | "fall", help: string) => ({
  help,
  change: health((check, value, say) => ({
    ...check,
    [field]: value === undefined ? DEFAULT_HEALTH[field] : whole(value, 1, 20, say),
  })),
  show: (process: ProcessType) => String(checkOf(process)[field]),
});

export const PROCESS_SETTINGS: Record<string, Setting<ProcessChanges, ProcessType>> = {
  health: {
    help: "tcp (its port opens), none (it runs), or a path that is asked by HTTP, such as /up",
    change: health((check, value, say) => {
      const { path: _, status: __, ...rest } = check;
      if (value === undefined || value === "tcp" || value === "none")
        return { ...rest, type: (value as "tcp" | "none" | undefined) ?? "tcp" };
      if (!/^\/[\x21-\x7e]{0,255}$/.test(value)) throw say("tcp, none, or a path such as /up");
      return { ...check, type: "http", path: value };
    }),
    show: (process) => {
      const { type, path = "/" } = checkOf(process);
      return type === "http" ? path : type;
    },
  },
  "health-status": {
    help: "statuses that are healthy, such as 200,204 or 200-299; 200-399 when unset",
    change: health((check, value, say) => {
      const { status: _, ...rest } = check;
      if (value === undefined) return rest;
      if (check.type !== "http") throw new Fault("invalid", "statuses need a path to ask for: set health=/PATH too");
      if (!/^[1-5]\d\d(-[1-5]\d\d)?(,[1-5]\d\d(-[1-5]\d\d)?)*$/.test(value)) throw say("200,204 or 200-299");
      return { ...rest, status: value };
    }),
    show: (process) => checkOf(process).status,
  },
  "health-interval": healthTime("intervalMs", 100, 60_000, "time between two checks, 1s when unset"),
  "health-timeout": healthTime("timeoutMs", 100, 60_000, "longest wait for an answer, 2s when unset"),
  "health-rise": healthCount("rise", "successes in a row that make it healthy, 1 when unset"),
  "health-fall": healthCount("fall", "failures in a row that make it unhealthy, 3 when unset"),
  "start-timeout": healthTime("startTimeoutMs", 1_000, 3_600_000, "longest time from start to healthy, 1m when unset"),
  stable: {
    help: "how long a deployment's first new job must stay healthy before an old one goes, 2s when unset",
    change: health((check, value, say) => {
      const { stableMs: _, ...rest } = check;
      const stableMs = time(value, 0, 600_000, say);
      return stableMs === undefined ? rest : { ...rest, stableMs };
    }),
    show: (process) => inWords(checkOf(process).stableMs ?? DEFAULT_STABLE_MS),
  },
  timeout: {
    help: "longest wait of a deployment for its jobs, instead of the app's",
    change: () => (value, say) => ({ deployTimeoutMs: time(value, 1_000, 3_600_000, say) ?? null }),
    show: ({ deployTimeoutMs }) => (deployTimeoutMs === undefined ? undefined : inWords(deployTimeoutMs)),
  },
  "stop-timeout": {
    help: "time from SIGTERM to SIGKILL, 30s when unset",
    change: () => (value, say) => ({ stopTimeoutMs: time(value, 0, 3_600_000, say) ?? null }),
    show: ({ stopTimeoutMs }) => inWords(stopTimeoutMs ?? DEFAULT_STOP_TIMEOUT_MS),
  },
  "one-per-host": {
    help: "true: at most one job of the process on a host",
    change: () => (value, say) => {
      if (value !== undefined && value !== "true" && value !== "false") throw say("true or false");
      return { antiAffinity: value === "true" ? true : null };
    },
    show: ({ antiAffinity }) => (antiAffinity ? "true" : undefined),
  },
};

export interface DeployChanges {
  app: AppChanges;
  processes: Record<string, ProcessChanges>;
}

/** `NAME=VALUE` words, or bare names to unset, as the changes that make them so. Fault `invalid` on what is no setting. */
export function deployChanges(
  now: { app: App; processes: Readonly<Record<string, ProcessType>> },
  words: readonly string[],
  unset = false,
): DeployChanges {
  const changes: DeployChanges = { app: {}, processes: {} };
  for (const word of words) {
    const equals = word.indexOf("=");
    if (!unset && equals < 1) throw new Fault("invalid", `${word}: write a setting as NAME=VALUE`);
    const name = unset ? word : word.slice(0, equals);
    const value = unset ? undefined : word.slice(equals + 1);
    if (value === "") throw new Fault("invalid", `${name} has no value; to take it away: flynn deploy unset ${name}`);
    const say = (example: string) => new Fault("invalid", `${name}=${value}: write it as ${example}`);
    const dot = name.indexOf(".");
    if (dot < 0) {
      Object.assign(changes.app, found(APP_SETTINGS, name).change(now.app)(value, say));
      continue;
    }
    const process = name.slice(0, dot);
    const type = Object.hasOwn(now.processes, process) ? now.processes[process] : undefined;
    if (type === undefined)
      throw new Fault("invalid", `no process ${process}; the app has ${Object.keys(now.processes).join(", ")}`);
    const soFar = changes.processes[process] ?? {};
    const merged = { ...type, ...soFar } as ProcessType; // several settings of one check add up
    const more = found(PROCESS_SETTINGS, name.slice(dot + 1)).change(merged)(value, say);
    changes.processes[process] = { ...soFar, ...more };
  }
  return changes;
}

/** As `NAME=VALUE` words, defaults too: what holds, not only what was set. */
export function deployWords(app: App, processes: Readonly<Record<string, ProcessType>>): string[] {
  const words = <S>(settings: Record<string, Setting<unknown, S>>, now: S, prefix = "") =>
    Object.entries(settings).flatMap(([name, { show }]) => {
      const shown = show(now);
      return shown === undefined ? [] : [`${prefix}${name}=${shown}`];
    });
  return [
    ...words(APP_SETTINGS, app),
    ...Object.entries(processes).flatMap(([name, process]) => words(PROCESS_SETTINGS, process, `${name}.`)),
  ];
}

function found<T>(settings: Record<string, T>, name: string): T {
  const setting = Object.hasOwn(settings, name) ? settings[name] : undefined;
  if (setting === undefined)
    throw new Fault(
      "invalid",
      `there is no deploy setting ${name}; there are ${Object.keys(APP_SETTINGS).join(", ")}, and of a process ${Object.keys(PROCESS_SETTINGS).join(", ")}, as web.health`,
    );
  return setting;
}

const checkOf = ({ port, health: check }: ProcessType): HealthCheck =>
  check ?? (port === null ? { ...DEFAULT_HEALTH, type: "none" } : DEFAULT_HEALTH);

function time(
  value: string | undefined,
  leastMs: number,
  mostMs: number,
  say: (example: string) => Fault,
): number | undefined {
  if (value === undefined) return undefined;
  const ms = parseDuration(value);
  if (ms === undefined || ms < leastMs || ms > mostMs)
    throw say(`a time from ${inWords(leastMs)} to ${inWords(mostMs)}, such as 30s`);
  return ms;
}

function whole(value: string, least: number, most: number, say: (example: string) => Fault): number {
  const number = /^\d{1,6}$/.test(value) ? Number(value) : Number.NaN;
  if (!(number >= least && number <= most)) throw say(`a number from ${least} to ${most}`);
  return number;
}

/** `90s`, `2m`: exact, and read back as it is. */
function inWords(ms: number): string {
  if (ms > 0 && ms % 3_600_000 === 0) return `${ms / 3_600_000}h`;
  if (ms > 0 && ms % 60_000 === 0) return `${ms / 60_000}m`;
  return ms % 1_000 === 0 ? `${ms / 1_000}s` : `${ms}ms`;
}
