// A loop's place to wait: no ring is lost, none counts twice, and nothing waits longer than asked.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { deadline } from "#lib/time.ts";
import { createWake } from "#lib/wake.ts";

const never = new AbortController().signal;
const soon = (waited: Promise<void>) => deadline(waited, 30_000, "the end of the wait");
const isPending = async (waited: Promise<void>) =>
  (await Promise.race([waited.then(() => "over"), new Promise((resolve) => setImmediate(resolve, "pending"))])) ===
  "pending";

test("a ring ends the wait, and one that came while nobody waited is heard by the next", async () => {
  const wake = createWake();
  const waited = wake.wait(Number.POSITIVE_INFINITY, never);
  assert.ok(await isPending(waited));
  wake.ring();
  await soon(waited);
  wake.ring();
  await soon(wake.wait(Number.POSITIVE_INFINITY, never));
});

test("many rings while the loop works are one", async () => {
  const wake = createWake();
  for (let n = 0; n < 3; n++) wake.ring();
  await soon(wake.wait(Number.POSITIVE_INFINITY, never));
  const again = wake.wait(Number.POSITIVE_INFINITY, never);
  assert.ok(await isPending(again));
  wake.ring();
  await soon(again);
});

test("time ends the wait, also one that is up already", async () => {
  const wake = createWake();
  await soon(wake.wait(1, never));
  await soon(wake.wait(-5, never));
});

test("the signal ends the wait, also one that was aborted before", async () => {
  const wake = createWake();
  const stop = new AbortController();
  const waited = wake.wait(Number.POSITIVE_INFINITY, stop.signal);
  stop.abort();
  await soon(waited);
  await soon(wake.wait(Number.POSITIVE_INFINITY, stop.signal));
});

test.run();
