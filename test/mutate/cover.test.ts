import { test } from "uvu";
import * as assert from "uvu/assert";
import { coverage, leadingTo } from "./cover.ts";
import { importsOf, isChosenRule, isRule } from "./rules.ts";

const sources = new Map([
  ["control/rule.ts", "export const rule = 1;"],
  ["control/loop.ts", 'import { rule } from "./rule.ts";'],
  ["lib/time.ts", 'import type { Rule } from "../control/rule.ts";'],
  ["test/control/rule.test.ts", 'import { rule } from "../../control/rule.ts";\nimport "#lib/time.ts";'],
  ["test/control/near.test.ts", 'import {\n  rule,\n} from "../../control/rule.ts";'],
  ["test/control/slow.test.ts", 'import { rule } from "../../control/rule.ts";'],
  ["test/control/far.test.ts", 'const { loop } = await import("../../control/loop.ts");'],
  ["test/control/child.test.ts", 'const file = new URL("../../control/loop.ts", import.meta.url);'],
  ["test/lib/far.test.ts", 'import "../../control/loop.ts";'],
  ["test/lib/near.test.ts", 'import "../../control/rule.ts";'],
  ["test/control/other.test.ts", 'import "#lib/time.ts";'],
]);
const tests = [...sources.keys()].filter((path) => path.startsWith("test/"));

test("a source is covered by its own test first, then by those that import it, those of its folder, and others by distance", () => {
  const covering = coverage({ sources, tests, durations: { "test/control/slow.test.ts": 9_000 } });
  assert.equal(covering("control/rule.ts"), [
    "test/control/rule.test.ts",
    "test/lib/near.test.ts",
    "test/control/near.test.ts",
    "test/control/slow.test.ts",
    "test/control/far.test.ts",
    "test/control/child.test.ts",
    "test/lib/far.test.ts",
  ]);
  assert.equal(covering("lib/time.ts"), ["test/control/other.test.ts", "test/control/rule.test.ts"]);
  assert.equal(covering("control/unused.ts"), []);
});

test("what must be read afresh for a broken source is all that loads it, in however many steps, and nothing else", () => {
  const all = leadingTo(sources)("control/loop.ts").sort();
  assert.equal(all, [
    "control/loop.ts",
    "test/control/child.test.ts",
    "test/control/far.test.ts",
    "test/lib/far.test.ts",
  ]);
  assert.ok(leadingTo(sources)("control/rule.ts").includes("test/lib/far.test.ts"));
});

test("a rule decides and does nothing: what waits, or imports what acts for more than a type, is none", () => {
  assert.ok(isRule('import type { Socket } from "node:net";\nimport { join } from "node:path";\nexport const a = 1;'));
  assert.not(isRule('import { connect } from "node:net";'));
  assert.not(isRule('import { exec } from "#lib/exec.ts";'));
  assert.not(isRule("export async function a() {}"));
  assert.not(isRule("export const a = process.env;"));
  assert.ok(isRule("export const a = job.process.port;"));
  assert.ok(isChosenRule("hostd/plan.ts", "export const a = 1;"));
  assert.not(isChosenRule("router/render.ts", "export const a = 1;"));
});

test("imports are found however they are written", () => {
  const text = 'import a, { type B } from "a";\nexport type { C } from "c";\nexport { d } from "d";\nimport "e";';
  assert.equal(importsOf(text), [
    { specifier: "a", isType: false },
    { specifier: "c", isType: true },
    { specifier: "d", isType: false },
    { specifier: "e", isType: false },
  ]);
});

test.run();
