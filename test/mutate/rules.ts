// Which sources are rules: files that decide and do nothing. By what they import and say, so that a new file is counted as well.
import { dirname, join, normalize } from "node:path";

const FOLDERS = /^(control|hostd|bootstrap)\//;
/** Decide a good deal, though they also read or write something. */
const ALSO = [
  "control/surplus.ts",
  "bootstrap/identity/tokens.ts",
  "control/scheduler/scheduler.ts",
  "hostd/health.ts",
];

const ACTS =
  /^node:(child_process|fs|fs\/promises|net|tls|dgram|http|https|http2|timers|timers\/promises|readline|worker_threads)$/;
const OURS_ACTS =
  /^#(lib\/(exec|files|run|ip-routes|line-store|log|port-holder)|api\/(client|join|control-stream))\.ts$/;

export const isChosenRule = (path: string, source: string): boolean =>
  FOLDERS.test(path) && (ALSO.includes(path) || isRule(source));

/** Whether the source holds rules only: nothing in it waits, and nothing that it imports for more than a type acts. */
export function isRule(source: string): boolean {
  if (/\bawait\b|\basync\b|(?<![.\w])process\./.test(source)) return false;
  return importsOf(source).every(
    ({ specifier, isType }) => isType || !(ACTS.test(specifier) || OURS_ACTS.test(specifier)),
  );
}

export interface Import {
  specifier: string;
  isType: boolean;
}

export function importsOf(source: string): Import[] {
  const found: Import[] = [];
  for (const [, kind, specifier] of source.matchAll(/^(?:import|export)\s+(type\s)?[^;]*?from\s+"([^"]+)";/gm))
    found.push({ specifier: specifier!, isType: kind !== undefined });
  for (const [, specifier] of source.matchAll(/^import "([^"]+)";/gm))
    found.push({ specifier: specifier!, isType: false });
  for (const [, specifier] of source.matchAll(/import\("([^"]+)"\)/g))
    found.push({ specifier: specifier!, isType: false });
  // A program that a test starts as a process of its own.
  for (const [, specifier] of source.matchAll(/new URL\("(\.[^"]+\.ts)", import\.meta\.url\)/g))
    found.push({ specifier: specifier!, isType: false });
  return found;
}

/** The path that a source of ours means, relative to the root; undefined for a package. */
export function resolved(from: string, specifier: string): string | undefined {
  if (specifier.startsWith("#")) return specifier.slice(1);
  return specifier.startsWith(".") ? normalize(join(dirname(from), specifier)) : undefined;
}
