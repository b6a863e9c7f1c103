// Pages by cursor: together they are the list, whatever its direction and the size of a page.
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { page, pageOf } from "../../control/paging.ts";
import { refusal } from "./faults.ts";

const entries = (...names: string[]) => names.map((key) => ({ key }));
const keyOf = ({ key }: { key: string }) => key;
const cursorOf = (key: string) => Buffer.from(key).toString("base64url");

test("property: pages put together are the list, rising and falling", () => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.nat(50)), fc.integer({ min: 1, max: 7 }), fc.boolean(), (numbers, limit, falling) => {
      const all = numbers.map((n) => `k${String(n).padStart(2, "0")}`).sort();
      if (falling) all.reverse();
      const seen: string[] = [];
      let cursor: string | undefined;
      do {
        const { items, nextCursor } = page(entries(...all), { limit, ...(cursor ? { cursor } : {}) }, keyOf, {
          falling,
        });
        seen.push(...items);
        assert.ok(items.length === limit || nextCursor === undefined);
        cursor = nextCursor;
      } while (cursor !== undefined);
      assert.equal(seen, all);
    }),
  );
});

test("a page ends the list when nothing is after it, also when it is full", () => {
  const of = (limit: number) => page(entries("a", "b"), { limit }, keyOf);
  assert.equal(
    [of(1), of(2), of(3)],
    [{ items: ["a"], nextCursor: cursorOf("a") }, { items: ["a", "b"] }, { items: ["a", "b"] }],
  );
  assert.equal(page(entries("a"), { cursor: cursorOf("a") }, keyOf), { items: [] });
  assert.equal(page([], {}, keyOf), { items: [] });
});

test("a hundred are a page unless another number is asked for", () => {
  const many = entries(...Array.from({ length: 101 }, (_, n) => `k${String(n).padStart(3, "0")}`));
  assert.equal([page(many, {}, keyOf).items.length, page(many.slice(1), {}, keyOf).nextCursor], [100, undefined]);
});

test("a cursor goes on after its key, though that is gone; what is no cursor is refused", () => {
  assert.equal(page(entries("a", "c"), { cursor: cursorOf("b") }, keyOf).items, ["c"]);
  assert.equal(page(entries("c", "a"), { cursor: cursorOf("b") }, keyOf, { falling: true }).items, ["a"]);
  for (const cursor of ["", "?", "YQ==", "YR", " YQ", "\u0000", "gICA"])
    assert.is(
      refusal(() => page(entries("a"), { cursor }, keyOf)),
      "invalid the cursor is not one of this list's",
      JSON.stringify(cursor),
    );
});

test("what has ids is paged by them", () => {
  const values = [{ id: "a" }, { id: "b" }];
  const first = pageOf(values, { limit: 1 });
  assert.equal(first, { items: [{ id: "a" }], nextCursor: cursorOf("a") });
  assert.equal(pageOf(values, { cursor: first.nextCursor! }), { items: [{ id: "b" }] });
});

test.run();
