// Bare repositories under one directory, one per app, made at first use; and git itself, started with a fixed environment and
// bounded. Nothing of a client's reaches git but by argv after checks, and by its stdin.
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { mkdir, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Readable, Writable } from "node:stream";
import { Fault } from "#api/fault.ts";
import { ExecError, type ExecOptions, type ExecResult, exec } from "#lib/exec.ts";
import { writeFileAtomic } from "#lib/files.ts";
import { randomText } from "#lib/ids.ts";
import { LIMITS } from "./limits.ts";
import { removedRepositories } from "./removed.ts";
import { type GitSettings, gitConfigText } from "./settings.ts";

/** Files of pushes under way that hold the ends of their history begin so (shallow.ts). */
export const PUSH_ENDS = "shallow-push-";

export type GitChild = ChildProcessByStdio<Writable, Readable, Readable>;

export interface Repositories {
  /** Writes our configuration. To be awaited once, before anything else. */
  prepare(): Promise<void>;
  /** The app's repository, made if there is none; what an earlier control left half done in it is cleared away. */
  open(appId: string, branch: string): Promise<string>;
  /** The same, or undefined when nothing was ever pushed. */
  find(appId: string): Promise<string | undefined>;
  /** The commit that a ref is at, or that an object is or names; undefined when there is none. Objects of a push: with its quarantine. */
  resolve(repository: string, ref: string, quarantine?: string): Promise<string | undefined>;
  /** Runs git to its end. */
  git(repository: string, args: readonly string[], options?: ExecOptions): Promise<ExecResult>;
  spawn(args: readonly string[], env: NodeJS.ProcessEnv): GitChild;
  /** Sets aside the repositories of apps that `lives` says no to, and deletes those that were set aside a week ago. */
  sweep(lives: (appId: string) => boolean, now: Date): Promise<{ setAside: string[]; deleted: string[] }>;
}

/** Where git finds the objects of a push that is not admitted yet (git-receive-pack(1), quarantine). */
export function quarantineEnv(place: { repository: string; quarantine?: string | undefined }): NodeJS.ProcessEnv {
  const { repository, quarantine } = place;
  return quarantine === undefined
    ? {}
    : { GIT_OBJECT_DIRECTORY: quarantine, GIT_ALTERNATE_OBJECT_DIRECTORIES: `${repository}/objects` };
}

const SUFFIX = ".git";
const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

export function repositories(directory: string, settings: GitSettings): Repositories {
  const opened = new Map<string, Promise<string>>();
  const removed = removedRepositories(join(directory, "removed"));
  const configFile = join(directory, "config");
  const base: NodeJS.ProcessEnv = {
    PATH,
    HOME: directory,
    LANG: "C.UTF-8",
    GIT_CONFIG_NOSYSTEM: "1",
    GIT_CONFIG_GLOBAL: configFile,
    GIT_ATTR_NOSYSTEM: "1",
    GIT_TERMINAL_PROMPT: "0",
    GIT_NO_REPLACE_OBJECTS: "1",
  };
  const bounded = (args: readonly string[]) => [
    "prlimit",
    `--data=${LIMITS.memoryBytes}`,
    `--fsize=${LIMITS.fileBytes}`,
    "--core=0",
    "--",
    "git",
    ...args,
  ];
  const git: Repositories["git"] = (repository, args, options = {}) =>
    exec(bounded([`--git-dir=${repository}`, ...args]), {
      cwd: directory,
      ...options,
      env: { ...base, ...options.env },
    });

  const make = async (appId: string, branch: string): Promise<string> => {
    const path = join(directory, `${appId}${SUFFIX}`);
    if ((await exists(path)) || (await removed.bringBack(appId, path))) {
      await clearLeftovers(path);
      return path;
    }
    // Whole or not at all, whenever the power goes.
    const beside = join(directory, `new-${randomText(8)}`);
    try {
      await exec(bounded(["init", "--quiet", "--bare", "--template=", `--initial-branch=${branch}`, "--", beside]), {
        cwd: directory,
        env: base,
      });
      await rename(beside, path);
    } catch (cause) {
      await rm(beside, { recursive: true, force: true });
      throw new Fault("internal", "make the app's git repository", { cause });
    }
    return path;
  };

  return {
    async prepare() {
      await mkdir(directory, { recursive: true, mode: 0o700 });
      await writeFileAtomic(configFile, gitConfigText(settings));
      for (const name of await readdir(directory))
        if (name.startsWith("new-")) await rm(join(directory, name), { recursive: true, force: true });
    },
    open(appId, branch) {
      const known = opened.get(appId);
      if (known) return known;
      const made = make(appId, branch);
      opened.set(appId, made);
      made.catch(() => opened.delete(appId)); // the next one tries again; this one is told by `made` itself
      return made;
    },
    async find(appId) {
      const path = join(directory, `${appId}${SUFFIX}`);
      return (await exists(path)) || (await removed.bringBack(appId, path)) ? path : undefined;
    },
    async resolve(repository, ref, quarantine) {
      try {
        const args = ["rev-parse", "--verify", "--quiet", "--end-of-options", `${ref}^{commit}`];
        const { stdout } = await git(repository, args, { env: quarantineEnv({ repository, quarantine }) });
        return stdout.trim() || undefined;
      } catch (error) {
        if (error instanceof ExecError && error.exitCode === 1) return undefined;
        throw error;
      }
    },
    git,
    spawn: (args, env) => {
      const [file, ...rest] = bounded(args);
      return spawn(file!, rest, {
        cwd: directory,
        env: { ...base, ...env },
        stdio: ["pipe", "pipe", "pipe"],
        shell: false,
      });
    },
    async sweep(lives, now) {
      const setAside: string[] = [];
      for (const name of await readdir(directory)) {
        const appId = name.endsWith(SUFFIX) ? name.slice(0, -SUFFIX.length) : undefined;
        if (appId === undefined || lives(appId)) continue;
        opened.delete(appId);
        setAside.push(await removed.setAside(join(directory, name), appId, now));
      }
      return { setAside, deleted: await removed.sweep(now) };
    },
  };
}

const exists = (path: string): Promise<boolean> =>
  readdir(path).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return false;
      throw error;
    },
  );

/**
 * What git processes of a control that was killed leave: quarantined objects that no ref names, and lock files that would
 * refuse every later push; and logs of refs, which git writes on for ever once they are there. Done once in a control's life,
 * before its own first git process of the repository.
 */
async function clearLeftovers(path: string): Promise<void> {
  const objects = await readdir(join(path, "objects"));
  const stale = objects
    .filter((name) => /^(tmp_objdir-|incoming-|tmp_)/.test(name))
    .map((name) => join("objects", name));
  const refs = (await readdir(join(path, "refs"), { recursive: true })).map((name) => join("refs", name));
  const locks = [...(await readdir(path)), ...refs].filter(
    (name) => name.endsWith(".lock") || name.startsWith(PUSH_ENDS),
  );
  for (const name of [...stale, ...locks, "logs"]) await rm(join(path, name), { recursive: true, force: true });
}
