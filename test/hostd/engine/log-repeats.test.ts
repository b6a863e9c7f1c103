import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { repeats } from "../../../hostd/engine/log-repeats.ts";
import type { SeenEntries } from "../../../hostd/engine/seen-entries.ts";

const start = Date.UTC(2026, 0, 1) / 1_000;
const at = (seconds: number, nanos = 0) =>
  `${new Date((start + seconds) * 1_000).toISOString().slice(0, 19)}.${String(nanos).padStart(9, "0")}Z`;
const text = Buffer.from("a line");

const nothing: SeenEntries = { add: () => undefined, forget: () => undefined, has: () => false, bytes: 0 };

test("the last lines given again are repeats, to the nanosecond", () => {
  const isRepeat = repeats();
  for (let n = 0; n < 20_000; n++) assert.not(isRepeat(at(0, n * 10), text, false));
  for (let n = 10_000; n < 20_000; n++) assert.ok(isRepeat(at(0, n * 10), text, false));
  assert.not(isRepeat(at(0, 199_985), text, false), "a nanosecond that did not come before is new");
  assert.not(isRepeat(at(0, 199_980), Buffer.from("other"), false), "another text of the same nanosecond is new");
});

test("every digit of a nanosecond counts, from the first to the last", () => {
  const isRepeat = repeats();
  assert.not(isRepeat(at(0, 999_999_999), text, false));
  for (const other of [99_999_999, 899_999_999, 999_999_990, 999_999_998])
    assert.not(isRepeat(at(0, other), text, false), `${other} is new`);
  assert.not(isRepeat(at(1), text, false));
  assert.ok(isRepeat(at(0, 999_999_999), text, false), "and the largest is known again");
});

test("a quiet log's last lines are known again, whatever the time between them", () => {
  const isRepeat = repeats();
  for (let n = 0; n < 50; n++) assert.not(isRepeat(at(n * 3_600), text, false));
  for (let n = 0; n < 50; n++) assert.ok(isRepeat(at(n * 3_600), text, false));
});

test("a clock that was set back makes no repeats", () => {
  const isRepeat = repeats();
  for (let n = 0; n < 100; n++) isRepeat(at(100, n), text, false);
  for (let n = 0; n < 100; n++) assert.not(isRepeat(at(50, n), text, false));
});

test("a whole file given again behind a flood is known, and what is new after it is new", () => {
  const isRepeat = repeats();
  const lines = Array.from(
    { length: 200_000 },
    (_, n) => [at(Math.floor(n / 50_000), (n % 50_000) * 1_000), Buffer.from(`flood ${n}`)] as const,
  );
  for (const [time, line] of lines) assert.not(isRepeat(time, line, false));
  for (const [time, line] of lines.slice(100_000)) assert.ok(isRepeat(time, line, false));
  const missed = lines.slice(0, 2_000).filter(([time], n) => isRepeat(time, Buffer.from(`other ${n}`), false));
  assert.ok(
    missed.length < 20,
    `${missed.length} of 2,000 that are new, in a flood whose clock was set back, are taken for repeats`,
  );
  assert.not(isRepeat(at(9), Buffer.from("new"), false));
});

test("a log holds little to know repeats by: nothing of long ago, and never much more than a MiB", () => {
  const isRepeat = repeats();
  const quietBytes = isRepeat.bytes;
  assert.ok(quietBytes <= 1_024);
  for (let n = 0; n < 40_000; n++) isRepeat(at(0, n), text, false);
  assert.ok(isRepeat.bytes <= 768 << 10, `${isRepeat.bytes}`);
  for (let n = 0; n < 1_000_000; n++) isRepeat(at(0, n * 50), text, false);
  assert.ok(isRepeat.bytes <= 1_280 << 10, `${isRepeat.bytes}`);
  for (let n = 10; n < 100; n++) isRepeat(at(n), text, false);
  assert.ok(isRepeat.bytes <= 4 * quietBytes, "a burst's memory goes with the burst");
});

test("property: memory that grows and goes again holds what a plain list of the last entries would", () => {
  const step = fc.record({
    seconds: fc.constantFrom(0, 0, 0, 1, 4, 5, 6),
    count: fc.integer({ min: 1, max: 120 }),
    again: fc.nat(200),
  });
  fc.assert(
    fc.property(fc.constantFrom(3, 64, 100, 400), fc.array(step, { maxLength: 12 }), (most, steps) => {
      const isRepeat = repeats(most, nothing);
      const list: { seconds: number; time: string }[] = [];
      let [seconds, nanos] = [0, 0];
      for (const { seconds: later, count, again } of steps) {
        seconds += later;
        for (let n = 0; n < count; n++) {
          const time = at(seconds, nanos++);
          assert.not(isRepeat(time, text, false), "newer than all");
          while (list.length > 64 && list[0]!.seconds < seconds - 5) list.shift();
          if (list.length === most) list.shift();
          list.push({ seconds, time });
        }
        const slots = isRepeat.bytes / 12;
        assert.ok(
          slots >= list.length && slots <= Math.max(Math.min(64, most), 4 * list.length),
          `${slots} for ${list.length}`,
        );
        for (const { time } of list.slice(-again)) assert.ok(isRepeat(time, text, false), "one that is held");
      }
      if (list.length === 0) return;
      const oldest = list[0]!;
      assert.ok(isRepeat(oldest.time, text, false));
      assert.not(isRepeat(at(oldest.seconds, 999_999_999), text, false));
    }),
    { numRuns: 60 },
  );
});

test("what is forgotten is as old as that: five seconds and more, and never the last sixty-four", () => {
  const filled = (laterBy: number, count: number) => {
    const isRepeat = repeats();
    for (let n = 0; n < count; n++) isRepeat(at(0, n), text, false);
    isRepeat(at(laterBy), text, false);
    return isRepeat(at(0, 0), text, false);
  };
  assert.equal([filled(5, 64), filled(5, 65), filled(6, 64), filled(6, 65)], [true, true, true, false]);
});

test("pieces of one line are new whatever they hold, until a line ends", () => {
  const isRepeat = repeats();
  const of = (piece: boolean, time = at(1, 5)) => isRepeat(time, text, piece);
  assert.equal([of(true), of(true), of(false), of(false)], [false, false, false, true]);
  assert.equal(
    [of(true, at(2)), of(true, at(1, 5)), of(false, at(2))],
    [false, true, false],
    "an older one is no piece of it",
  );
  assert.is(isRepeat("2026-01-01T00:00:09.5Z", text, false), false);
  assert.is(isRepeat("2026-01-01T00:00:09.500000000Z", text, false), true, "half a second however it is written");
  const [long, other] = ["a", "b"].map((last) => Buffer.from(`${"x".repeat(64)}${last}`)) as [Buffer, Buffer];
  assert.equal(
    [isRepeat(at(20), long, false), isRepeat(at(20), other, false)],
    [false, true],
    "told by its first 64 bytes",
  );
  assert.not(isRepeat(at(20), Buffer.from(`${"x".repeat(63)}yb`), false));
  assert.not(isRepeat(at(20), Buffer.from("x".repeat(66)), false), "and its length");
});

test.run();
