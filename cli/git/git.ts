// The working directory's git remote: how `flynn` knows which app it stands in. git by argv; no git and no repository are fine.
import { ExecError, exec } from "#lib/exec.ts";

const GIT_MS = 5_000;
export const REMOTE = "flynn";

/** `https://HOST:7777/git/hello.git` -> `hello`. */
export function appOfUrl(url: string): string | undefined {
  return /\/([a-z][a-z0-9-]*)\.git\/?$/.exec(url.trim())?.[1];
}

/** https://HOST:7777/git/APP.git */
export function remoteUrl(clusterUrl: string, app: string): string {
  return new URL(`/git/${app}.git`, clusterUrl).href;
}

export async function remoteOf(cwd: string, env: NodeJS.ProcessEnv): Promise<string | undefined> {
  const url = await ask(["remote", "get-url", REMOTE], cwd, env);
  return url?.trim() || undefined;
}

/** The top folder of the repository that `cwd` is in. */
export async function repositoryOf(cwd: string, env: NodeJS.ProcessEnv): Promise<string | undefined> {
  return (await ask(["rev-parse", "--show-toplevel"], cwd, env))?.trim() || undefined;
}

/** `added`; `kept` when there is a remote of that name already; `none` outside of a repository or without git. */
export async function addRemote(
  url: string,
  cwd: string,
  env: NodeJS.ProcessEnv,
  { replace = false }: { replace?: boolean } = {},
): Promise<"added" | "kept" | "none"> {
  if ((await ask(["rev-parse", "--git-dir"], cwd, env)) === undefined) return "none";
  const there = (await remoteOf(cwd, env)) !== undefined;
  if (there && !replace) return "kept";
  await exec(["git", "remote", there ? "set-url" : "add", REMOTE, url], { cwd, env, timeoutMs: GIT_MS });
  return "added";
}

export async function removeRemote(app: string, cwd: string, env: NodeJS.ProcessEnv): Promise<void> {
  const url = await remoteOf(cwd, env);
  if (url === undefined || appOfUrl(url) !== app) return;
  await exec(["git", "remote", "remove", REMOTE], { cwd, env, timeoutMs: GIT_MS });
}

/** What git answers; undefined when it refuses (no repository, no such remote) or is not installed. Other failures are thrown. */
async function ask(args: string[], cwd: string, env: NodeJS.ProcessEnv): Promise<string | undefined> {
  try {
    return (await exec(["git", ...args], { cwd, env, timeoutMs: GIT_MS })).stdout;
  } catch (error) {
    const missing = (error as ExecError).cause as NodeJS.ErrnoException | undefined;
    if (error instanceof ExecError && (error.exitCode !== undefined || missing?.code === "ENOENT")) return undefined;
    throw error;
  }
}
