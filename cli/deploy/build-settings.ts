// Build settings as words: `kind=dockerfile memory=2GiB timeout=20m arg.NODE_ENV=production`. One table of names, for setting,
// unsetting and showing.
import { BuildKind, type BuildLimits, type BuildSettings } from "#api/builds.ts";
import { Fault } from "#api/fault.ts";
import { formatSize, parseDuration, parseSize } from "#lib/units.ts";

const KINDS = (BuildKind as unknown as { enum: string[] }).enum;
const ARG = "arg.";

type Change = (settings: BuildSettings, value: string | undefined, name: string) => BuildSettings;

const text =
  (field: "dockerfile" | "target" | "builder" | "runImage"): Change =>
  (settings, value) =>
    put(settings, field, value);
const limit =
  (field: keyof BuildLimits, parse: (value: string) => number | undefined, example: string): Change =>
  (settings, value, name) => {
    const number = value === undefined ? undefined : parse(value);
    if (value !== undefined && number === undefined) throw wrong(name, value, example);
    const limits = put(settings.limits ?? {}, field, number);
    return put(settings, "limits", Object.keys(limits).length === 0 ? undefined : limits);
  };

export const SETTINGS: Record<string, { change: Change; help: string }> = {
  kind: {
    help: `${KINDS.join(", ")}; found out from the source when unset`,
    change: (settings, value, name) => {
      if (value !== undefined && !KINDS.includes(value)) throw wrong(name, value, KINDS.join(" or "));
      return put(settings, "kind", value as BuildKind | undefined);
    },
  },
  buildpacks: {
    help: "names (nodejs, python, go, ruby, static, procfile) or URLs, by commas, in order",
    change: (settings, value) =>
      put(
        settings,
        "buildpacks",
        value
          ?.split(",")
          .map((one) => one.trim())
          .filter(Boolean),
      ),
  },
  dockerfile: { help: "path in the source, such as deploy/Dockerfile", change: text("dockerfile") },
  target: { help: "stage of the Dockerfile to build", change: text("target") },
  builder: { help: "artifact of a Cloud Native Buildpacks builder image", change: text("builder") },
  "run-image": { help: "artifact that the builder's apps are laid on; the stack when unset", change: text("runImage") },
  cpu: { help: "cores, such as 2 or 0.5", change: limit("cpuMillis", cores, "2 or 0.5") },
  memory: { help: "such as 2GiB", change: limit("memoryBytes", parseSize, "2GiB") },
  disk: { help: "such as 8GiB", change: limit("diskBytes", parseSize, "8GiB") },
  pids: { help: "processes at once", change: limit("pids", whole, "1024") },
  timeout: { help: "such as 20m", change: limit("timeoutMs", parseDuration, "20m") },
};

/** The settings after `NAME=VALUE` words, or bare names to unset. Fault `invalid` on what is no setting. */
export function changedSettings(settings: BuildSettings, words: readonly string[], unset = false): BuildSettings {
  return words.reduce((before, word) => {
    const equals = word.indexOf("=");
    if (!unset && equals < 1) throw new Fault("invalid", `${word}: write a setting as NAME=VALUE`);
    const name = unset ? word : word.slice(0, equals);
    const value = unset ? undefined : word.slice(equals + 1);
    if (value === "") throw new Fault("invalid", `${name} has no value; to take it away: flynn build unset ${name}`);
    if (name.startsWith(ARG)) return withArg(before, name.slice(ARG.length), value);
    const setting = Object.hasOwn(SETTINGS, name) ? SETTINGS[name] : undefined;
    if (setting === undefined)
      throw new Fault(
        "invalid",
        `there is no build setting ${name}; there are ${Object.keys(SETTINGS).join(", ")} and ${ARG}NAME`,
      );
    return setting.change(before, value, name);
  }, settings);
}

/** As `NAME=VALUE` words, those that are set. */
export function settingWords({ limits = {}, args = {}, buildpacks, ...rest }: BuildSettings): string[] {
  const { cpuMillis, memoryBytes, diskBytes, pids, timeoutMs } = limits;
  const pairs: [string, string | undefined][] = [
    ["kind", rest.kind],
    ["buildpacks", buildpacks?.join(",")],
    ["dockerfile", rest.dockerfile],
    ["target", rest.target],
    ["builder", rest.builder],
    ["run-image", rest.runImage],
    ["cpu", cpuMillis && String(cpuMillis / 1_000)],
    ["memory", memoryBytes && formatSize(memoryBytes).replace(" ", "")],
    ["disk", diskBytes && formatSize(diskBytes).replace(" ", "")],
    ["pids", pids && String(pids)],
    ["timeout", timeoutMs && (timeoutMs % 60_000 === 0 ? `${timeoutMs / 60_000}m` : `${timeoutMs / 1_000}s`)],
    ...Object.entries(args).map(([name, value]) => [`${ARG}${name}`, value] as [string, string]),
  ].map(([name, value]) => [name as string, value ? String(value) : undefined]);
  return pairs.flatMap(([name, value]) => (value === undefined ? [] : [`${name}=${value}`]));
}

function withArg(settings: BuildSettings, name: string, value: string | undefined): BuildSettings {
  if (!/^[A-Za-z_][A-Za-z0-9_]{0,127}$/.test(name))
    throw new Fault("invalid", `${name || "an empty name"} is no name of a build argument`);
  const args = put(settings.args ?? {}, name, value);
  return put(settings, "args", Object.keys(args).length === 0 ? undefined : args);
}

function put<T extends object, K extends keyof T>(record: T, field: K, value: T[K] | undefined): T {
  const { [field]: _, ...rest } = record;
  return (value === undefined ? rest : { ...rest, [field]: value }) as T;
}

const wrong = (name: string, value: string, example: string): Fault =>
  new Fault("invalid", `${name}=${value}: write it as ${example}`);

function cores(value: string): number | undefined {
  return /^\d{1,3}(\.\d{1,3})?$/.test(value) ? Math.round(Number(value) * 1_000) : undefined;
}

function whole(value: string): number | undefined {
  return /^\d{1,7}$/.test(value) ? Number(value) : undefined;
}
