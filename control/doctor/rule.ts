// What a rule of the boot doctor is: from how a boot stands to one sentence, what it follows from, and what to do. Pure. To add one: a
// value in the file of its stage (rules/), and a recorded sequence of events in test/control/doctor/sequences.ts.
import type { BootCode } from "#api/boot-codes.ts";
import type { Stage, TimelineEvent } from "#api/machines.ts";
import { type Boot, codeOf } from "./boot.ts";

export interface Found {
  /** Goes on the machine's name: "it fetched the kernel and not the initrd". */
  what: string;
  /** A command or an act. */
  todo: string;
  /** The events that it follows from. */
  seen: readonly TimelineEvent[];
}

export interface Rule {
  id: string;
  /** told: somebody recorded it. seen: several events say it together. silence: nothing came any more. In this order they count. */
  kind: "told" | "seen" | "silence";
  /** Which events it follows from, for people who read or change the rules. */
  follows: string;
  find(boot: Boot): Found | undefined;
}

type Words = Omit<Found, "seen">;
type WordsOf<T extends unknown[]> = Words | ((...of: T) => Words);
const wordsOf = <T extends unknown[]>(words: WordsOf<T>, ...of: T): Words =>
  typeof words === "function" ? words(...of) : words;

/** Somebody recorded what went wrong: the newest trouble that was not got over has this code. */
export function told(
  code: BootCode,
  words: WordsOf<[TimelineEvent, Boot]>,
  { stage, id = code }: { stage?: Stage; id?: string } = {},
): Rule {
  return {
    id,
    kind: "told",
    follows: `${stage ?? "an event"} with code ${code}, and no step beyond it since`,
    find(boot) {
      const { trouble } = boot;
      if (trouble === undefined || codeOf(trouble) !== code) return undefined;
      if (stage !== undefined && trouble.stage !== stage) return undefined;
      return { ...wordsOf(words, trouble, boot), seen: [trouble] };
    },
  };
}

/** Nothing went wrong that anybody saw: the step came, its successor did not, and nothing was heard for longer than is ordinary. */
export function silence(
  id: string,
  of: {
    stage: Stage;
    patienceMs: number;
    follows: string;
    /** Which of several silences after this step it is; the events that show it. */
    when?: (boot: Boot, last: TimelineEvent) => readonly TimelineEvent[] | undefined;
    words: WordsOf<[TimelineEvent, Boot]>;
  },
): Rule {
  return {
    id,
    kind: "silence",
    follows: `${of.follows}, then nothing for ${of.patienceMs / 1000} s`,
    find(boot) {
      const { last, silentMs } = boot;
      if (last?.stage !== of.stage || silentMs <= of.patienceMs) return undefined;
      const seen = of.when === undefined ? [last] : of.when(boot, last);
      return seen === undefined ? undefined : { ...wordsOf(of.words, last, boot), seen };
    },
  };
}

/** A detail of an event, or what stands for it. */
export const part = ({ detail }: TimelineEvent, name: string, otherwise = "?"): string =>
  String(detail?.[name] ?? otherwise);
