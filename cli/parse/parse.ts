// From argv to a command and its arguments. sade matches the words; flags are scanned by our own table (scan.ts), since mri
// makes numbers of text, takes --no-x for "x is false" and lets switches eat the next word. Groups and suggestions are ours too.
import sade from "sade";
import { Fault } from "#api/fault.ts";
import { type Command, type Flag, GLOBAL_FLAGS } from "./command.ts";
import { scan } from "./scan.ts";

export type Parsed =
  | { type: "run"; command: Command; args: string[]; tail: string[]; flags: ReadonlyMap<string, readonly string[]> }
  /** `asked` is false when the words are only the beginning of commands: that is wrong usage. */
  | { type: "help"; words: string; commands: readonly Command[]; asked: boolean };

export function parse(argv: readonly string[], commands: readonly Command[]): Parsed {
  const first = scan(argv, GLOBAL_FLAGS, { unknown: "skip" });
  if (first.positionals.length === 0 && argv.includes("--version")) return parse(["version"], commands);
  const asksFirst = first.positionals[0] === "help";
  const words = spread(asksFirst ? first.positionals.slice(1) : first.positionals, commands);
  const command = match(words, commands);
  // What stands behind a command's own words is that command's: `flynn run ls --help` asks ls.
  const own = command?.tailBare ? scan(argv, flagsOf(command), { unknown: "skip", ...tailOf(command) }) : first;
  const wantsHelp = asksFirst || own.flags.has("help");
  if (wantsHelp || command === undefined) return help(words, command, wantsHelp, commands);
  return run(command, argv);
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

function run(command: Command, argv: readonly string[]): Parsed {
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
  if (extra.length > 0 && !wanted.at(-1)?.rest)
    throw new Fault(
      "invalid",
      `${words} takes ${wanted.length === 0 ? "no arguments" : `at most ${wanted.length}`}, not ${extra.join(" ")}: flynn ${usage(command)}`,
    );
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
  if (command !== undefined) return { type: "help", words: command.words, commands: [command], asked };
  const text = words.join(" ");
  const group = commands.filter(
    ({ words: name, hidden }) => !hidden && (text === "" || name.startsWith(`${text} `) || name === text),
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

/** Words of other platforms, and what they are called here. */
const ELSEWHERE: Readonly<Record<string, string>> = Object.assign(Object.create(null) as object, {
  backup: "`cluster backup FILE`, on the appliance",
  backups: "`cluster backup FILE`, on the appliance",
  certs: "`cert list`, `cert add`",
  config: "`env`",
  "config get": "`env get`",
  "config set": "`env set`",
  "config unset": "`env unset`",
  domains: "`route list`, `route add http DOMAIN`",
  drains: "`log-drain list`, `log-drain add`",
  logs: "`log`",
  "logs drain": "`log-drain add`",
  push: "`git push flynn main`, or `deploy .` without git",
  pull: "`git clone`, or `git pull flynn main`",
  "ps exec": "`exec JOB COMMAND`",
  "ps restart": "`restart`",
  "ps scale": "`scale`",
  "ps stop": "`kill`",
  restore: "`cluster restore FILE`, on the appliance",
  token: "`cluster token`, on the appliance; of hosts: `host token`",
});

function suggestion(words: readonly string[], commands: readonly Command[]): string {
  const given = words.flatMap((word) => word.split(":"));
  const known = ELSEWHERE[given.slice(0, 2).join(" ")] ?? ELSEWHERE[given[0] ?? ""];
  if (known !== undefined) return `; here that is ${known}`;
  const [close] = commands
    .filter(({ hidden }) => !hidden)
    .map((command) => {
      const asked = given.slice(0, command.words.split(" ").length).join(" ");
      return { words: command.words, far: distance(asked, command.words), asked };
    })
    .sort((a, b) => a.far - b.far || b.asked.length - a.asked.length);
  return close && close.far <= Math.max(1, Math.min(3, close.asked.length / 3))
    ? `; did you mean \`${close.words}\`?`
    : "";
}

/** Edits (insert, remove, replace, swap two neighbours) between two words: optimal string alignment. */
function distance(a: string, b: string): number {
  if (Math.abs(a.length - b.length) > 3) return 4;
  let before: number[] = [];
  let row = Array.from({ length: b.length + 1 }, (_, n) => n);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next[j] = Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1));
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        next[j] = Math.min(next[j]!, before[j - 2]! + 1);
    }
    before = row;
    row = next;
  }
  return row[b.length]!;
}
