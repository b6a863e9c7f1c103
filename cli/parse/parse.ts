// From argv to a command and its arguments. sade matches the words; flags are scanned by our own table (scan.ts), since mri
// makes numbers of text, takes --no-x for "x is false" and lets switches eat the next word. Groups and suggestions are ours too.
import sade from "sade";
import { Fault } from "#api/fault.ts";
import { type Command, type Flag, GLOBAL_FLAGS } from "./command.ts";
import { scan } from "./scan.ts";
import { suggestion } from "./suggest.ts";
import { translated } from "./translate.ts";

export type Parsed =
  | { type: "run"; command: Command; args: string[]; tail: string[]; flags: ReadonlyMap<string, readonly string[]> }
  /** `asked` is false when the words are only the beginning of commands: that is wrong usage. */
  | { type: "help"; words: string; commands: readonly Command[]; asked: boolean };

export function parse(argv: readonly string[], commands: readonly Command[]): Parsed {
  const first = scan(argv, GLOBAL_FLAGS, { unknown: "skip" });
  if (first.positionals.length === 0 && argv.some((word) => word === "--version" || word === "-v"))
    return parse(["version", ...(first.flags.has("json") ? ["--json"] : [])], commands);
  const asksFirst = first.positionals[0] === "help";
  const words = spread(asksFirst ? first.positionals.slice(1) : first.positionals, commands);
  const command = match(words, commands);
  const own = command?.words.split(" ").length ?? 0;
  const ours = translated(asksFirst ? withoutHelp(argv) : argv, {
    own,
    commands,
    helps: asksFirst || first.flags.has("help"),
  });
  if (ours !== undefined) return parse(asksFirst ? ["help", ...ours] : ours, commands);
  // What stands behind a command's own words is that command's: `flynn run ls --help` asks ls.
  const given = command?.tailBare ? scan(argv, flagsOf(command), { unknown: "skip", ...tailOf(command) }) : first;
  const wantsHelp = asksFirst || given.flags.has("help");
  if (wantsHelp || command === undefined) return help(words, command, wantsHelp, commands);
  return run(command, argv, commands);
}

/** Without the first word `help`, which stands before the words it is about. */
function withoutHelp(argv: readonly string[]): string[] {
  const at = argv.indexOf("help");
  return argv.filter((_, n) => n !== at);
}

export function usage({ words, args = [], flags = [], tail, tailBare }: Command): string {
  const shown = args.map(({ name, required, rest }) => `${required ? `<${name}>` : `[${name}]`}${rest ? "..." : ""}`);
  const options = flags.map(
    ({ name, short, value, repeat }) =>
      `[${short ? `-${short}` : `--${name}`}${value ? ` ${value}` : ""}]${repeat ? "..." : ""}`,
  );
  return [words, ...options, ...shown, ...(tail ? [tailBare ? `[${tail}]` : `[-- ${tail}]`] : [])].join(" ");
}

const tailOf = ({ words, args = [], tailBare }: Command): { tailAfter?: number } =>
  tailBare ? { tailAfter: words.split(" ").length + args.length } : {};

export function flagsOf(command: Command): Flag[] {
  return [...GLOBAL_FLAGS, ...(command.flags ?? [])];
}

function run(command: Command, argv: readonly string[], commands: readonly Command[]): Parsed {
  const { words, args: wanted = [] } = command;
  const { positionals, flags, tail } = scan(argv, flagsOf(command), {
    unknown: "refuse",
    words,
    ...(command.tail === undefined ? {} : { tail: command.tail }),
    ...tailOf(command),
  });
  const own = words.split(" ");
  const given = spread(positionals, [command]);
  if (own.some((word, n) => given[n] !== word))
    throw new Fault("invalid", `put the flags of ${words} after its words: flynn ${usage(command)}`);
  const args = given.slice(own.length);
  const missing = wanted.filter(({ required }) => required)[args.length];
  if (missing !== undefined) throw new Fault("invalid", `${words} needs ${missing.name}: flynn ${usage(command)}`);
  const extra = args.slice(wanted.length);
  if (extra.length > 0 && !wanted.at(-1)?.rest) {
    const meant =
      wanted.length === 0
        ? suggestion(
            [...own, ...extra],
            commands.filter(({ words: name }) => name !== words),
          )
        : "";
    throw new Fault(
      "invalid",
      `${words} takes ${wanted.length === 0 ? "no arguments" : `at most ${wanted.length}`}, not ${extra.join(" ")}${meant}: flynn ${usage(command)}`,
    );
  }
  if (tail.length > 0 && command.tail === undefined)
    throw new Fault("invalid", `${words} takes nothing after --: flynn ${usage(command)}`);
  return { type: "run", command, args, tail, flags };
}

function help(
  words: readonly string[],
  command: Command | undefined,
  asked: boolean,
  commands: readonly Command[],
): Parsed {
  const text = command?.words ?? words.join(" ");
  const group = commands.filter(
    ({ words: name, hidden }) => name === text || (!hidden && (text === "" || name.startsWith(`${text} `))),
  );
  if (group.length > 0) return { type: "help", words: text, commands: group, asked: asked || text === "" };
  throw new Fault("invalid", `${text} is not a command${suggestion(words, commands)}; see \`flynn help\``);
}

/** The command with the most words that begin `words`, by sade. */
function match(words: readonly string[], commands: readonly Command[]): Command | undefined {
  // sade ends the process on words it does not know: it is asked only about first words there are.
  const known = commands.some((command) => command.words.split(" ")[0] === words[0]);
  if (!known) return undefined;
  const program = sade("flynn").command(NONE, "", { default: true });
  for (const command of commands) program.command(command.words);
  const end = words.findIndex((word) => !/^[a-z][a-z-]*$/.test(word));
  const matched = program.parse(["node", "flynn", ...words.slice(0, end < 0 ? undefined : end)], { lazy: true });
  return commands.find((command) => command.words === matched?.name);
}
const NONE = "(none)";

/** `route:add:http` is `route add http`, when there are commands that begin so. */
function spread(words: readonly string[], commands: readonly Command[]): string[] {
  const [first = "", ...rest] = words;
  const parts = first.split(":");
  const text = parts.join(" ");
  const begins = commands.some(({ words: name }) => name === text || name.startsWith(`${text} `));
  return parts.length > 1 && begins ? [...parts, ...rest] : [...words];
}
