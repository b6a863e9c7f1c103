// Which app a command is about: --app, else FLYNN_APP, else the git remote `flynn` of the working directory.
import { Fault } from "#api/fault.ts";
import { appOfUrl, remoteOf } from "../git/git.ts";
import type { Invocation } from "../parse/command.ts";

export async function findAppName({ text, cli }: Invocation): Promise<string | undefined> {
  const given = text("app") ?? (cli.env["FLYNN_APP"] || undefined);
  if (given !== undefined) return given;
  const url = await remoteOf(cli.cwd, cli.env);
  return url === undefined ? undefined : appOfUrl(url);
}

export async function appName(call: Invocation): Promise<string> {
  const name = await findAppName(call);
  if (name === undefined)
    throw new Fault(
      "invalid",
      "which app? Say -a APP, set FLYNN_APP, or go to a directory with a git remote `flynn` (`flynn apps` lists them)",
    );
  return name;
}
