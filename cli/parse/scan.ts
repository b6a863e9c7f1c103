// argv -> positionals and flag values, by the table of flags. Text stays text (007 is not 7), a flag that takes a value takes
// the next word even when it is -1, switches never eat a word, `--` ends it.
import { Fault } from "#api/fault.ts";
import type { Flag } from "./command.ts";

export interface Scanned {
  positionals: string[];
  /** By the flag's long name; each value given, in order. Switches have none. */
  flags: Map<string, string[]>;
  tail: string[];
}

/**
 * `tailAfter`: the word after so many begins the tail, and all that follows stands as it is. With `unknown: "skip"` a flag that is not in the table is passed over; else it is a Fault `invalid`.
 */
export function scan(
  argv: readonly string[],
  flags: readonly Flag[],
  options: ({ unknown: "skip" } | { unknown: "refuse"; words: string; tail?: string }) & { tailAfter?: number },
): Scanned {
  const found: Scanned = { positionals: [], flags: new Map(), tail: [] };
  const refuse = (name: string) => {
    if (options.unknown === "refuse")
      throw new Fault(
        "invalid",
        `${options.words} has no flag ${name}; ${options.tail ? `a command's own flags go after --: ${options.words} ... -- ${options.tail}; ` : ""}see \`flynn help ${options.words}\``,
      );
  };
  const add = (flag: Flag, value?: string) => {
    const values = found.flags.get(flag.name) ?? [];
    found.flags.set(flag.name, values);
    if (value === undefined) return;
    if (value === "") throw needsValue(flag);
    if (values.length > 0 && !flag.repeat) throw new Fault("invalid", `--${flag.name} was given more than once`);
    values.push(value);
  };
  /** The word after a flag, unless that is itself a flag of this command. */
  const following = (flag: Flag, n: number): string => {
    const next = argv[n + 1];
    if (next === undefined || next === "--" || flags.some((other) => isFlag(other, next))) throw needsValue(flag);
    return next;
  };

  for (let n = 0; n < argv.length; n++) {
    const word = argv[n]!;
    if (word === "--") {
      found.tail = argv.slice(n + 1);
      break;
    }
    if (!word.startsWith("-") || word === "-") {
      if (found.positionals.length === options.tailAfter) {
        found.tail = argv.slice(n);
        break;
      }
      found.positionals.push(word);
    } else if (word.startsWith("--")) {
      const equals = word.indexOf("=");
      const name = equals < 0 ? word.slice(2) : word.slice(2, equals);
      const flag = flags.find((candidate) => candidate.name === name);
      if (flag === undefined) refuse(`--${name}`);
      else if (flag.value === undefined && equals >= 0) throw new Fault("invalid", `--${name} takes no value`);
      else if (flag.value === undefined) add(flag);
      else if (equals >= 0) add(flag, word.slice(equals + 1));
      else add(flag, following(flag, n++));
    } else {
      // Short ones: -f, -n 5, -n5, -n=5, -fn 5.
      for (let at = 1; at < word.length; at++) {
        const flag = flags.find(({ short }) => short === word[at]);
        if (flag === undefined) {
          refuse(`-${word.slice(at)}`);
          break;
        }
        if (flag.value === undefined) {
          add(flag);
          continue;
        }
        const attached = word.slice(at + 1).replace(/^=/, "");
        add(flag, attached === "" ? following(flag, n++) : attached);
        break;
      }
    }
  }
  return found;
}

const isFlag = ({ name, short }: Flag, word: string): boolean =>
  word === `--${name}` || word.startsWith(`--${name}=`) || (short !== undefined && word === `-${short}`);

const needsValue = ({ name, value }: Flag): Fault =>
  new Fault("invalid", `--${name} needs a value: --${name} ${value ?? ""}`.trimEnd());
