// What came of the mutants, as people read it.
import { type Mutant, mutated } from "./operators.ts";

export type Fate = "caught" | "timed out" | "survived" | "equivalent";

export interface Outcome {
  mutant: Mutant;
  fate: Fate;
  /** The test file that caught it; for a survivor those that did not. */
  tests: readonly string[];
  /** Why an equivalent one is one. */
  reason?: string;
}

/** The lines that a mutant changes, as they were and as they become; at most four of each. */
export function diff(source: string, mutant: Mutant): { before: string[]; after: string[] } {
  const [from, to] = [source.split("\n"), mutated(source, mutant).split("\n")];
  let head = 0;
  while (from[head] === to[head] && head < from.length) head++;
  let tail = 0;
  while (from.at(-1 - tail) === to.at(-1 - tail) && tail < Math.min(from.length, to.length) - head) tail++;
  const cut = (lines: string[]) => lines.slice(head, lines.length - tail).map((line) => line.trim());
  return { before: cut(from).slice(0, 4), after: cut(to).slice(0, 4) };
}

const folderOf = (path: string): string => path.split("/").slice(0, -1).join("/");

/** A row per folder. Mutants that change nothing are in none of the sums. */
export function table(outcomes: readonly Outcome[]): string {
  const counted = outcomes.filter(({ fate }) => fate !== "equivalent");
  const folders = [...new Set(counted.map(({ mutant }) => folderOf(mutant.path)))].sort();
  const count = (rows: readonly Outcome[], fate: Fate) => rows.filter((row) => row.fate === fate).length;
  const rows = [...folders, "all"].map((folder) => {
    const here = folder === "all" ? counted : counted.filter(({ mutant }) => folderOf(mutant.path) === folder);
    return [folder, here.length, ...(["caught", "timed out", "survived"] as const).map((fate) => count(here, fate))];
  });
  const lines = [["folder", "mutants", "caught", "timed out", "survived"], ...rows].map((row) => row.map(String));
  const widths = lines[0]!.map((_, at) => Math.max(...lines.map((row) => row[at]!.length)));
  return lines
    .map((row) => row.map((cell, at) => (at === 0 ? cell.padEnd(widths[at]!) : cell.padStart(widths[at]!))).join("  "))
    .join("\n");
}

export function described({ mutant, tests }: Outcome, source: string): string {
  const { before, after } = diff(source, mutant);
  return [
    `${mutant.path}:${mutant.line}  ${mutant.operator}`,
    ...before.map((line) => `  - ${line}`),
    ...after.map((line) => `  + ${line}`),
    `  tried: ${tests.join(" ") || "no test loads it"}`,
  ].join("\n");
}

/** One that does not end is caught: its test file fails, late. */
export function totals(outcomes: readonly Outcome[]): { caught: number; survived: number } {
  const caught = outcomes.filter(({ fate }) => fate === "caught" || fate === "timed out").length;
  return { caught, survived: outcomes.filter(({ fate }) => fate === "survived").length };
}
