// From argv to a command and its arguments. sade matches the words; what it lacks is added here: groups, `topic:verb`, all
// arguments that are left, unknown flags as errors, and text that stays text (mri would make 007 a number).
import sade from "sade";
import { Fault } from "#api/fault.ts";
import { type Command, type Flag, GLOBAL_FLAGS } from "./command.ts";

export type Parsed =
  | { type: "run"; command: Command; args: string[]; tail: string[]; flags: Record<string, unknown> }
  | { type: "help"; words: string; commands: readonly Command[] };

export function parse(argv: readonly string[], commands: readonly Command[]): Parsed {
  const end = argv.indexOf("--");
  const head = (end < 0 ? argv : argv.slice(0, end)).map(String);
  const tail = end < 0 ? [] : argv.slice(end + 1);
  const words = spread(head, commands);
  const command = longest(words, commands);
  const wantsHelp = head.includes("--help") || head.includes("-h") || words[0] === "help";
  if (command === undefined || wantsHelp) {
    const asked = (words[0] === "help" ? words.slice(1) : words).join(" ");
    const exact = commands.filter(({ words: name }) => name === asked);
    const group =
      exact.length > 0
        ? exact
        : commands.filter(({ words: name, hidden }) => !hidden && (asked === "" || name.startsWith(`${asked} `)));
    if (wantsHelp && command) return { type: "help", words: command.words, commands: [command] };
    if (group.length > 0 && (wantsHelp || asked === "" || exact.length === 0))
      return { type: "help", words: asked, commands: group };
    throw new Fault("invalid", `${asked || "that"} is not a command${suggestion(asked, commands)}; see \`flynn help\``);
  }
  return run(command, head, tail);
}

function run(command: Command, head: string[], tail: string[]): Parsed {
  const flags = [...GLOBAL_FLAGS, ...(command.flags ?? [])];
  const program = sade("flynn").version("0");
  program.command(command.words.replaceAll(" ", "-"));
  for (const flag of flags) program.option(`${flag.short ? `-${flag.short}, ` : ""}--${flag.name}`, flag.help);
  let matched: { args: string[]; flags: Record<string, unknown> } | undefined;
  program.action((options: Record<string, unknown> & { _: string[] }) => {
    const { _: args, ...rest } = options;
    matched = { args, flags: rest };
  });
  const texts = flags
    .filter(({ value }) => value !== undefined)
    .flatMap(({ name, short }) => (short ? [name, short] : [name]));
  const switches = flags
    .filter(({ value }) => value === undefined)
    .flatMap(({ name, short }) => (short ? [name, short] : [name]));
  const negated = flags.filter(({ name }) => name.startsWith("no-")).map(({ name }) => name);
  // mri reads --no-x as x = false: switches of ours that begin with no- are told by hand and not shown to it.
  const dropped = dropWords(head, command.words, flags);
  const given = negated.filter((name) => dropped.includes(`--${name}`));
  const rest = dropped.filter((word) => !given.some((name) => word === `--${name}`));
  program.parse(["node", "flynn", command.words.replaceAll(" ", "-"), ...rest], {
    string: [...texts, "_"],
    boolean: switches,
    unknown: (name: string) => {
      throw new Fault("invalid", `${command.words} has no flag ${name}; see \`flynn help ${command.words}\``);
    },
  });
  if (matched === undefined) throw new Fault("invalid", `see \`flynn help ${command.words}\``);
  const args = matched.args.map(String);
  const wanted = command.args ?? [];
  const missing = wanted.filter(({ required }) => required)[args.length];
  if (missing !== undefined)
    throw new Fault("invalid", `${command.words} needs ${missing.name}: flynn ${usage(command)}`);
  if (args.length > wanted.length && !wanted.at(-1)?.rest)
    throw new Fault(
      "invalid",
      `${command.words} takes ${wanted.length === 0 ? "no arguments" : `${wanted.length} at most`}, not ${args.slice(wanted.length).join(" ")}`,
    );
  for (const flag of flags) {
    const value = matched.flags[flag.name];
    if (flag.value !== undefined && value === "")
      throw new Fault("invalid", `--${flag.name} needs a value: --${flag.name} ${flag.value}`);
    if (Array.isArray(value) && !flag.repeat) throw new Fault("invalid", `--${flag.name} was given more than once`);
  }
  for (const name of given) matched.flags[name] = true;
  return { type: "run", command, args, tail, flags: matched.flags };
}

export function usage({ words, args = [], flags = [] }: Command): string {
  const shown = args.map(({ name, required, rest }) => `${required ? `<${name}>` : `[${name}]`}${rest ? "..." : ""}`);
  const options = flags
    .filter(({ name }) => name !== "help")
    .map(({ name, short, value }) => `[${short ? `-${short}` : `--${name}`}${value ? ` ${value}` : ""}]`);
  return [words, ...options, ...shown].join(" ");
}

/** `route:add:http` is `route add http`, where the first word is a topic. */
function spread(head: readonly string[], commands: readonly Command[]): string[] {
  const plain = positionals(head);
  const [first, ...rest] = plain;
  if (first?.includes(":") && commands.some(({ words }) => words.startsWith(first.split(":")[0]!)))
    return [...first.split(":"), ...rest];
  return plain;
}

/** Words that are not flags or values of the global flags that may stand before the command. */
function positionals(head: readonly string[]): string[] {
  const result: string[] = [];
  for (let n = 0; n < head.length; n++) {
    const word = head[n]!;
    if (!word.startsWith("-") || word === "-") result.push(word);
    else if (
      !word.includes("=") &&
      GLOBAL_FLAGS.some(
        ({ name, short, value }) => value !== undefined && (word === `--${name}` || word === `-${short}`),
      )
    )
      n++;
  }
  return result;
}

function longest(words: readonly string[], commands: readonly Command[]): Command | undefined {
  let best: Command | undefined;
  for (const command of commands) {
    const own = command.words.split(" ");
    if (own.every((word, n) => words[n] === word) && (best === undefined || own.length > best.words.split(" ").length))
      best = command;
  }
  return best;
}

/** argv without the command's own words, flags left in their places. */
function dropWords(head: readonly string[], words: string, flags: readonly Flag[]): string[] {
  const left = words.split(" ");
  const rest: string[] = [];
  for (let n = 0; n < head.length; n++) {
    const word = head[n]!;
    if (word.startsWith("-") && word !== "-") {
      rest.push(word);
      const takes = flags.some(
        ({ name, short, value }) => value !== undefined && (word === `--${name}` || word === `-${short}`),
      );
      if (takes && n + 1 < head.length) rest.push(head[++n]!);
    } else if (left.length > 0 && word.split(":").every((part, at) => left[at] === part))
      left.splice(0, word.split(":").length);
    else rest.push(word);
  }
  return rest;
}

function suggestion(asked: string, commands: readonly Command[]): string {
  const close = commands
    .filter(({ hidden }) => !hidden)
    .map(({ words }) => ({ words, far: distance(asked, words) }))
    .sort((a, b) => a.far - b.far)[0];
  return close && asked && close.far <= Math.max(2, asked.length / 3) ? `; did you mean \`${close.words}\`?` : "";
}

/** Levenshtein. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, n) => n);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++)
      next[j] = Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1));
    row = next;
  }
  return row[b.length]!;
}
