// Which test files could notice a fault in a source: the nearest first.
import { dirname } from "node:path";
import { importsOf, resolved } from "./rules.ts";

/** How many steps of imports lie between a test and each source that it loads. */
export function distances(test: string, sources: ReadonlyMap<string, string>): Map<string, number> {
  const found = new Map([[test, 0]]);
  for (let [step, edge] = [1, [test]]; edge.length > 0; step++) {
    const next: string[] = [];
    for (const path of edge)
      for (const { specifier, isType } of importsOf(sources.get(path) ?? "")) {
        const to = isType ? undefined : resolved(path, specifier);
        if (to === undefined || found.has(to) || !sources.has(to)) continue;
        found.set(to, step);
        next.push(to);
      }
    edge = next;
  }
  return found;
}

/** For each source, itself and whatever loads it, in however many steps. */
export function leadingTo(sources: ReadonlyMap<string, string>): (path: string) => string[] {
  const importers = new Map<string, string[]>();
  for (const [path, source] of sources)
    for (const { specifier, isType } of importsOf(source)) {
      const to = isType ? undefined : resolved(path, specifier);
      if (to !== undefined) importers.set(to, [...(importers.get(to) ?? []), path]);
    }
  return (path) => {
    const found = new Set([path]);
    for (const each of found) for (const importer of importers.get(each) ?? []) found.add(importer);
    return [...found];
  };
}

export interface CoverOptions {
  sources: ReadonlyMap<string, string>;
  tests: readonly string[];
  /** Milliseconds a test took last, by path. */
  durations: Readonly<Record<string, number>>;
}

/** For each source, the tests that load it: its own, those that import it, those of its folder, then by distance, then the quickest. */
export function coverage({ sources, tests, durations }: CoverOptions): (path: string) => string[] {
  const byTest = new Map(tests.map((test) => [test, distances(test, sources)]));
  return (path) => {
    const own = `test/${path.replace(/\.ts$/, ".test.ts")}`;
    const rank = (test: string): [number, number] => {
      const distance = byTest.get(test)!.get(path)!;
      const isNear = distance === 1 || dirname(test) === dirname(own);
      return [
        test === own ? -2 : isNear ? Math.min(distance, 2) - 2 : distance,
        durations[test] ?? sources.get(test)?.length ?? 0,
      ];
    };
    return tests
      .filter((test) => byTest.get(test)!.has(path))
      .map((test) => ({ test, rank: rank(test) }))
      .sort((a, b) => a.rank[0] - b.rank[0] || a.rank[1] - b.rank[1])
      .map(({ test }) => test);
  };
}
