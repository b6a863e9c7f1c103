// A disk that gets slow shows: the worst write of the last half minute, by a clock that the test holds.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { writeLatency } from "../../../control/store/write-latency.ts";

function watched() {
  const clock = { ms: 1_000_000 };
  const latency = writeLatency(() => clock.ms);
  const took = (ms: number) => {
    const end = latency.begin();
    clock.ms += ms;
    end();
  };
  return { clock, latency, took };
}

test("the worst of the writes counts, and one under way for as long as it has taken", () => {
  const { clock, latency, took } = watched();
  assert.is(latency.worstMs(), 0);
  took(5);
  took(40);
  took(10);
  assert.is(latency.worstMs(), 40);
  const end = latency.begin();
  clock.ms += 30;
  assert.is(latency.worstMs(), 40);
  clock.ms += 70;
  assert.is(latency.worstMs(), 100);
  const other = latency.begin();
  clock.ms += 1;
  assert.is(latency.worstMs(), 101, "the older of two");
  other();
  end();
  assert.is(latency.worstMs(), 101);
});

test("a slow write is known for half a minute at least and a minute at most", () => {
  for (const [at, until] of [
    [0, 60_000],
    [29_999, 60_000],
    [30_000, 90_000],
    [59_999, 90_000],
  ] as const) {
    const { clock, latency, took } = watched();
    clock.ms += at;
    took(0);
    const end = latency.begin();
    clock.ms -= 7;
    end();
    const slow = latency.begin();
    clock.ms += 7;
    slow();
    clock.ms = 1_000_000 + until - 1;
    assert.is(latency.worstMs(), 7, `${at}`);
    clock.ms = 1_000_000 + until;
    assert.is(latency.worstMs(), 0, `${at}`);
  }
});

test("after a long silence nothing old is left, and the next writes count anew", () => {
  const { clock, latency, took } = watched();
  took(50);
  clock.ms += 3_600_000;
  assert.is(latency.worstMs(), 0);
  took(3);
  assert.is(latency.worstMs(), 3);
  clock.ms += 30_000;
  assert.is(latency.worstMs(), 3, "the half minute before this one");
  took(2);
  clock.ms += 30_000;
  assert.is(latency.worstMs(), 2);
});

test.run();
