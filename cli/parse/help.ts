// Help texts, made from the command table.
import { type Command, type Flag, GLOBAL_FLAGS } from "./command.ts";
import { usage } from "./parse.ts";
import { exampleOf, REST, TOPICS, topicOf } from "./topics.ts";

const LAST = [
  "`flynn help TOPIC` shows an example of each command of a topic: flynn help env. `flynn -v` is the version.",
  "Words of heroku, fly and the first flynn work, or are answered with ours.",
  "Every read takes --json, alone on stdout; an error is then one JSON object on stderr.",
  "Exit codes: 0 ok, 1 failed (status: a part is down; doctor: something was found), 2 usage, 3 not found,",
  "4 not allowed, 5 conflict, 6 timed out, 130 interrupted; of run and exec their command's own.",
];

/** `group`: what `words` begins, itself among it when it is a command. */
export function helpText(words: string, group: readonly Command[]): string {
  const own = group.find((command) => command.words === words);
  const below = group.filter((command) => command !== own);
  if (words === "") return everything(group);
  if (own === undefined)
    return [`usage: flynn ${words} <command>`, "", ...rows(below, { examples: true }), "", MORE].join("\n");
  return [commandHelp(own), ...(below.length > 0 ? ["", "And:", ...rows(below, { examples: true })] : [])].join("\n");
}

const MORE = "`flynn help COMMAND` says more.";

function everything(commands: readonly Command[]): string {
  const sections = [...TOPICS.map(({ title }) => title), REST].flatMap((title) => {
    const members = commands.filter(({ words }) => topicOf(words) === title);
    return members.length === 0
      ? []
      : [`${title}:`, ...rows(members, { examples: false, width: widthOf(commands) }), ""];
  });
  return ["usage: flynn [-a app] [-c cluster] <command>", "", ...sections, ...LAST].join("\n");
}

const widthOf = (commands: readonly Command[]): number => Math.max(...commands.map(({ words }) => words.length)) + 2;

function rows(
  commands: readonly Command[],
  { examples, width = widthOf(commands) }: { examples: boolean; width?: number },
): string[] {
  return [...commands]
    .sort((a, b) => (a.words < b.words ? -1 : 1))
    .flatMap((command) => {
      const example = examples ? exampleOf(command) : undefined;
      const row = `  ${command.words.padEnd(width)}${command.summary}`;
      return example === undefined ? [row] : [row, `  ${"".padEnd(width)}  ${example}`];
    });
}

function commandHelp(command: Command): string {
  const left = (flag: Flag) =>
    `${flag.short ? `-${flag.short}, ` : "    "}--${flag.name}${flag.value ? ` ${flag.value}` : ""}`;
  const own = command.flags ?? [];
  const width = Math.max(...[...own, ...GLOBAL_FLAGS].map((flag) => left(flag).length)) + 2;
  const flagRows = (flags: readonly Flag[]) => flags.map((flag) => `  ${left(flag).padEnd(width)}${flag.help}`);
  const example = exampleOf(command);
  return [
    `usage: flynn ${usage(command)}`,
    "",
    command.summary,
    ...(command.more ? ["", command.more] : []),
    ...(example !== undefined && !command.more?.includes(example) ? ["", `  ${example}`] : []),
    "",
    ...(own.length > 0 ? [...flagRows(own), ""] : []),
    ...flagRows(GLOBAL_FLAGS),
  ].join("\n");
}
