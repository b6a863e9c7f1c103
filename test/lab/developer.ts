// A developer of the lab: a home of their own with git and the CLI set up as people have them, and working copies of the test apps.
import { cp, mkdir, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { ExecError, type ExecOptions } from "#lib/exec.ts";
import type { Appliance } from "./appliance.ts";

export interface Outcome {
  code: number;
  stdout: string;
  stderr: string;
}

export interface Work {
  readonly folder: string;
  /** Writes files (undefined removes one) and commits everything. */
  commit(message: string, files?: Record<string, string | undefined>): Promise<void>;
  git(...argv: string[]): Promise<Outcome>;
  flynn(...argv: string[]): Promise<Outcome>;
}

export interface Developer {
  readonly home: string;
  readonly env: NodeJS.ProcessEnv;
  /** A working copy of a folder of test/apps, with one commit on `main`. */
  work(app: string, name?: string): Promise<Work>;
  run(argv: readonly string[], options?: ExecOptions): Promise<Outcome>;
}

const APPS = fileURLToPath(new URL("../apps/", import.meta.url));
const MAIN = fileURLToPath(new URL("../../cli/main.ts", import.meta.url));

/** The user who started the appliance: its CLI knows the cluster, and its git the cluster's CA and credential helper. */
export async function developer(appliance: Appliance, folder: string): Promise<Developer> {
  const { home } = appliance;
  // It would go before what `flynn up` told git.
  const { GIT_SSL_CAINFO: _, ...inherited } = process.env;
  const env = { ...inherited, HOME: home, FLYNN_HOME: home, NO_COLOR: "1", GIT_TERMINAL_PROMPT: "0" };
  const run = async (argv: readonly string[], options: ExecOptions = {}): Promise<Outcome> => {
    try {
      const { stdout, stderr } = await appliance.lan.exec(argv, { timeoutMs: 300_000, env, ...options });
      return { code: 0, stdout, stderr };
    } catch (error) {
      if (error instanceof ExecError && error.exitCode !== undefined)
        return { code: error.exitCode, stdout: error.stdout, stderr: error.stderr };
      throw error;
    }
  };
  const sound = async (argv: readonly string[], cwd: string) => {
    const { code, stderr } = await run(argv, { cwd });
    if (code !== 0) throw new Error(`${argv.join(" ")}: ${code}: ${stderr}`);
  };
  await mkdir(folder, { recursive: true });
  for (const [key, value] of Object.entries({
    "user.name": "Dev",
    "user.email": "dev@flynn.test",
    "init.defaultBranch": "main",
  }))
    await sound(["git", "config", "--global", key, value], folder);
  return {
    home,
    env,
    run,
    async work(app, name = app) {
      const cwd = join(folder, name);
      await rm(cwd, { recursive: true, force: true });
      await cp(join(APPS, app), cwd, { recursive: true });
      const git = (...argv: string[]) => run(["git", ...argv], { cwd });
      const it: Work = {
        folder: cwd,
        git,
        flynn: (...argv) => run([process.execPath, MAIN, ...argv], { cwd }),
        async commit(message, files = {}) {
          for (const [path, text] of Object.entries(files)) {
            const file = join(cwd, path);
            await mkdir(dirname(file), { recursive: true });
            if (text === undefined) await rm(file, { force: true });
            else await writeFile(file, text);
          }
          await sound(["git", "add", "--all"], cwd);
          await sound(["git", "commit", "--quiet", "--message", message], cwd);
        },
      };
      await sound(["git", "init", "--quiet"], cwd);
      await it.commit("first");
      return it;
    },
  };
}
