// One classic buildpack: its programs, called as the contract says. What a variable of the app holds reaches them as a file
// in ENV_DIR only.
import { constants } from "node:fs";
import { access, stat } from "node:fs/promises";
import { join } from "node:path";
import { parse } from "yaml";
import { runLogged, runRead } from "./children.ts";
import { BuildFailure } from "./failure.ts";
import { plain } from "./say.ts";

export interface Pack {
  directory: string;
  /** As people named it. */
  shown: string;
  /** None of the stack's own. */
  foreign: boolean;
}

export interface PackRun {
  buildDirectory: string;
  cacheDirectory: string;
  envDirectory: string;
  /** Of the buildpack's programs; grows by what packs export. */
  environment: NodeJS.ProcessEnv;
  outputFd: number;
  signal: AbortSignal;
}

const ASK_TIMEOUT_MS = 120_000;
const REPORT_TIMEOUT_MS = 30_000;
const COMPILE_TIMEOUT_MS = 6 * 3_600_000; // the host ends a build long before

/** The name by which the pack knows this kind of app, or undefined when it is not for it. */
export async function detect(pack: Pack, run: PackRun): Promise<string | undefined> {
  const program = join(pack.directory, "bin/detect");
  if (!(await isProgram(program)))
    throw new BuildFailure(`${pack.shown} is no buildpack: its bin/detect is no program`);
  const { code, why, output } = await ask([program, run.buildDirectory], run);
  if (why !== undefined) throw new BuildFailure(`bin/detect of ${pack.shown} ${why}`);
  if (code !== 0) return undefined;
  return (
    plain(output.split("\n")[0] ?? "")
      .trim()
      .slice(0, 100) || pack.shown
  );
}

export async function compile(pack: Pack, run: PackRun): Promise<void> {
  const program = join(pack.directory, "bin/compile");
  if (!(await isProgram(program))) throw new BuildFailure(`bin/compile of ${pack.shown} is no program`);
  const { buildDirectory, cacheDirectory, envDirectory, environment: env, outputFd, signal } = run;
  const argv = [program, buildDirectory, cacheDirectory, envDirectory];
  const ended = await runLogged(argv, { env, cwd: buildDirectory, outputFd, signal, timeoutMs: COMPILE_TIMEOUT_MS });
  if (ended.why !== undefined) throw new BuildFailure(`bin/compile of ${pack.shown} ${ended.why}`);
  if (ended.code !== 0) throw new BuildFailure(`bin/compile of ${pack.shown} ended with code ${ended.code}`);
}

/** The environment after the pack's `export` file, for the packs that come after it. */
export async function afterExport(pack: Pack, run: PackRun): Promise<NodeJS.ProcessEnv> {
  const file = join(pack.directory, "export");
  if (!(await isFile(file))) return run.environment;
  const script = 'cd "$2" && . "$1" >&2 && exec env -0';
  const { code, output } = await ask(["bash", "-c", script, "export", file, run.buildDirectory], run);
  if (code !== 0) throw new BuildFailure(`the export file of ${pack.shown} ended with code ${code}`);
  return parseEnvironment(output);
}

export interface Release {
  processes: Record<string, string>;
  warnings: string[];
}

export async function release(pack: Pack, run: PackRun): Promise<Release> {
  const program = join(pack.directory, "bin/release");
  if (!(await isProgram(program))) return { processes: {}, warnings: [] };
  const { code, why, output } = await ask([program, run.buildDirectory], run);
  if (code !== 0 || why !== undefined)
    throw new BuildFailure(`bin/release of ${pack.shown} ${why ?? `ended with code ${code}`}`);
  return parseRelease(output, pack.shown);
}

/** What bin/report says of the build; nothing depends on it. */
export async function report(pack: Pack, run: PackRun): Promise<string> {
  const program = join(pack.directory, "bin/report");
  if (!(await isProgram(program))) return "";
  const argv = [program, run.buildDirectory, run.cacheDirectory, run.envDirectory];
  const { code, output } = await ask(argv, run, { timeoutMs: REPORT_TIMEOUT_MS, errorFd: "ignore" });
  return code === 0 ? output.slice(0, 16_384) : "";
}

function ask(argv: readonly string[], run: PackRun, options: { timeoutMs?: number; errorFd?: "ignore" } = {}) {
  const { timeoutMs = ASK_TIMEOUT_MS, errorFd = run.outputFd } = options;
  const { environment: env, buildDirectory: cwd, signal } = run;
  return runRead(argv, { env, cwd, signal, timeoutMs, errorFd });
}

/** Output of `env -0`, without what the shell that ran it keeps for itself. */
export function parseEnvironment(output: string): Record<string, string> {
  const entries = output.split("\0").flatMap((entry) => {
    const at = entry.indexOf("=");
    return at > 0 ? [[entry.slice(0, at), entry.slice(at + 1)] as const] : [];
  });
  const own = new Set(["_", "SHLVL", "PWD", "OLDPWD"]);
  return Object.fromEntries(entries.filter(([name]) => !own.has(name) && !name.startsWith("BASH_FUNC_")));
}

/** bin/release's YAML: default_process_types, the rest is passed over. */
export function parseRelease(text: string, shown: string): Release {
  const warnings: string[] = [];
  const none = (why: string): Release => ({ processes: {}, warnings: [...warnings, `${shown}: ${why}`] });
  let value: unknown;
  try {
    value = parse(text, { maxAliasCount: 0, logLevel: "error" });
  } catch {
    return none("what its bin/release printed is not YAML; its process types are not known");
  }
  if (value === null || value === undefined) return { processes: {}, warnings };
  if (typeof value !== "object" || Array.isArray(value)) return none("its bin/release printed no mapping");
  const addons = (value as Record<string, unknown>)["addons"];
  if (Array.isArray(addons) && addons.length > 0)
    warnings.push(`${shown} asks for add-ons, which are not made by a build: ${plain(addons.join(", "))}`);
  const types = (value as Record<string, unknown>)["default_process_types"];
  if (types === null || types === undefined) return { processes: {}, warnings };
  if (typeof types !== "object" || Array.isArray(types)) return none("its default process types are no mapping");
  const processes: Record<string, string> = Object.create(null);
  for (const [name, command] of Object.entries(types)) {
    if (/^(?!constructor$|__proto__$)[a-z][a-z0-9_-]{0,29}$/.test(name) && isCommand(command))
      processes[name] = command;
    else warnings.push(`${shown}: its default process type ${plain(name).slice(0, 40)} is passed over`);
  }
  return { processes: { ...processes }, warnings };
}

const isCommand = (value: unknown): value is string =>
  typeof value === "string" &&
  value.trim() !== "" &&
  value.length <= 4096 &&
  !/[\u0000-\u0008\u000a-\u001f]/.test(value);

async function isProgram(path: string): Promise<boolean> {
  const executable = await access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
  return executable && (await isFile(path));
}

async function isFile(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.isFile() ?? false;
}
