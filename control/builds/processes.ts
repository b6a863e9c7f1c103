// The process types of a build's release: the Procfile's over what the build found, each with the settings that the app's
// process of that name had. Pure.
import type { ProcessType } from "#api/apps.ts";
import type { BuildKind } from "#api/builds.ts";
import { Fault } from "#api/fault.ts";
import type { HealthCheck } from "#api/jobs.ts";

export interface ProcessesRequest {
  kind: BuildKind;
  /** From the Procfile; undefined when there is none. */
  procfile: Readonly<Record<string, string>> | undefined;
  /** What the build says there is. */
  found: Readonly<Record<string, string>>;
  /** Command of the release phase where the Procfile has none. */
  release?: string;
  health: Readonly<Record<string, HealthCheck>>;
  before: Readonly<Record<string, ProcessType>>;
}

const WEB_PORT = 8080;
const CNB = "/cnb/";
const LAUNCHER = `${CNB}lifecycle/launcher`;
const MOST = 50;

/** Fault `invalid` when there is nothing to run. */
export function processesOf(requested: ProcessesRequest): Record<string, ProcessType> {
  const { kind, procfile, found, release, health, before } = requested;
  const commands = new Map<string, string | undefined>();
  // A Docker image runs by itself; a Procfile without web does not take that away.
  if (kind === "dockerfile") commands.set("web", undefined);
  for (const [name, command] of Object.entries(found)) commands.set(name, command);
  if (release !== undefined) commands.set("release", release);
  for (const [name, command] of Object.entries(procfile ?? {})) commands.set(name, command);
  const names = [...commands.keys()].sort();
  if (names.every((name) => name === "release"))
    throw new Fault(
      "invalid",
      "no process type was found: add a Procfile with a line such as `web: npm start` (or, for Node.js, a `start` script to package.json)",
    );
  if (names.length > MOST) throw new Fault("invalid", `there are more than ${MOST} process types`);
  return Object.fromEntries(
    names.map((name) => {
      const { command: _, entrypoint: __, ...kept } = before[name] ?? { port: name === "web" ? WEB_PORT : null };
      const given = Object.hasOwn(procfile ?? {}, name) || !Object.hasOwn(found, name);
      return [
        name,
        {
          ...kept,
          ...(health[name] === undefined ? {} : { health: health[name] }),
          ...started(kind, name, commands.get(name), given),
        },
      ];
    }),
  );
}

/** How a line of a Procfile is started in each kind of image. `own`: the line is the app's, not a process the image has itself. */
function started(kind: BuildKind, name: string, line: string | undefined, own: boolean): Partial<ProcessType> {
  if (line === undefined) return {};
  if (kind === "dockerfile") return { entrypoint: ["/bin/sh", "-c"], command: [line] };
  if (kind === "buildpacks") return { command: [line] };
  return own ? { entrypoint: [LAUNCHER], command: [line] } : { entrypoint: [`${CNB}process/${name}`] };
}

/**
 * What a command of its own is given to in an image: undefined where that is the image's entrypoint. That of Cloud Native Buildpacks
 * is the app's own process; their launcher sets up the environment, takes one text as a line for bash, and after `--` words as they are.
 * A plain word is no line: run images need not have bash.
 */
export function commandEntrypoint(
  processes: Readonly<Record<string, Pick<ProcessType, "entrypoint">>>,
  command: readonly string[],
): string[] | undefined {
  if (!Object.values(processes).some(({ entrypoint }) => entrypoint?.[0]?.startsWith(CNB))) return undefined;
  const isLine = command.length === 1 && !/^[A-Za-z0-9_./+-]+$/.test(command[0]!);
  return isLine ? [LAUNCHER] : [LAUNCHER, "--"];
}
