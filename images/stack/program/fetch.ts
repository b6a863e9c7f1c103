// Gets a buildpack that is not one of ours: git without hooks, credentials or transports that run programs; an archive by
// curl over http(s) only. The address goes to curl on its standard input, so that a token in it is in no process list.
import { chmod, lstat, mkdir, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { ExecError, exec } from "#lib/exec.ts";
import { BuildFailure } from "./failure.ts";
import type { Reference } from "./reference.ts";

type Foreign = Extract<Reference, { kind: "git" | "archive" }>;

export interface FetchOptions {
  /** An empty folder of this buildpack's own. */
  directory: string;
  path: string;
  signal: AbortSignal;
}

const TIMEOUT_MS = 180_000;
const ARCHIVE_MOST_BYTES = 256 * 1024 ** 2;

/** The folder that holds bin/compile. */
export async function fetchBuildpack(reference: Foreign, options: FetchOptions): Promise<string> {
  await mkdir(options.directory, { recursive: true });
  const place = join(options.directory, "pack");
  await mkdir(place);
  try {
    if (reference.kind === "git") await clone(reference, place, options);
    else await unpack(reference, place, options);
  } catch (cause) {
    if (options.signal.aborted) throw new BuildFailure("the build was cancelled");
    throw new BuildFailure(`the buildpack ${reference.shown} could not be fetched`, {
      cause,
      details: [said(cause, reference)],
    });
  }
  const root = await rootOf(place, reference);
  // An archive may have lost which files are programs; what the contract names as one, is one.
  for (const name of ["detect", "compile", "release", "report"])
    await chmod(join(root, "bin", name), 0o755).catch(() => undefined);
  return root;
}

async function clone(reference: Extract<Foreign, { kind: "git" }>, place: string, options: FetchOptions) {
  const { url, ref } = reference;
  const environment = {
    PATH: options.path,
    HOME: options.directory,
    LANG: "C.UTF-8",
    GIT_CONFIG_NOSYSTEM: "1",
    GIT_TERMINAL_PROMPT: "0",
    GIT_ASKPASS: "/bin/false",
    GIT_ALLOW_PROTOCOL: "http:https:git",
  };
  const settings = ["protocol.allow=never", "protocol.ext.allow=never", "protocol.file.allow=never"]
    .concat(["protocol.https.allow=always", "protocol.http.allow=always", "protocol.git.allow=always"])
    .concat(["core.hooksPath=/dev/null", "core.symlinks=true", "advice.detachedHead=false", "gc.auto=0"]);
  const git = (...argv: string[]) =>
    exec(["git", ...settings.flatMap((each) => ["-c", each]), ...argv], {
      cwd: place,
      env: environment,
      timeoutMs: TIMEOUT_MS,
      signal: options.signal,
    });
  await git("init", "--quiet", "--initial-branch=pack", "--", place);
  const shallow = git("fetch", "--quiet", "--depth=1", "--no-tags", "--", url, ref ?? "HEAD");
  const commit = await shallow.then(
    () => "FETCH_HEAD",
    async (error) => {
      if (options.signal.aborted) throw error;
      // A server that knows no shallow fetches, or a commit that is not the end of a branch.
      await git(
        "fetch",
        "--quiet",
        "--tags",
        "--",
        url,
        "+refs/heads/*:refs/remotes/origin/*",
        "+HEAD:refs/remotes/origin/HEAD",
      );
      return await firstCommit(git, ref === undefined ? ["origin/HEAD"] : [`origin/${ref}`, ref]);
    },
  );
  await git("checkout", "--quiet", "--detach", commit, "--");
  if (await isThere(join(place, ".gitmodules")))
    await git("submodule", "--quiet", "update", "--init", "--recursive", "--depth=1");
}

async function firstCommit(
  git: (...argv: string[]) => Promise<{ stdout: string }>,
  names: readonly string[],
): Promise<string> {
  for (const name of names) {
    const found = await git("rev-parse", "--verify", "--quiet", "--end-of-options", `${name}^{commit}`).catch(
      () => undefined,
    );
    if (found !== undefined) return found.stdout.trim();
  }
  throw new Error(`it has no branch, tag or commit ${names.at(-1)}`);
}

async function unpack(reference: Extract<Foreign, { kind: "archive" }>, place: string, options: FetchOptions) {
  const file = join(options.directory, "archive.tar");
  const quoted = reference.url.replace(/["\\]/g, (sign) => `\\${sign}`);
  const settings = [
    `url = "${quoted}"`,
    `output = "${file}"`,
    "fail",
    "silent",
    "show-error",
    "location",
    "max-redirs = 5",
    'proto = "=http,https"',
    'proto-redir = "=http,https"',
    "connect-timeout = 30",
    `max-time = ${TIMEOUT_MS / 1_000}`,
    `max-filesize = ${ARCHIVE_MOST_BYTES}`,
  ].join("\n");
  const env = { PATH: options.path, HOME: options.directory, LANG: "C.UTF-8" };
  const { signal } = options;
  await exec(["curl", "--disable", "--config", "-"], { env, signal, input: settings, timeoutMs: TIMEOUT_MS + 5_000 });
  const zip = reference.compressed ? ["--gzip"] : [];
  await exec(["tar", "--extract", ...zip, `--file=${file}`, `--directory=${place}`, "--no-same-owner"], {
    env,
    signal,
    timeoutMs: TIMEOUT_MS,
  });
}

/** An archive may hold one folder around everything, as code hosts make them. */
async function rootOf(place: string, { shown }: Foreign): Promise<string> {
  const entries = await readdir(place, { withFileTypes: true });
  const inner = entries.length === 1 && entries[0]!.isDirectory() ? [join(place, entries[0]!.name)] : [];
  for (const root of [place, ...inner]) {
    const found = await lstat(join(root, "bin/compile")).catch(() => undefined);
    if (found?.isFile() || found?.isSymbolicLink()) return root;
  }
  throw new BuildFailure(`${shown} is no buildpack: it has no bin/compile`);
}

async function isThere(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined)) !== undefined;
}

/** The program's own last words, with the address as it may be shown. */
function said(cause: unknown, reference: Foreign): string {
  const words = cause instanceof ExecError ? cause.stderr || cause.message : (cause as Error).message;
  const last = words.trim().split("\n").slice(-3).join("\n");
  return last
    .replaceAll(reference.url, reference.shown)
    .replace(/(\/\/)[^/@\s]*@/g, "$1***@")
    .slice(0, 1_000);
}
