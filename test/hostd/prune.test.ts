// Which images may go from a host, and which a rollback wants at hand.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { prunableImages } from "../../hostd/prune.ts";

const HOUR_MS = 3_600_000;
const NOW = 10 * HOUR_MS;
const app = (n: number) => `10.0.0.1:5000/apps/a${n}@sha256:${n}`;
const stack = (kind: string, n: number) => `10.0.0.1:5000/stack/${kind}@sha256:${n}`;
/** Images by how long ago each was seen in use. */
const prunable = (
  agoMs: Record<string, number>,
  more: { used?: string[]; keep?: number; unusedForMs?: number } = {},
) => {
  const { used = [], ...rest } = more;
  return prunableImages({
    refs: Object.keys(agoMs),
    used: new Set(used),
    lastUsedMs: new Map(Object.entries(agoMs).map(([ref, ago]) => [ref, NOW - ago])),
    nowMs: NOW,
    ...rest,
  });
};
const hours = (...ns: number[]) => Object.fromEntries(ns.map((n) => [app(n), n * HOUR_MS]));

test("the five seen last stay at hand, the others go after an hour without use", () => {
  assert.equal(prunable(hours(1, 2, 3, 4, 5)), []);
  assert.equal(prunable(hours(7, 6, 5, 4, 3, 2, 1)), [app(6), app(7)]);
  assert.equal(prunable({ ...hours(1, 2, 3, 4, 5), [app(9)]: 1 }), [app(5)], "the newest takes a place");
});

test("one that was in use less than an hour ago stays, however many there are", () => {
  const all = (ago: number) => Object.fromEntries([0, 1, 2, 3, 4, 5].map((n) => [app(n), n < 5 ? 0 : ago]));
  assert.equal([prunable(all(HOUR_MS - 1)), prunable(all(HOUR_MS))], [[], [app(5)]]);
});

test("what is in use goes never and takes no place; one that was never seen counts from now on", () => {
  assert.equal(prunable(hours(1, 2, 3, 4, 5, 6, 7), { used: [app(7), app(1)] }), []);
  assert.equal(prunable(hours(1, 2, 3, 4, 5, 6, 7), { used: [app(1)] }), [app(7)]);
  const unseen = prunableImages({ refs: [app(1)], used: new Set(), lastUsedMs: new Map(), nowMs: NOW, keep: 0 });
  assert.equal(unseen, []);
});

test("images of an earlier stack take no app's place and go as soon as they may", () => {
  const stacks = { [stack("builder", 1)]: HOUR_MS, [stack("runner", 2)]: HOUR_MS, [stack("runner", 3)]: HOUR_MS - 1 };
  assert.equal(prunable({ ...hours(1, 2, 3, 4, 5), ...stacks }).sort(), [stack("builder", 1), stack("runner", 2)]);
  const named = { [`x/10/stack/builder@sha256:1`]: HOUR_MS, [stack("other", 4)]: HOUR_MS };
  assert.equal(prunable(named), [], "an app may be called like that");
});

test("how many stay and for how long can be set; of those seen together the first by name is newest", () => {
  const together = Object.fromEntries([3, 1, 2].map((n) => [app(n), 2 * HOUR_MS]));
  assert.equal(prunable(together, { keep: 1 }), [app(2), app(3)]);
  assert.equal(prunable(together, { keep: 0, unusedForMs: 2 * HOUR_MS }), [app(1), app(2), app(3)]);
  assert.equal(prunable(together, { keep: 0, unusedForMs: 2 * HOUR_MS + 1 }), []);
});

test.run();
