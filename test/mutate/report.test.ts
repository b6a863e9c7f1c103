import { test } from "uvu";
import * as assert from "uvu/assert";
import { mutantsOf } from "./operators.ts";
import { described, diff, type Fate, type Outcome, table, totals } from "./report.ts";

const SOURCE = "export function f(a: number): number {\n  if (a > 1) return 2;\n  return 3;\n}\n";
const negated = mutantsOf("hostd/plan.ts", SOURCE).find(({ operator }) => operator === "negate a condition")!;
const outcome = (path: string, fate: Fate): Outcome => ({
  mutant: { ...negated, path },
  fate,
  tests: ["test/a.test.ts"],
});

test("a survivor is shown with its place, what was changed and which tests let it through", () => {
  assert.equal(diff(SOURCE, negated), { before: ["if (a > 1) return 2;"], after: ["if (!(a > 1)) return 2;"] });
  assert.is(
    described(outcome("hostd/plan.ts", "survived"), SOURCE),
    "hostd/plan.ts:2  negate a condition\n  - if (a > 1) return 2;\n  + if (!(a > 1)) return 2;\n  tried: test/a.test.ts",
  );
});

test("the table has a row per folder; what runs for ever is caught, what changes nothing is not counted", () => {
  const outcomes = [
    outcome("hostd/plan.ts", "caught"),
    outcome("hostd/builds/a.ts", "timed out"),
    outcome("hostd/plan.ts", "survived"),
    outcome("control/a.ts", "equivalent"),
  ];
  assert.is(
    table(outcomes),
    [
      "folder        mutants  caught  timed out  survived",
      "hostd               2       1          0         1",
      "hostd/builds        1       0          1         0",
      "all                 3       1          1         1",
    ].join("\n"),
  );
  assert.equal(totals(outcomes), { caught: 2, survived: 1 });
});

test.run();
