// `env edit`: the variables in the user's editor. The file is this user's alone and is gone on every way out; only what was
// changed is sent, so what others changed meanwhile stays.
import { spawn } from "node:child_process";
import { rmSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Fault, isFault } from "#api/fault.ts";
import { stopChild } from "#lib/exec.ts";
import type { Cli } from "./command.ts";
import { formatDotenv, parseDotenv } from "./dotenv.ts";

type EnvChanges = Record<string, string | null>;

const HEADER = `# NAME=VALUE, one a line; values with blanks, quotes or several lines in '...'.
# A line taken away removes its variable. Saved unchanged, nothing happens.
`;

/** What turns one environment into the other. */
function differenceOf(before: Readonly<Record<string, string>>, after: Readonly<Record<string, string>>): EnvChanges {
  const removed = Object.keys(before).filter((name) => !Object.hasOwn(after, name));
  const set = Object.entries(after).filter(([name, value]) => !Object.hasOwn(before, name) || before[name] !== value);
  return Object.fromEntries([...set, ...removed.map((name) => [name, null] as const)]);
}

/** Changes the user made; none when saved as it was. Text that does not read is shown again, with what is wrong, until it does. */
export async function editEnv(cli: Cli, env: Readonly<Record<string, string>>): Promise<EnvChanges> {
  if (!cli.terminal.in)
    throw new Fault("invalid", "there is no terminal to edit on; use `flynn env set --file FILE` or `flynn env set -`");
  const argv = editorOf(cli.env);
  const directory = await mkdtemp(join(cli.env["XDG_RUNTIME_DIR"] || cli.env["TMPDIR"] || tmpdir(), "flynn-env-"));
  const remove = () => rmSync(directory, { recursive: true, force: true });
  process.once("exit", remove); // a second Ctrl-C ends the process at once
  try {
    const file = join(directory, "app.env");
    await writeFile(file, HEADER + formatDotenv(env), { mode: 0o600, flag: "wx" });
    for (;;) {
      await openEditor([...argv, file], cli);
      try {
        return differenceOf(env, parseDotenv(await readFile(file, "utf8")));
      } catch (error) {
        if (!isFault(error, "invalid")) throw error;
        const typed = await cli.ask(`${error.message}. Enter to edit it again, q to leave everything as it is: `);
        if (/^\s*q/i.test(typed)) throw new Fault("invalid", "the text was given up; nothing was changed");
      }
    }
  } finally {
    process.removeListener("exit", remove);
    await rm(directory, { recursive: true, force: true });
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
