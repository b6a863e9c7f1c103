// A column printer: as wide as it needs in a pipe. On a terminal of known width the middle columns are cut to fit; never the
// first, whose ids are there to be copied, nor the last, whose reasons are there to be read.
import type { Cli } from "../parse/command.ts";
import { paint, plain, stateColour } from "./text.ts";

export interface TableOptions {
  /** Longest line; 0 for no limit. */
  columns?: number;
  /** Colours the cells of columns titled STATE. */
  colour?: boolean;
}

const GAP = "  ";
const LEAST_WIDTH = 8;
const LAST_WIDTH = 20;

/** Lines of the table, its title first. Cells are shown as one line of plain text. */
export function tableLines(
  titles: readonly string[],
  rows: readonly (readonly string[])[],
  { columns = 0, colour = false }: TableOptions = {},
): string[] {
  const cells = [titles, ...rows].map((row) => titles.map((_, n) => plain(row[n] ?? "")));
  const widths = titles.map((_, n) => Math.max(...cells.map((row) => length(row[n]!))));
  shrink(widths, columns);
  return cells.map((row, line) =>
    row
      .map((cell, n) => {
        if (n === titles.length - 1) return cell;
        const shown = cut(cell, widths[n]!);
        const padding = " ".repeat(widths[n]! - length(shown));
        return paint(shown, line > 0 && titles[n] === "STATE" ? stateColour(cell) : undefined, colour) + padding;
      })
      .join(GAP)
      .trimEnd(),
  );
}

export function printTable(cli: Cli, titles: readonly string[], rows: readonly (readonly string[])[]): void {
  const options = { columns: cli.terminal.out ? cli.terminal.columns : 0, colour: cli.colour.out };
  for (const line of tableLines(titles, rows, options)) cli.print(line);
}

/** Names and their values, one pair a line. Empty values are left out. */
export function printFacts(cli: Cli, facts: readonly (readonly [string, string | undefined])[]): void {
  const shown = facts.filter((fact): fact is readonly [string, string] => Boolean(fact[1]));
  const width = Math.max(...shown.map(([name]) => name.length)) + 1;
  for (const [name, value] of shown) cli.print(`${`${name}:`.padEnd(width)}  ${plain(value)}`);
}

function shrink(widths: number[], columns: number): void {
  if (columns <= 0) return;
  // A long reason wraps; it does not squeeze the others out.
  const total = () =>
    widths.reduce((sum, width, n) => sum + (n === widths.length - 1 ? Math.min(width, LAST_WIDTH) : width), 0) +
    GAP.length * (widths.length - 1);
  while (total() > columns) {
    let widest = -1;
    for (let n = 1; n < widths.length - 1; n++) if (widths[n]! > (widths[widest] ?? LEAST_WIDTH)) widest = n;
    if (widest < 0) return;
    widths[widest]!--;
  }
}

const length = (text: string): number => [...text].length;
const cut = (text: string, width: number): string =>
  length(text) <= width ? text : `${[...text].slice(0, Math.max(0, width - 1)).join("")}…`;
