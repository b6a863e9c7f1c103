// A source that drips is ended; one that comes as slowly as may be is not, and nobody is late while we are busy ourselves.
import { once } from "node:events";
import { PassThrough, Writable } from "node:stream";
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Fault } from "#api/fault.ts";
import { until } from "#lib/time.ts";
import { keepPace, paceMeter, SOURCE_PACE } from "../../../control/builds/pace.ts";

const PACE = { leastBytes: 1_000, windowMs: 10_000 };

for (const [claim, steps, isSlow] of [
  ["silence for less than the window", [[0, 9_999]], false],
  ["silence for the window", [[0, 10_000]], true],
  ["a drip of bytes", Array.from({ length: 10 }, () => [10, 1_000]), true],
  ["a source that is just fast enough", Array.from({ length: 100 }, () => [100, 1_000]), false],
  [
    "all at once, then a pause within the window",
    [
      [1_000, 0],
      [0, 9_999],
    ],
    false,
  ],
  [
    "a good first window, and silence for the next",
    [
      [5_000, 10_000],
      [0, 10_000],
    ],
    true,
  ],
  ["whatever was not waited for", Array.from({ length: 100 }, () => [1, 0]), false],
] as [string, [number, number][], boolean][])
  test(`${claim} is ${isSlow ? "too slow" : "taken"}`, () => {
    const meter = paceMeter(PACE);
    assert.is(
      steps.some(([sizeBytes, waitedMs]) => meter.count(sizeBytes, waitedMs)),
      isSlow,
    );
  });

test("who sends the least bytes within every window is never too slow, in whatever pieces", () =>
  fc.assert(
    fc.property(fc.array(fc.array(fc.nat(1_000), { minLength: 1 })), (windows) => {
      const meter = paceMeter(PACE);
      for (const pieces of windows) {
        for (const [n, sizeBytes] of pieces.entries()) assert.not.ok(meter.count(sizeBytes, n === 0 ? 9_999 : 0));
        assert.not.ok(meter.count(PACE.leastBytes, 1));
      }
    }),
  ));

test("a sender who waits for us may wait for ever; one we wait for may not, and is told how fast it is to be", async () => {
  let now = 0;
  const pending: (() => void)[] = [];
  const faults: Fault[] = [];
  const from = new PassThrough();
  const into = new Writable({ highWaterMark: 1, write: (_chunk, _encoding, done) => void pending.push(done) });
  from.pipe(into);
  keepPace(from, into, { pace: PACE, nowMs: () => now, onSlow: (fault) => faults.push(fault) });
  const arrival = async () => {
    from.write("x");
    await until(() => pending.length === 1, { what: "the byte", timeoutMs: 20_000, everyMs: 1 });
  };
  const free = async () => {
    const drained = once(into, "drain");
    pending.shift()!();
    await drained;
  };
  for (let n = 0; n < 3; n++) {
    await arrival();
    now += 3_600_000;
    await free();
  }
  assert.equal(faults, []);
  now += PACE.windowMs;
  await arrival();
  assert.equal(
    faults.map(({ code, message }) => [code, message.split(". ")[0]]),
    [["timeout", "the source comes in too slowly: less than 1000 B within 10s"]],
  );
  from.destroy();
  into.destroy();
});

test("an hour's worth of the least pace is what a slow line of 1998 could send", () => {
  assert.ok((SOURCE_PACE.leastBytes * 8) / (SOURCE_PACE.windowMs / 1_000) < 128_000);
});

test.run();
