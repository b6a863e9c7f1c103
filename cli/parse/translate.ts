// From the words somebody brings to ours. Pure, over the table in habits.ts.
import { Fault } from "#api/fault.ts";
import { type Command, GLOBAL_FLAGS } from "./command.ts";
import { HABITS, type Habit } from "./habits.ts";

/**
 * argv with words of other platforms in ours, when a command does what they say. Where none does, a Fault `invalid` says what there is
 * instead. `own`: so many words of it are a command of ours already, and a longer one goes before it; `helps`: help of it is asked for.
 */
export function translated(
  argv: readonly string[],
  { own, commands, helps }: { own: number; commands: readonly Command[]; helps: boolean },
): string[] | undefined {
  const words = positionsOf(argv);
  const said = words.flatMap(({ word, at }) => word.split(":").map((part) => ({ part, at })));
  const habit = habitOf(
    said.map(({ part }) => part),
    own,
  );
  if (habit === undefined || (habit.alone && helps)) return undefined;
  if (habit.as === undefined) throw instead(habit);
  if (!commands.some(({ words: name }) => habit.as === name || habit.as!.startsWith(`${name} `))) return undefined;
  const count = habit.words.split(" ").length;
  const taken = said.slice(0, count).map(({ at }) => at);
  const last = taken.at(-1)!;
  const left = said.filter(({ at }, n) => n >= count && at === last).map(({ part }) => part);
  const before = argv.slice(0, last).filter((_, at) => !taken.includes(at));
  const after = flagsSpelled(argv.slice(last + 1), habit);
  return [...before, ...habit.as.split(" "), ...left, ...after];
}

/** The longest that begins so, and is longer than `own` words. */
function habitOf(words: readonly string[], own: number): Habit | undefined {
  const text = `${words.join(" ")} `;
  return HABITS.filter(
    (habit) =>
      (habit.alone ? text === `${habit.words} ` : text.startsWith(`${habit.words} `)) &&
      habit.words.split(" ").length > own,
  ).sort((a, b) => b.words.length - a.words.length)[0];
}

const instead = ({ words, instead: what, example }: Habit): Fault =>
  new Fault("invalid", `${words} is not a command here: ${what}: ${example}`);

/** Words that are no flag and no value of a global one, up to `--`. */
function positionsOf(argv: readonly string[]): { word: string; at: number }[] {
  const found: { word: string; at: number }[] = [];
  for (let at = 0; at < argv.length; at++) {
    const word = argv[at]!;
    if (word === "--") break;
    const valued = GLOBAL_FLAGS.some(
      ({ name, short, value }) => value !== undefined && (word === `--${name}` || word === `-${short}`),
    );
    if (valued) at++;
    else if (!word.startsWith("-")) found.push({ word, at });
  }
  return found;
}

function flagsSpelled(words: readonly string[], { flags = {} }: Habit): string[] {
  const end = words.indexOf("--");
  return words.map((word, at) => {
    if (end >= 0 && at >= end) return word;
    const [, name = "", value = ""] = /^(--[a-z-]+)(=.*)?$/s.exec(word) ?? [];
    return Object.hasOwn(flags, name) ? `${flags[name]}${value}` : word;
  });
}
