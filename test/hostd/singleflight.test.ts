import { test } from "uvu";
import * as assert from "uvu/assert";
import { limiter, singleflight } from "../../hostd/singleflight.ts";

const never = new AbortController().signal;

test("work of one key runs once for all who ask meanwhile, and again for who asks later", async () => {
  let runs = 0;
  const gates = [Promise.withResolvers<string>(), Promise.withResolvers<string>()];
  const once = singleflight(() => gates[runs++]!.promise);
  const first = [once("image", never), once("image", never), once("image", never)];
  gates[0]!.resolve("done");
  assert.equal(await Promise.all(first), ["done", "done", "done"]);
  assert.is(runs, 1);
  gates[1]!.resolve("again");
  assert.is(await once("image", never), "again");
});

test("one who gives up leaves at once and the others still get it; when the last leaves, the work is cancelled", async () => {
  let cancelled = 0;
  const gate = Promise.withResolvers<string>();
  const once = singleflight((_, signal) => {
    signal.addEventListener("abort", () => cancelled++);
    return gate.promise;
  });
  const [a, b] = [new AbortController(), new AbortController()];
  const first = once("k", a.signal).catch((error: Error) => error.message);
  const second = once("k", b.signal).catch((error: Error) => error.message);
  a.abort(new Error("not wanted"));
  assert.is(await first, "not wanted");
  assert.is(cancelled, 0);
  b.abort(new Error("nor here"));
  assert.is(await second, "nor here");
  assert.is(cancelled, 1);
  gate.reject(new Error("nobody hears this"));
});

test("a failure reaches everybody who waits", async () => {
  const once = singleflight(async () => {
    throw new Error("refused");
  });
  const both = await Promise.allSettled([once("k", never), once("k", never)]);
  assert.equal(
    both.map(({ status }) => status),
    ["rejected", "rejected"],
  );
});

test("no more than the limit run at once, in the order they came; one who gives up leaves the line", async () => {
  const limit = limiter(2);
  const gates = Array.from({ length: 4 }, () => Promise.withResolvers<void>());
  const begun: number[] = [];
  const leaving = new AbortController();
  const runs = gates.map((gate, n) =>
    limit(
      async () => {
        begun.push(n);
        await gate.promise;
      },
      n === 2 ? leaving.signal : never,
    ).catch((error: Error) => error.message),
  );
  assert.equal(begun, [0, 1]);
  leaving.abort(new Error("left"));
  assert.is(await runs[2], "left");
  gates[0]!.resolve();
  await runs[0];
  await new Promise(setImmediate);
  assert.equal(begun, [0, 1, 3]);
  gates[1]!.resolve();
  gates[3]!.resolve();
  await Promise.all(runs);
});

test.run();
