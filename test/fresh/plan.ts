// What `npm run test:fresh -- [--only unit|lab|demo] [--keep] [filter...]` runs in the fresh root.

export interface FreshPlan {
  demo: boolean;
  /** Arguments of `npm test`; undefined: it does not run. */
  test: string[] | undefined;
  /** The lab's lifecycle is built. */
  go: boolean;
  /** The folder stays, and is said. */
  keep: boolean;
}

export const USAGE = `usage: npm run test:fresh -- [--only unit|demo|test] [--keep] [filter...]
  npm run test:fresh                           the demo and all of npm test
  npm run test:fresh -- --only unit            what needs no lab
  npm run test:fresh -- test/lab/cnb           the files of npm test whose path contains the text`;

export function freshPlan(args: readonly string[]): FreshPlan | string {
  const filters: string[] = [];
  let only = "";
  let keep = false;
  for (let at = 0; at < args.length; at++) {
    const word = args[at]!;
    if (word === "--keep") keep = true;
    else if (word === "--only") only = args[++at] ?? "?";
    else if (word.startsWith("--only=")) only = word.slice("--only=".length);
    else if (word.startsWith("-")) return `unknown option ${word}\n${USAGE}`;
    else filters.push(word);
  }
  if (!["", "unit", "demo", "test"].includes(only)) return `--only takes unit, demo or test, not "${only}"\n${USAGE}`;
  if (only === "demo" && filters.length > 0) return `the demo takes no filter\n${USAGE}`;
  const unit = only === "unit";
  return {
    demo: only === "demo" || (only === "" && filters.length === 0),
    test: only === "demo" ? undefined : [...(unit ? ["--unit"] : []), ...filters],
    go: !unit && only !== "demo",
    keep,
  };
}
