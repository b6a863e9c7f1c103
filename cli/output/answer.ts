// A command's answer: as JSON alone on stdout when asked for, else as text for people.

import { formatDuration } from "#lib/units.ts";
import type { Cli } from "../parse/command.ts";
import { printTable } from "./table.ts";

export function answer(cli: Cli, value: unknown, show: () => void): void {
  if (cli.json) cli.print(JSON.stringify(value, null, 2));
  else show();
}

/** A list: a JSON array, or a table; `none` is said on stderr when it is empty. */
export function answerList<T>(
  cli: Cli,
  items: readonly T[],
  { titles, row, none }: { titles: readonly string[]; row: (item: T) => (string | undefined)[]; none: string },
): void {
  answer(cli, items, () => {
    if (items.length === 0) cli.say(none);
    else
      printTable(
        cli,
        titles,
        items.map((item) => row(item).map((cell) => cell ?? "")),
      );
  });
}

/** `12s`, `4m05s`: time since an ISO moment; empty when there is none. */
export function age(at: string | undefined, nowMs = Date.now()): string {
  if (at === undefined) return "";
  const ms = Math.max(0, nowMs - Date.parse(at));
  return ms < 1_000 ? "0s" : formatDuration(ms).replace(/\.\d+s$/, "s");
}
