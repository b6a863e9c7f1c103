// What git of this user must know to push to a cluster over HTTPS: whom to ask for the token, and the cluster's CA. Kept in the
// user's own git configuration, for this cluster's address alone; taken out again when the cluster is forgotten.

import { rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { Fault } from "#api/fault.ts";
import { ExecError, exec } from "#lib/exec.ts";
import { writeFileAtomic } from "#lib/files.ts";
import { causeChain } from "#lib/run.ts";
import { type Cluster, clustersFile } from "../clusters/clusters-file.ts";

const GIT_MS = 10_000;
const FLYNN = fileURLToPath(new URL("../flynn", import.meta.url));

type Known = Pick<Cluster, "name" | "url" | "caPem">;

/** Where the CA of a cluster lies for git, which reads it from a file. */
export const caFile = (env: NodeJS.ProcessEnv, name: string): string =>
  join(dirname(clustersFile(env)), "ca", `${name}.pem`);

/** Writes the settings; the line says what was written, or why not. A git that cannot be taught stops nothing else. */
export async function teachGit({ name, url, caPem }: Known, env: NodeJS.ProcessEnv): Promise<string> {
  try {
    if (!env["HOME"] && !env["GIT_CONFIG_GLOBAL"]) throw new Fault("invalid", "HOME is not set");
    const file = caFile(env, name);
    await writeFileAtomic(file, caPem);
    const { helper, ca } = names(url);
    // An empty helper first: those the user set before for all hosts are not asked, and never told this token.
    await config(env, "--replace-all", helper, "");
    await config(env, "--add", helper, helperWords(env));
    await config(env, "--replace-all", ca, file);
    const wins = env["GIT_SSL_CAINFO"]
      ? ". GIT_SSL_CAINFO is set here and wins over that: unset it, or add the cluster's CA to its file"
      : "";
    return `git pushes to ${url} with this token now: ${helper} and ${ca} were set in git's global configuration${wins}`;
  } catch (error) {
    return `git was not set up for ${url}: ${reason(error)}`;
  }
}

/** Takes the settings out again, unless another cluster that is still known has the same address: then they are its own. */
export async function forgetGit(
  gone: Known,
  left: readonly Known[],
  env: NodeJS.ProcessEnv,
): Promise<string | undefined> {
  try {
    await rm(caFile(env, gone.name), { force: true });
    const same = left.find(({ url }) => url === gone.url);
    if (same) return await teachGit(same, env);
    for (const name of Object.values(names(gone.url))) await config(env, "--unset-all", name);
    return undefined;
  } catch (error) {
    return `git's settings for ${gone.url} are still there: ${reason(error)}`;
  }
}

const names = (url: string) => ({ helper: `credential.${url}.helper`, ca: `http.${url}/.sslCAInfo` });

/** git offers only words for its shell here (git-credential(1)); a `!` makes them a command line. */
function helperWords(env: NodeJS.ProcessEnv): string {
  const home = env["FLYNN_HOME"];
  return `!${home ? `FLYNN_HOME=${quoted(home)} ` : ""}${quoted(FLYNN)} git-credential`;
}

/** One word of a POSIX shell, whatever is in it. */
export const quoted = (word: string): string => `'${word.replaceAll("'", "'\\''")}'`;

const NOT_THERE = 5;

async function config(env: NodeJS.ProcessEnv, ...args: string[]): Promise<void> {
  try {
    await exec(["git", "config", "--global", ...args], { env, timeoutMs: GIT_MS });
  } catch (error) {
    if (args[0] === "--unset-all" && error instanceof ExecError && error.exitCode === NOT_THERE) return;
    throw error;
  }
}

function reason(error: unknown): string {
  const missing = error instanceof ExecError && (error.cause as NodeJS.ErrnoException | undefined)?.code === "ENOENT";
  return missing ? "the program git is missing; install it and add the cluster again" : causeChain(error).join(": ");
}
