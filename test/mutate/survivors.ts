// What the last run's tests let through, kept beside the tests and outside git, so that new tests are tried on just that. A mutant is known
// by its lines before and after, since lines move.
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Mutant } from "./operators.ts";
import { diff, type Outcome } from "./report.ts";

export interface Change {
  path: string;
  /** Changed lines, without their indentation. */
  before: string;
  after: string;
}

const FILE = "test/.cache/survivors.json";

export function changeOf(mutant: Mutant, source: string): Change {
  const { before, after } = diff(source, mutant);
  return { path: mutant.path, before: before.join("\n"), after: after.join("\n") };
}

export const isSame = (a: Change, b: Change): boolean =>
  a.path === b.path && a.before === b.before && a.after === b.after;

export function isAmong(known: readonly Change[], mutant: Mutant, sources: ReadonlyMap<string, string>): boolean {
  if (!known.some(({ path }) => path === mutant.path)) return false;
  const change = changeOf(mutant, sources.get(mutant.path)!);
  return known.some((each) => isSame(each, change));
}

export async function loadSurvivors(root: string): Promise<Change[]> {
  return JSON.parse(await readFile(join(root, FILE), "utf8").catch(() => "[]")) as Change[];
}

export async function saveSurvivors(
  root: string,
  survivors: readonly Outcome[],
  sources: ReadonlyMap<string, string>,
): Promise<void> {
  const changes = survivors.map(({ mutant }) => changeOf(mutant, sources.get(mutant.path)!));
  await mkdir(dirname(join(root, FILE)), { recursive: true });
  await writeFile(join(root, FILE), `${JSON.stringify(changes, undefined, 1)}\n`);
}
