// How long each file took last, kept beside the tests and outside git, so that the longest begins first; and where the minutes went.
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { FileResult, TestFile } from "./runner.ts";

/** Milliseconds by path. */
export type Durations = Readonly<Record<string, number>>;

const FILE = "test/.cache/durations.json";

export async function loadDurations(root: string): Promise<Durations> {
  const text = await readFile(join(root, FILE), "utf8").catch(() => "{}");
  try {
    const parsed: unknown = JSON.parse(text);
    return typeof parsed === "object" && parsed !== null ? (parsed as Durations) : {};
  } catch {
    return {}; // half written: as good as none
  }
}

/** Keeps what was measured now, and of the others what was known. A file that failed may have ended early or late: not kept. */
export async function saveDurations(root: string, before: Durations, results: readonly FileResult[]): Promise<void> {
  const passed = results.filter(({ failed }) => failed === 0);
  const measured = Object.fromEntries(passed.map(({ path, tookMs }) => [path, Math.round(tookMs)]));
  await mkdir(dirname(join(root, FILE)), { recursive: true });
  await writeFile(join(root, FILE), `${JSON.stringify({ ...before, ...measured }, undefined, 1)}\n`);
}

/**
 * The longest first, so that no lane is left with a long file when the others are done. What was never measured goes by its time
 * limit (a file that declares one is long), then by its size.
 */
export function longestFirst(files: readonly TestFile[], durations: Durations): TestFile[] {
  const isKnown = ({ path }: TestFile) => durations[path] !== undefined;
  const known = files.filter(isKnown).sort((a, b) => durations[b.path]! - durations[a.path]!);
  const unknown = files.filter((file) => !isKnown(file));
  unknown.sort((a, b) => b.limitMs - a.limitMs || b.sizeBytes - a.sizeBytes);
  return [...unknown, ...known];
}

export interface Spent {
  results: readonly FileResult[];
  /** Wall time of all units together, and of all labs together, each set side by side in its lanes. */
  unitsMs: number;
  labsMs: number;
  unitLanes: number;
  labLanes: number;
}

/** A line per part: units together, labs together and each of them, all by the clock on the wall. Pure. */
export function minutesPerPart({ results, unitsMs, labsMs, unitLanes, labLanes }: Spent): string {
  const isLab = ({ path }: FileResult) => /^test\/(lab|e2e)\//.test(path);
  const units = results.filter((result) => !isLab(result));
  const labs = results.filter(isLab).sort((a, b) => b.tookMs - a.tookMs);
  const rows: [string, number, number][] = [];
  if (units.length > 0) rows.push([`units, ${unitLanes} side by side`, units.length, unitsMs]);
  if (labs.length > 0) rows.push([`labs, ${labLanes} side by side`, labs.length, labsMs]);
  for (const { path, tookMs } of labs) rows.push([`  ${path}`, 1, tookMs]);
  rows.push(["all", results.length, unitsMs + labsMs]);
  const width = Math.max(...rows.map(([part]) => part.length));
  const line = (part: string, files: string, minutes: string) =>
    `${part.padEnd(width)}  ${files.padStart(5)}  ${minutes.padStart(7)}`;
  return [
    line("part", "files", "minutes"),
    ...rows.map(([part, files, ms]) => line(part, String(files), (ms / 60_000).toFixed(1))),
  ].join("\n");
}
