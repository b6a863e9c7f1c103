// test/soak.json: when each soak was last seen to hold, of which commit, with which figures. A rule, and its file.
import { join } from "node:path";
import { ExecError, exec } from "#lib/exec.ts";
import { readJson, writeFileAtomic } from "#lib/files.ts";
import { ROOT } from "./run-tests.ts";
import type { Figures } from "./soaks.ts";

export interface Row {
  /** ISO 8601. */
  date: string;
  commit: string;
  minutes: number;
  figures: Figures;
}
export type Rows = Record<string, Row>;

const FILE = join(ROOT, "test/soak.json");

export const readRows = async (): Promise<Rows> => (await readJson<Rows>(FILE)) ?? {};

export async function writeRow(name: string, row: Row): Promise<void> {
  const rows = { ...(await readRows()), [name]: row };
  const sorted = Object.fromEntries(Object.entries(rows).sort(([a], [b]) => (a < b ? -1 : 1)));
  await writeFileAtomic(FILE, `${JSON.stringify(sorted, null, 2)}\n`);
}

/** One line for each soak whose row is missing or older than what it covers. `changes`: commits to its folders since its row. */
export function staleLines(
  soaks: Readonly<Record<string, { what: string }>>,
  rows: Rows,
  changes: Readonly<Record<string, number | undefined>>,
): string[] {
  return Object.entries(soaks).flatMap(([name, { what }]) => {
    const row = rows[name];
    const count = changes[name];
    if (row === undefined) return [`soak ${name} was never run here (${what}): npm run test:soak -- ${name}`];
    if (count === 0) return [];
    const since = count === undefined ? "its commit is not known here" : `${count} changes since`;
    return [`soak ${name} is of ${row.date.slice(0, 10)}, ${since}: npm run test:soak -- ${name}`];
  });
}

/** Commits to the paths after the row's; undefined when that commit is not in this clone. */
export async function changesSince(commit: string, paths: readonly string[]): Promise<number | undefined> {
  try {
    const { stdout } = await exec(["git", "-C", ROOT, "rev-list", "--count", `${commit}..HEAD`, "--", ...paths]);
    return Number(stdout.trim());
  } catch (error) {
    if (error instanceof ExecError) return undefined;
    throw error;
  }
}
