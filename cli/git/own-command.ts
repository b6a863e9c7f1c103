// How git starts this CLI to ask for a token: a command line for the shell that git runs it with (a POSIX one, on Windows too). Pure.
import { flynnHome } from "../clusters/home.ts";

/** What is there to be started: the script of a clone, or the packed file and the Node that runs it now. */
export type OwnProgram = { script: string } | { file: string; node: string };

/**
 * The value of git's `credential.URL.helper` (git-credential(1)): a `!` makes it a command line, and git adds `get` to its end. The Node that
 * runs now is asked for by its path first: a git without a terminal may have no Node on its PATH. Where that one is gone (it was upgraded),
 * the PATH's is taken.
 */
export function credentialHelper(program: OwnProgram, env: NodeJS.ProcessEnv, platform: NodeJS.Platform): string {
  const word = (path: string) => quoted(platform === "win32" ? path.replaceAll("\\", "/") : path);
  const home = env["FLYNN_HOME"] ? `FLYNN_HOME=${word(flynnHome(env, platform))}` : "";
  if ("script" in program) return `!${[home, word(program.script), "git-credential"].filter(Boolean).join(" ")}`;
  const node = `n=${word(program.node)}; test -x "$n" || n=node;`;
  return `!${[node, home, '"$n"', word(program.file), "git-credential"].filter(Boolean).join(" ")}`;
}

/** One word of a POSIX shell, whatever is in it. */
export const quoted = (word: string): string => `'${word.replaceAll("'", "'\\''")}'`;
