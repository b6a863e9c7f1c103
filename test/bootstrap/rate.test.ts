// Buckets of tokens, by a clock that the test holds.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { createMachines } from "../../bootstrap/identity/machines.ts";
import { rateLimit } from "../../bootstrap/rate.ts";

function limited(perSecond: number, burst: number, maxKeys = 10) {
  const clock = { ms: 5_000 };
  const { take } = rateLimit({ perSecond, burst, maxKeys, nowMs: () => clock.ms });
  const taken = (key: string, times: number) => Array.from({ length: times }, () => take(key)).filter(Boolean).length;
  return { clock, take, taken };
}

test("a key has its burst at once, then what comes in by the second, and never more than its burst", () => {
  const { clock, taken } = limited(2, 3);
  assert.is(taken("a", 10), 3);
  clock.ms += 499;
  assert.is(taken("a", 10), 0);
  clock.ms += 1;
  assert.is(taken("a", 10), 1);
  clock.ms += 1_000;
  assert.is(taken("a", 10), 2);
  clock.ms += 60_000;
  assert.is(taken("a", 10), 3);
});

test("a key that is asked for all the time gets what comes in", () => {
  const { clock, take } = limited(1, 1);
  let got = 0;
  for (let n = 0; n < 100; n++, clock.ms += 100) if (take("a")) got++;
  assert.is(got, 10);
});

test("keys do not share, and of too many the one longest unseen is forgotten", () => {
  const { taken } = limited(1, 1, 2);
  assert.equal([taken("a", 2), taken("b", 2), taken("a", 1)], [1, 1, 0]);
  assert.is(taken("c", 2), 1); // b was seen before a: it makes room
  assert.is(taken("a", 1), 0);
  assert.is(taken("b", 1), 1);
});

test("without a clock of its own the limit goes by the machine's", () => {
  const { take } = rateLimit({ perSecond: 0, burst: 1, maxKeys: 1 });
  assert.equal([take("a"), take("a")], [true, false]);
});

test("strangers come in by the second; those that fell out of the table for others are strangers again", () => {
  const clock = { ms: 0 };
  const machines = createMachines({ maxStrangers: 2, strangersPerSecond: 1, nowMs: () => clock.ms });
  const admitted = (mac: string, seen = true) => machines.admit(mac, seen);
  assert.equal(
    ["a", "b", "c"].map((mac) => admitted(mac)),
    [true, true, false],
  );
  assert.ok(admitted("a"), "let in before");
  clock.ms += 1_000;
  assert.ok(admitted("c")); // b was silent longest
  assert.ok(admitted("a"));
  assert.not(admitted("b"));
  assert.equal(
    ["x", "y", "z"].map((mac) => admitted(mac, false)),
    [true, true, false],
    "two kinds, two allowances",
  );
});

test("unless it is set, 2,048 strangers come in at once and 200 a second, and 4,096 are remembered", () => {
  const clock = { ms: 0 };
  const machines = createMachines({ nowMs: () => clock.ms });
  let n = 0;
  const flood = () => Array.from({ length: 3_000 }, () => machines.admit(`card ${n++}`, true)).filter(Boolean).length;
  assert.is(flood(), 2_048);
  clock.ms += 1_000;
  assert.is(flood(), 200);
  for (; clock.ms < 20_000; clock.ms += 1_000) flood();
  const last = n;
  clock.ms += 1_000;
  assert.ok(machines.admit(`card ${last}`, true));
});

test.run();
