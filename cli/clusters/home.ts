// Where this user's files are, by the rules of the system it runs on. Pure.
import { homedir } from "node:os";
import { posix, win32 } from "node:path";

export type Platform = NodeJS.Platform;

/** HOME where it is set (as git takes it, also on Windows), else what the system says. */
export function homeOf(env: NodeJS.ProcessEnv, platform: Platform = process.platform): string {
  return env["HOME"] || (platform === "win32" && env["USERPROFILE"]) || homedir();
}

/** Joined as paths of that system are. */
export const pathsOf = (platform: Platform): typeof posix => (platform === "win32" ? win32 : posix);

/** Where the CLI keeps clusters: FLYNN_HOME, else ~/.flynn (%USERPROFILE%\.flynn). */
export const flynnHome = (env: NodeJS.ProcessEnv, platform: Platform = process.platform): string =>
  env["FLYNN_HOME"] || pathsOf(platform).join(homeOf(env, platform), ".flynn");
