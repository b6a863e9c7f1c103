import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { sortedEntries } from "../../../control/store/sorted-entries.ts";

const key = fc.oneof(
  fc
    .tuple(fc.constantFrom("a", "ab", "b", "hosts", "jobs", "__proto__"), fc.nat(40))
    .map(([noun, n]) => `${noun}/${n}`),
  fc.string({ maxLength: 4 }),
);
const step = fc.record({ key, remove: fc.boolean() });

test("listing and counting any prefix equals filtering a sorted plain map", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 300 }), fc.string({ maxLength: 3 }), (steps, other) => {
      const sorted = sortedEntries<number>();
      const plain = new Map<string, number>();
      for (const [n, { key, remove }] of steps.entries()) {
        if (remove) {
          sorted.delete(key);
          plain.delete(key);
        } else {
          sorted.set(key, n);
          plain.set(key, n);
        }
      }
      for (const prefix of ["", "a", "a/", "ab/", "hosts/", "jobs/1", "__proto__/", "zz", other]) {
        const expected = [...plain]
          .filter(([k]) => k.startsWith(prefix))
          .sort(([a], [b]) => (a < b ? -1 : 1))
          .map(([, n]) => n);
        assert.equal(sorted.list(prefix), expected);
        assert.is(sorted.count(prefix), expected.length);
      }
      assert.is(sorted.size, plain.size);
      for (const [k, n] of plain) assert.is(sorted.get(k), n);
    }),
    { numRuns: 150 },
  );
});

for (const [order, nth] of [
  ["ascending", (i: number) => i],
  ["descending", (i: number) => 19_999 - i],
  ["scattered", (i: number) => (i * 7919) % 20_000],
] as const) {
  test(`20,000 keys added in ${order} order list in key order, before and after half of them are deleted`, () => {
    const sorted = sortedEntries<string>();
    const name = (n: number) => `jobs/${String(n).padStart(5, "0")}`;
    for (let i = 0; i < 20_000; i++) sorted.set(name(nth(i)), name(nth(i)));
    sorted.set("hosts/1", "h");
    sorted.set("jobz/1", "z");
    assert.equal(
      sorted.list("jobs/"),
      Array.from({ length: 20_000 }, (_, i) => name(i)),
    );
    for (let i = 0; i < 20_000; i += 2) sorted.delete(name(i));
    assert.equal(
      sorted.list("jobs/"),
      Array.from({ length: 10_000 }, (_, i) => name(2 * i + 1)),
    );
    assert.is(sorted.count("jobs/0"), 5_000);
    assert.is(sorted.count("job"), 10_001);
  });
}

test.run();
