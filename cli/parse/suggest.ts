// What somebody who typed a word that is no command may have meant. Pure.
import type { Command } from "./command.ts";

export function suggestion(words: readonly string[], commands: readonly Command[]): string {
  const given = words.flatMap((word) => word.split(":"));
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
