import { test } from "uvu";
import * as assert from "uvu/assert";
import { deadline, every, sleep, until } from "#lib/time.ts";

test("sleep ends at once when its signal aborts, before or during it", async () => {
  const controller = new AbortController();
  const startedMs = performance.now();
  const sleeping = sleep(60_000, controller.signal);
  controller.abort();
  await sleeping;
  await sleep(60_000, controller.signal);
  assert.ok(performance.now() - startedMs < 30_000);
});

test("every counts from 0 and ends with its signal", async () => {
  const controller = new AbortController();
  const seen: number[] = [];
  for await (const n of every(1, controller.signal)) {
    seen.push(n);
    if (n === 3) controller.abort();
  }
  assert.equal(seen, [0, 1, 2, 3]);
});

test("every with an aborted signal yields nothing", async () => {
  for await (const n of every(1, AbortSignal.abort())) assert.unreachable(`${n}`);
});

test("until returns the first truthy value and treats a throw as not yet", async () => {
  const answers = [
    () => undefined,
    () => 0,
    () => {
      throw new Error("not yet");
    },
    () => "there",
  ];
  assert.is(await until(() => answers.shift()!(), { what: "it", timeoutMs: 1_000, everyMs: 1 }), "there");
});

test("until says what did not happen, with the last error as cause", async () => {
  const cause = new Error("refused");
  try {
    await until(() => Promise.reject(cause), { what: "the door", timeoutMs: 30, everyMs: 5 });
  } catch (error) {
    assert.match((error as Error).message, "the door did not happen within 30 ms");
    assert.is((error as Error).cause, cause);
    return;
  }
  assert.unreachable();
});

test("until ends with its signal", async () => {
  const controller = new AbortController();
  const waiting = until(() => false, { what: "it", timeoutMs: 60_000, everyMs: 5, signal: controller.signal });
  controller.abort(new Error("enough"));
  await waiting.then(
    () => assert.unreachable(),
    (error: Error) => assert.is(error.message, "enough"),
  );
});

test("deadline passes a value and an error through, and rejects what is late", async () => {
  assert.is(await deadline(Promise.resolve(7), 1_000, "it"), 7);
  await deadline(Promise.reject(new Error("own")), 1_000, "it").then(
    () => assert.unreachable(),
    (error: Error) => assert.is(error.message, "own"),
  );
  await deadline(new Promise(() => undefined), 20, "the answer").then(
    () => assert.unreachable(),
    (error: Error) => assert.is(error.message, "the answer took longer than 20 ms"),
  );
});

test.run();
