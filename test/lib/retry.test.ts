import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { backoffMs, retry } from "#lib/retry.ts";

const quick = { baseMs: 1, maxMs: 1 };

test("the wait doubles to its ceiling, never under half of it and never over it", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 10_000 }),
      fc.integer({ min: 1, max: 5_000 }),
      fc.integer({ min: 1, max: 60_000 }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      (n, baseMs, maxMs, random) => {
        const ceiling = Math.min(maxMs, baseMs * 2 ** Math.min(n - 1, 30));
        const wait = backoffMs(n, baseMs, maxMs, () => random);
        assert.ok(
          Number.isInteger(wait) && wait >= Math.floor(ceiling / 2) && wait <= ceiling,
          `${wait} of ${ceiling}`,
        );
      },
    ),
  );
});

test("it tries again until the work succeeds and tells each attempt its number", async () => {
  const attempts: number[] = [];
  const value = await retry(
    async (attempt) => {
      attempts.push(attempt);
      if (attempt < 3) throw new Error("not yet");
      return "done";
    },
    { attempts: 5, ...quick },
  );
  assert.is(value, "done");
  assert.equal(attempts, [1, 2, 3]);
});

test("the last error comes out when the attempts are used up", async () => {
  let tried = 0;
  await retry(() => Promise.reject(new Error(`failure ${++tried}`)), { attempts: 3, ...quick }).then(
    () => assert.unreachable(),
    (error: Error) => assert.is(error.message, "failure 3"),
  );
});

test("an error that is not retryable ends it at once", async () => {
  let tried = 0;
  const work = () => {
    tried++;
    return Promise.reject(new Error("no"));
  };
  await retry(work, { attempts: 9, retryable: () => false, ...quick }).then(
    () => assert.unreachable(),
    () => undefined,
  );
  assert.is(tried, 1);
});

test("an abort while it waits ends it without another attempt", async () => {
  const controller = new AbortController();
  let tried = 0;
  const work = () => {
    tried++;
    setImmediate(() => controller.abort(new Error("stop")));
    return Promise.reject(new Error("no"));
  };
  await retry(work, { attempts: 9, baseMs: 60_000, maxMs: 60_000, signal: controller.signal }).then(
    () => assert.unreachable(),
    () => undefined,
  );
  assert.is(tried, 1);
});

test.run();
