// Which machines a stage takes: the same each time, spread over zones and racks, and never fewer than before.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Candidate, cohorts, countAfter, spread } from "../../../control/rollouts/cohorts.ts";

const machines = (count: number, tags: (n: number) => Record<string, string> = () => ({})): Candidate[] =>
  Array.from({ length: count }, (_, n) => ({ id: `m-${n}`, profile: "default", tags: tags(n) }));

for (const [stage, all, expected] of [
  ["1", 30, 1],
  ["5", 3, 3],
  ["10%", 30, 3],
  ["10%", 3, 1],
  ["1%", 1_000, 10],
  ["50%", 7, 4],
  ["100%", 7, 7],
  ["all", 7, 7],
  ["1", 0, 0],
] as const)
  test(`${stage} of ${all} machines is ${expected}`, () => assert.is(countAfter(stage, all), expected));

test("the same machines are taken in the same order, whatever order they are listed in; another image is another order", () => {
  const all = machines(20);
  assert.equal(spread(all, "a"), spread([...all].reverse(), "a"));
  assert.is.not(spread(all, "a").join(), spread(all, "b").join());
  assert.is(new Set(spread(all, "a")).size, 20);
});

test("of three racks the first three machines are of three", () => {
  const all = machines(12, (n) => ({ rack: `r${n % 3}` }));
  const first = spread(all, "a").slice(0, 3);
  assert.is(new Set(first.map((id) => all.find((one) => one.id === id)!.tags["rack"])).size, 3);
});

test("stages grow to all; one that adds nobody is left out", () => {
  const order = spread(machines(30), "a");
  const sizes = (...names: string[]) => cohorts(order, names).map(({ name, ids }) => [name, ids.length]);
  assert.equal(sizes("1", "10%", "all"), [
    ["1", 1],
    ["10%", 2],
    ["all", 27],
  ]);
  assert.equal(sizes("3", "10%", "all"), [
    ["3", 3],
    ["all", 27],
  ]);
  assert.equal(sizes("100%"), [["100%", 30]]);
  assert.equal(cohorts([], ["1", "all"]), []);
  assert.equal(
    cohorts(order, ["1", "50%", "all"]).flatMap(({ ids }) => ids),
    order,
  );
});

test("stages that shrink, or do not end at all, are refused", () => {
  const order = spread(machines(30), "a");
  assert.throws(() => cohorts(order, ["1", "10%"]), /the last one is `all`/);
  assert.throws(() => cohorts(order, ["50%", "10%", "all"]), /10% is fewer machines/);
});

test.run();
