// `env edit`: the variables in the user's editor. The file is this user's alone and goes on every way out but one: when what was
// typed was not taken, it stays and the user is told where.
import { spawn } from "node:child_process";
import { rmSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Fault, isFault } from "#api/fault.ts";
import { stopChild } from "#lib/exec.ts";
import type { Cli } from "../parse/command.ts";
import { formatDotenv, parseDotenv } from "./dotenv.ts";

export type EnvChanges = Record<string, string | null>;

const HEADER = `# NAME=VALUE, one a line; values with blanks, quotes or several lines in '...'.
# A line taken away removes its variable. Saved unchanged, nothing happens.
`;

/** What turns one environment into the other. */
export function differenceOf(
  before: Readonly<Record<string, string>>,
  after: Readonly<Record<string, string>>,
): EnvChanges {
  const removed = Object.keys(before).filter((name) => !Object.hasOwn(after, name));
  const set = Object.entries(after).filter(([name, value]) => !Object.hasOwn(before, name) || before[name] !== value);
  return Object.fromEntries([...set, ...removed.map((name) => [name, null] as const)]);
}

/**
 * Gives the changes the user made to `send`; undefined, and nothing sent, when saved as it was. Text that does not read is shown
 * again, with what is wrong, until it does.
 */
export async function editEnv<T>(
  cli: Cli,
  env: Readonly<Record<string, string>>,
  send: (changes: EnvChanges) => Promise<T>,
): Promise<T | undefined> {
  if (!cli.terminal.in)
    throw new Fault("invalid", "there is no terminal to edit on; use `flynn env set --file FILE` or `flynn env set -`");
  const argv = editorOf(cli.env);
  const directory = await mkdtemp(join(cli.env["XDG_RUNTIME_DIR"] || cli.env["TMPDIR"] || tmpdir(), "flynn-env-"));
  const file = join(directory, "app.env");
  let keep = false;
  const remove = () => keep || rmSync(directory, { recursive: true, force: true });
  process.once("exit", remove); // a second Ctrl-C ends the process at once
  try {
    await writeFile(file, HEADER + formatDotenv(env), { mode: 0o600, flag: "wx" });
    const changes = await edited(cli, [...argv, file], env);
    if (Object.keys(changes).length === 0) return undefined;
    try {
      return await send(changes);
    } catch (error) {
      if (!isFault(error)) throw error;
      keep = true;
      const { cause, retry, details } = error;
      const where = `what you typed is in ${file}, which holds values: remove it when you have no more use for it`;
      throw new Fault(error.code, `${error.message}; ${where}`, { cause, retry, details });
    }
  } finally {
    process.removeListener("exit", remove);
    if (!keep) await rm(directory, { recursive: true, force: true });
  }
}

async function edited(cli: Cli, argv: string[], env: Readonly<Record<string, string>>): Promise<EnvChanges> {
  for (;;) {
    await openEditor(argv, cli);
    try {
      return differenceOf(env, parseDotenv(await readFile(argv.at(-1)!, "utf8")));
    } catch (error) {
      if (!isFault(error, "invalid")) throw error;
      const typed = await cli.ask(`${error.message}. Enter to edit it again, q to leave everything as it is: `);
      if (/^\s*q/i.test(typed)) throw new Fault("invalid", "the text was given up; nothing was changed");
    }
  }
}

/** Words, not a shell's line: `code --wait` works, quoting does not. */
function editorOf(env: NodeJS.ProcessEnv): string[] {
  return (env["VISUAL"] || env["EDITOR"] || "vi").split(/\s+/).filter(Boolean);
}

async function openEditor([program, ...args]: string[], cli: Cli): Promise<void> {
  const child = spawn(program!, args, { stdio: "inherit", shell: false, env: cli.env });
  const onAbort = () => void stopChild(child, 1_000);
  cli.signal.addEventListener("abort", onAbort, { once: true });
  try {
    const code = await new Promise<number | null>((resolve, reject) => {
      child.once("error", (cause) =>
        reject(new Fault("invalid", `the editor ${program} does not start; name another in EDITOR`, { cause })),
      );
      child.once("exit", resolve);
    });
    cli.signal.throwIfAborted();
    if (code !== 0)
      throw new Fault("invalid", `the editor ended with code ${code ?? "of a signal"}; nothing was changed`);
  } finally {
    cli.signal.removeEventListener("abort", onAbort);
  }
}
