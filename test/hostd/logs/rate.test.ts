import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { droppedLine, rateGate } from "../../../hostd/logs/rate.ts";

const limits = { linesPerSecond: 100, bytesPerSecond: 10_000, burstSeconds: 2 };

test("a burst within the rate passes whole, a flood keeps what the rate allows and counts the rest", () => {
  const gate = rateGate(limits);
  const kept = Array.from({ length: 1_000 }, () => gate.admit(10, 0)).filter(Boolean).length;
  assert.is(kept, 200);
  assert.is(gate.takeDropped(), 800);
  assert.is(gate.takeDropped(), 0);
});

test("after a flood, lines pass again with time", () => {
  const gate = rateGate(limits);
  for (let n = 0; n < 300; n++) gate.admit(10, 0);
  assert.is(gate.admit(10, 1), false);
  assert.is(gate.admit(10, 1_000), true);
});

test("few and large lines are held to the bytes", () => {
  const gate = rateGate(limits);
  const kept = Array.from({ length: 50 }, () => gate.admit(5_000, 0)).filter(Boolean).length;
  assert.is(kept, 4);
});

test("whatever comes when, nothing is both kept and counted, and never more than burst and rate are kept", () => {
  const arrivals = fc.array(fc.tuple(fc.nat(200), fc.nat(3_000)), { maxLength: 400 });
  fc.assert(
    fc.property(arrivals, (list) => {
      const gate = rateGate(limits);
      let nowMs = 0;
      let kept = 0;
      for (const [waitMs, sizeBytes] of list) {
        nowMs += waitMs;
        if (gate.admit(sizeBytes, nowMs)) kept++;
      }
      assert.is(kept + gate.dropped, list.length);
      assert.ok(kept <= limits.linesPerSecond * (limits.burstSeconds + nowMs / 1_000) + 1);
    }),
  );
});

test("what was dropped is said with the rate", () =>
  assert.is(droppedLine(12, limits), "... 12 lines dropped: more than 100 lines or 9 KiB a second"));

test.run();
