// Help texts, made from the command table.
import { type Command, type Flag, GLOBAL_FLAGS } from "./command.ts";
import { usage } from "./parse.ts";

export function helpText(words: string, commands: readonly Command[]): string {
  const [only] = commands;
  if (commands.length === 1 && only && only.words === words) return commandHelp(only);
  const width = Math.max(...commands.map(({ words: name }) => name.length)) + 2;
  const title = words === "" ? "usage: flynn [-a app] [-c cluster] <command>\n" : `usage: flynn ${words} <command>\n`;
  const rows = [...commands]
    .sort((a, b) => (a.words < b.words ? -1 : 1))
    .map((command) => `  ${command.words.padEnd(width)}${command.summary}`);
  return [
    title,
    ...rows,
    "",
    "`flynn help <command>` says more. Every read takes --json.",
    "Exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 not allowed, 5 conflict, 6 timed out, 130 interrupted.",
  ].join("\n");
}

function commandHelp(command: Command): string {
  const left = (flag: Flag) =>
    `${flag.short ? `-${flag.short}, ` : "    "}--${flag.name}${flag.value ? ` ${flag.value}` : ""}`;
  const own = command.flags ?? [];
  const width = Math.max(...[...own, ...GLOBAL_FLAGS].map((flag) => left(flag).length)) + 2;
  const rows = (flags: readonly Flag[]) => flags.map((flag) => `  ${left(flag).padEnd(width)}${flag.help}`);
  return [
    `usage: flynn ${usage(command)}`,
    "",
    command.summary,
    ...(command.more ? ["", command.more] : []),
    "",
    ...(own.length > 0 ? [...rows(own), ""] : []),
    ...rows(GLOBAL_FLAGS),
  ].join("\n");
}
