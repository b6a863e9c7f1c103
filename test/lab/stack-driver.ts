// Plays the host's part of the contract with the stack's images on a lab host's dockerd: puts source, description and
// variables into a builder container, takes slug and result out of it, and starts what was built on the runner.
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { ExecError, exec } from "#lib/exec.ts";
import { until } from "#lib/time.ts";
import type { DockerHost } from "./docker-host.ts";
import type { StackArchives } from "./stack-archives.ts";

const APPS = fileURLToPath(new URL("../apps/", import.meta.url));

export interface BuildRequest {
  /** Folder of the source, or the name of a test app. */
  source: string;
  env?: Record<string, string>;
  buildpacks?: string[];
  app?: string;
  /** Names a cache volume that builds of one app share. */
  cache?: string;
  /** `none`: there is no network at all. `host`: the lab host's own. */
  network?: "none" | "host";
}

export interface BuildOutcome {
  code: number;
  log: string;
  result: { detected?: string; processes?: Record<string, string>; reason?: string };
  /** Path of the slug, when there is one. */
  slug?: string;
  entries: string[];
}

export interface StackDriver {
  build(wish: BuildRequest): Promise<BuildOutcome>;
  /** Starts a command line of a slug on the runner; ends with the scope or by `stop`. */
  run(slug: string, command: string[], env?: Record<string, string>): Promise<RunningApp>;
  docker(...argv: string[]): Promise<string>;
}

export interface RunningApp {
  container: string;
  log(): Promise<string>;
  /** Exit code, once it ended. */
  exitCode(): Promise<number>;
  stop(): Promise<void>;
}

const LIMITS = ["--cap-drop=ALL", "--security-opt=no-new-privileges", "--pids-limit=1024", "--memory=1g", "--init"];

export async function stackDriver(host: DockerHost, folder: string, archives: StackArchives): Promise<StackDriver> {
  const docker = async (...argv: string[]): Promise<string> =>
    (await host.exec(["docker", ...argv], { timeoutMs: 300_000 })).stdout.trim();
  for (const part of ["runner", "builder"] as const) await docker("load", "--quiet", "--input", archives[part].path);
  const builder = `flynn/builder:${archives.name}`;
  const runner = `flynn/runner:${archives.name}`;
  let count = 0;

  const put = async (container: string, place: string, tar: string) => {
    // `docker cp -` keeps owner and mode as the archive says, as Docker's archive API does for the host.
    await host.exec(["busybox", "sh", "-c", 'docker cp - "$1" < "$2"', "put", `${container}:${place}`, tar], {
      timeoutMs: 120_000,
    });
  };

  const build = async (wish: BuildRequest): Promise<BuildOutcome> => {
    const { source, env = {}, buildpacks = [], app = "lab", network = "none" } = wish;
    const work = await mkdtemp(join(folder, "build-"));
    const input = join(work, "in");
    await mkdir(join(input, "env"), { recursive: true });
    const from = source.startsWith("/") ? source : join(APPS, source);
    await exec(["tar", "--create", `--file=${join(input, "source.tar")}`, `--directory=${from}`, "."]);
    const description = {
      app,
      build: `b${++count}`,
      commit: "c0ffee".padEnd(40, "0"),
      stack: archives.name,
      buildpacks,
    };
    await writeFile(join(input, "build.json"), JSON.stringify(description));
    for (const [name, value] of Object.entries(env)) await writeFile(join(input, "env", name), value);
    const files = join(work, "in.tar");
    await exec(["tar", "--create", `--file=${files}`, "--owner=1000", "--group=1000", `--directory=${work}`, "in"]);
    const cache = `lab-cache-${wish.cache ?? `once-${count}`}`;
    const container = await docker("create", ...LIMITS, `--network=${network}`, `--volume=${cache}:/cache`, builder);
    try {
      await put(container, "/", files);
      const code = await host.exec(["docker", "start", "--attach", container], { timeoutMs: 300_000 }).then(
        () => 0,
        (error: unknown) => (error instanceof ExecError ? (error.exitCode ?? -1) : -1),
      );
      const said = await host.exec(["docker", "logs", container]);
      const result = JSON.parse(await fetchText(docker, container, "/out/result.json", work)) as BuildOutcome["result"];
      const outcome = { code, log: `${said.stdout}${said.stderr}`, result, entries: [] };
      if (code !== 0) return outcome;
      const slug = join(work, "slug.tar.gz");
      await docker("cp", `${container}:/out/slug.tar.gz`, slug);
      const { stdout } = await exec(["tar", "--list", "--verbose", "--numeric-owner", `--file=${slug}`]);
      return { ...outcome, slug, entries: stdout.trimEnd().split("\n") };
    } finally {
      await docker("rm", "--force", container);
      if (wish.cache === undefined) await docker("volume", "rm", "--force", cache);
    }
  };

  const run = async (slug: string, command: string[], env: Record<string, string> = {}): Promise<RunningApp> => {
    const variables = Object.entries(env).flatMap(([name, value]) => ["--env", `${name}=${value}`]);
    const container = await docker("create", ...LIMITS, "--network=host", ...variables, runner, ...command);
    await put(container, "/", slug);
    await docker("start", container);
    return {
      container,
      log: async () => {
        const { stdout, stderr } = await host.exec(["docker", "logs", container]);
        return `${stdout}${stderr}`;
      },
      exitCode: async () => {
        const ended = async () => (await docker("inspect", "--format={{.State.Status}}", container)) === "exited";
        await until(ended, { what: "the container's end", timeoutMs: 30_000 });
        return Number(await docker("inspect", "--format={{.State.ExitCode}}", container));
      },
      stop: async () => {
        await docker("stop", "--time=10", container);
        await docker("rm", "--force", container);
      },
    };
  };
  return { build, run, docker };
}

async function fetchText(
  docker: StackDriver["docker"],
  container: string,
  path: string,
  work: string,
): Promise<string> {
  const copy = join(work, "copied");
  await docker("cp", `${container}:${path}`, copy);
  const text = await readFile(copy, "utf8");
  await rm(copy, { force: true });
  return text;
}
