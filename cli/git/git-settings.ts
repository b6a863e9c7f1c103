// What git of this user must know to push to a cluster over HTTPS: whom to ask for the token, and the cluster's CA. Kept in the
// user's own git configuration, for this cluster's address alone; taken out again when the cluster is forgotten.

import { rm } from "node:fs/promises";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { Fault } from "#api/fault.ts";
import { ExecError, exec } from "#lib/exec.ts";
import { writeFileAtomic } from "#lib/files.ts";
import { causeChain } from "#lib/run.ts";
import { isPacked, treeFile } from "../clone/tree.ts";
import type { Cluster } from "../clusters/clusters-file.ts";
import { flynnHome, type Platform, pathsOf } from "../clusters/home.ts";
import { credentialHelper, type OwnProgram } from "./own-command.ts";

const GIT_MS = 10_000;

type Known = Pick<Cluster, "name" | "url" | "caPem">;

/** Where the CA of a cluster lies for git, which reads it from a file. */
export const caFile = (env: NodeJS.ProcessEnv, name: string, platform: Platform = process.platform): string =>
  pathsOf(platform).join(flynnHome(env, platform), "ca", `${name}.pem`);

const ownProgram = (): OwnProgram =>
  isPacked ? { file: fileURLToPath(import.meta.url), node: process.execPath } : { script: treeFile("cli/flynn") };

/** Writes the settings; the line says what was written, or why not. A git that cannot be taught stops nothing else. */
export async function teachGit({ name, url, caPem }: Known, env: NodeJS.ProcessEnv): Promise<string> {
  try {
    if (process.platform !== "win32" && !env["HOME"] && !env["GIT_CONFIG_GLOBAL"])
      throw new Fault("invalid", "HOME is not set");
    const file = caFile(env, name);
    await writeFileAtomic(file, caPem);
    // An empty helper first: those the user set before for all hosts are not asked, and never told this token.
    const helper = `credential.${url}.helper`;
    await config(env, "--replace-all", helper, "");
    await config(env, "--add", helper, credentialHelper(ownProgram(), env, process.platform));
    const tls = tlsSettings(url, file, process.platform);
    for (const [name, value] of tls) await config(env, "--replace-all", name, value);
    const wins = env["GIT_SSL_CAINFO"]
      ? ". GIT_SSL_CAINFO is set here and wins over that: unset it, or add the cluster's CA to its file"
      : "";
    return `git pushes to ${url} with this token now: ${helper} and ${tls[0]![0]} were set in git's global configuration${wins}`;
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
    const same = left.findLast(({ url }) => url === gone.url);
    if (same) return await teachGit(same, env);
    const names = [
      `credential.${gone.url}.helper`,
      ...tlsSettings(gone.url, "", process.platform).map(([name]) => name),
    ];
    for (const name of names) await config(env, "--unset-all", name);
    return undefined;
  } catch (error) {
    return `git's settings for ${gone.url} are still there: ${reason(error)}`;
  }
}

/**
 * What git must trust at this address. Git for Windows may use the system's own TLS (schannel), which takes the file only when it is told to,
 * and asks a revocation list of an authority that has none.
 */
export function tlsSettings(url: string, file: string, platform: Platform): [name: string, value: string][] {
  const path = platform === "win32" ? file.replaceAll("\\", "/") : file;
  return [
    [`http.${url}/.sslCAInfo`, path],
    ...(platform === "win32"
      ? ([
          [`http.${url}/.schannelUseSSLCAInfo`, "true"],
          [`http.${url}/.schannelCheckRevoke`, "false"],
        ] as [string, string][])
      : []),
  ];
}

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
