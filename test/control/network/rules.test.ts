// Rules that open one app to another, as records and as an index.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { keys } from "../../../control/keys.ts";
import {
  findRule,
  ruleChanges,
  ruleEnd,
  ruleIndex,
  ruleOfPair,
  rulesEndOf,
  shownRule,
} from "../../../control/network/rules.ts";
import type { NetworkRuleRecord } from "../../../control/records.ts";
import { refusal } from "../faults.ts";
import { kept } from "../kept.ts";

const rule = (from: string, to: string, id = `${from}-${to}`): NetworkRuleRecord => ({
  id,
  from: { kind: "app", id: from },
  to: { kind: "app", id: to },
  createdAt: "2026",
  createdBy: "ann",
});
const storeOf = (...rules: NetworkRuleRecord[]) =>
  kept(Object.fromEntries(rules.flatMap((each) => ruleChanges(kept(), each).map(({ key, value }) => [key, value]))));

test("a rule is found by its id and by its pair, in its direction", () => {
  const store = storeOf(rule("a", "b"));
  assert.equal(findRule(store, "a-b").value, rule("a", "b"));
  assert.is(
    refusal(() => findRule(store, "x")),
    "not-found no network rule x",
  );
  assert.equal(ruleOfPair(store, "a", "b")?.value, rule("a", "b"));
  assert.equal([ruleOfPair(store, "b", "a"), ruleOfPair(store, "a", "c")], [undefined, undefined]);
});

test("a rule ends with its pair, and an app's end ends the rules from and to it, and no other", () => {
  assert.equal(ruleEnd(rule("a", "b")), [
    { key: keys.networkRule("a-b"), value: null },
    { key: keys.networkPair("a", "b"), value: null },
  ]);
  const store = storeOf(rule("a", "b"), rule("b", "c"), rule("c", "a"), rule("c", "d"));
  const ended = rulesEndOf(store, "a").map(({ key }) => key);
  assert.equal(ended.sort(), [...ruleEnd(rule("a", "b")), ...ruleEnd(rule("c", "a"))].map(({ key }) => key).sort());
});

test("10,000 rules are the most", () => {
  const many = Array.from({ length: 10_000 }, (_, n): [string, unknown] => [
    keys.networkRule(`r${n}`),
    rule("a", `b${n}`),
  ]);
  const add = (count: number) =>
    refusal(() => ruleChanges(kept(Object.fromEntries(many.slice(0, count))), rule("x", "y")));
  assert.is(add(9_999), "fine");
  assert.match(add(10_000), /^no-capacity there are 10000 network rules already; remove some/);
});

test("a rule is shown with the names of its apps, and of one that is gone says so", () => {
  const store = storeOf(rule("a", "b"));
  store.put(keys.app("a"), { id: "a", name: "hello" });
  assert.equal(shownRule(store, { key: "", value: rule("a", "b"), version: 7 }), {
    id: "a-b",
    from: { kind: "app", id: "a", name: "hello" },
    to: { kind: "app", id: "b", name: "deleted" },
    version: 7,
    createdAt: "2026",
    createdBy: "ann",
  });
});

test("who reaches whom follows the rules as they come, change and end, and tells whom that is about", () => {
  const index = ruleIndex(storeOf(rule("a", "b"), rule("a", "c")));
  const reach = (app: string) => [[...index.reachableFrom(app)].sort().join(), [...index.reaching(app)].sort().join()];
  assert.equal(["a", "b", "x"].map(reach), [
    ["b,c", ""],
    ["", "a"],
    ["", ""],
  ]);
  assert.equal(index.put("d-b", rule("d", "b")), ["d", "b"]);
  assert.equal(reach("b"), ["", "a,d"]);
  assert.equal(index.put("d-b", rule("d", "c", "d-b")), ["d", "b", "d", "c"]);
  assert.equal(
    [reach("b"), reach("c"), reach("d")],
    [
      ["", "a"],
      ["", "a,d"],
      ["c", ""],
    ],
  );
  assert.equal(index.put("a-b", undefined), ["a", "b"]);
  assert.equal(
    [reach("a"), reach("b")],
    [
      ["c", ""],
      ["", ""],
    ],
  );
  assert.equal(index.put("a-b", undefined), []);
});

test.run();
