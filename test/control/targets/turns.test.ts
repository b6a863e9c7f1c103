// Streams work a few at a time, and one that is asked twice works once.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { until } from "#lib/time.ts";
import { turns } from "../../../control/targets/turns.ts";

const nextTurn = () => new Promise<void>((resolve) => setImmediate(resolve));

test("a thousand streams asked at once have their turns a few at a time, whatever else happens goes on between", async () => {
  const queue = turns({ ownAtOnce: 16 });
  let had = 0;
  for (let n = 0; n < 1_000; n++) queue.ask(() => had++);
  assert.is(had, 0, "not in the turn that asks");
  let most = 0;
  let between = 0;
  while (had < 1_000) {
    const before = had;
    await nextTurn();
    most = Math.max(most, had - before);
    between++;
  }
  assert.ok(most <= 32, `${most} in one turn of the loop`);
  assert.ok(between >= 1_000 / 32);
});

test("who asks again before its turn has one turn; who asks in its turn has another", async () => {
  const queue = turns();
  let had = 0;
  const turn = () => {
    if (++had === 1) queue.ask(turn);
  };
  for (let n = 0; n < 5; n++) queue.ask(turn, n % 2 === 0);
  await until(() => had === 2, { what: "both turns", timeoutMs: 5_000, everyMs: 1 });
  for (let n = 0; n < 10; n++) await nextTurn();
  assert.is(had, 2);
});

test("a change of one's own does not wait behind one that concerns all", async () => {
  const queue = turns({ everywhereAtOnce: 10 });
  const order: string[] = [];
  for (let n = 0; n < 100; n++) queue.ask(() => order.push("all"), true);
  queue.ask(() => order.push("own"));
  await until(() => order.length === 101, { what: "every turn", timeoutMs: 5_000, everyMs: 5 });
  assert.ok(order.indexOf("own") <= 10);
});

test("with few turns to come one rests for a moment after its own, with thousands for longer, and never for more than 2 s", () => {
  const queue = turns();
  assert.is(queue.restMs(), 20);
  const asked: (() => void)[] = [];
  const ask = (count: number) => {
    for (let n = 0; n < count; n++) {
      asked.push(() => undefined);
      queue.ask(asked.at(-1)!);
    }
  };
  ask(1_000);
  assert.is(queue.restMs(), 500);
  ask(100_000);
  assert.is(queue.restMs(), 2_000);
  for (const turn of asked) queue.forget(turn);
  assert.is(queue.restMs(), 20);
});

test("who has left is not called", async () => {
  const queue = turns();
  let had = 0;
  const turn = () => had++;
  queue.ask(turn);
  queue.ask(turn, true);
  queue.forget(turn);
  for (let n = 0; n < 5; n++) await nextTurn();
  assert.is(had, 0);
});

test.run();
