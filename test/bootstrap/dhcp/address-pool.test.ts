import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { expiries, freeNumbers } from "../../../bootstrap/dhcp/address-pool.ts";

test("the first free number at or after the start is found, the range taken as a circle", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 200 }),
      fc.array(fc.tuple(fc.boolean(), fc.nat(199)), { maxLength: 400 }),
      (count, steps) => {
        const numbers = freeNumbers(count);
        const taken = new Set<number>();
        for (const [takes, any] of steps) {
          const number = any % count;
          if (takes) numbers.take(number);
          else numbers.free(number);
          if (takes) taken.add(number);
          else taken.delete(number);
          const start = (any * 7) % count;
          const all = Array.from({ length: count }, (_, n) => (start + n) % count);
          assert.is(
            numbers.next(start),
            all.find((one) => !taken.has(one)),
          );
        }
      },
    ),
  );
});

test("of a nearly full range the first free number after the start is found, wherever its end lies", () => {
  for (const count of [31, 32, 33, 64, 96, 100, 160])
    for (const free of [[0], [count - 1], [3, count - 2], [1, count >> 1, count - 1], [5, 6]]) {
      const numbers = freeNumbers(count);
      assert.is(numbers.next(count - 1), count - 1, "nothing is taken yet");
      for (let number = 0; number < count; number++) if (!free.includes(number)) numbers.take(number);
      for (let start = 0; start < count; start++)
        assert.is(numbers.next(start), free.find((one) => one >= start) ?? free[0], `${count} from ${start}`);
    }
});

test("many ends come one after the other, the earliest first, in whatever order they were set", () => {
  for (const step of [1, 7, 73, 199]) {
    const ends = expiries();
    for (let n = 0; n < 200; n++) ends.set(`k${(n * step) % 200}`, (n * step) % 200);
    for (let n = 0; n < 200; n++) {
      assert.equal(ends.first(), { key: `k${n}`, atMs: n });
      ends.delete(`k${n}`);
    }
    assert.is(ends.first(), undefined);
  }
});

test("a full range has none, a whole /16 too, and one that comes free is the next", () => {
  for (const count of [1, 31, 32, 33, 65_536]) {
    const numbers = freeNumbers(count);
    for (let number = 0; number < count; number++) numbers.take(number);
    assert.is(numbers.next(0), undefined);
    assert.is(numbers.next(count - 1), undefined);
    numbers.free(count >> 1);
    assert.is(numbers.next(count - 1), count >> 1);
  }
});

test("the earliest end comes first, whatever was set again or deleted since", () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.constantFrom("set", "set", "delete"), fc.nat(30), fc.nat(1_000)), { maxLength: 300 }),
      (steps) => {
        const ends = expiries();
        const model = new Map<string, number>();
        for (const [act, n, atMs] of steps) {
          const key = `k${n}`;
          if (act === "set") {
            ends.set(key, atMs);
            model.set(key, atMs);
          } else {
            ends.delete(key);
            model.delete(key);
          }
          const first = ends.first();
          assert.is(first?.atMs, model.size === 0 ? undefined : Math.min(...model.values()));
          if (first) assert.is(model.get(first.key), first.atMs);
        }
      },
    ),
  );
});

test("renewals without an end keep the right order", () => {
  const ends = expiries();
  for (let round = 0; round < 200; round++)
    for (let n = 0; n < 50; n++) ends.set(`k${n}`, round * 1_000 + ((n * 37) % 50));
  assert.equal(ends.first(), { key: "k0", atMs: 199_000 });
  ends.delete("k0");
  assert.is(ends.first()?.atMs, 199_001);
});

test.run();
