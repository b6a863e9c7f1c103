import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { formatDuration, formatSize, parseDuration, parseSize } from "#lib/units.ts";

test("durations are read in every unit people write", () => {
  const cases: [string, number][] = [
    ["1500ms", 1_500],
    ["30s", 30_000],
    ["1.5s", 1_500],
    ["5m", 300_000],
    ["2h", 7_200_000],
    ["7d", 604_800_000],
    [" 1s ", 1_000],
    ["0s", 0],
  ];
  for (const [text, ms] of cases) assert.is(parseDuration(text), ms, text);
});

test("what is no duration is undefined", () => {
  for (const text of ["", "30", "s", "-1s", "1 s", "1e3s", "1s2s", "1S", "NaNs", "١s"])
    assert.is(parseDuration(text), undefined, text);
});

test("sizes are read in powers of 1024 and, with a plain B, of 1000", () => {
  const cases: [string, number][] = [
    ["1048576", 1_048_576],
    ["0", 0],
    ["512MiB", 512 * 1024 ** 2],
    ["512m", 512 * 1024 ** 2],
    ["4GiB", 4 * 1024 ** 3],
    ["4 GiB", 4 * 1024 ** 3],
    ["10GB", 10_000_000_000],
    ["1.5k", 1_536],
    ["2TiB", 2 * 1024 ** 4],
  ];
  for (const [text, bytes] of cases) assert.is(parseSize(text), bytes, text);
});

test("what is no size is undefined, names of Object.prototype included", () => {
  for (const text of ["", "GiB", "-1", "1XB", "1constructor", "1toString", "1__proto__", "0x10", "1,5G"]) {
    assert.is(parseSize(text), undefined, text);
  }
});

test("sizes and durations are shown with the unit a person would choose", () => {
  assert.equal([0, 1_023, 1_024, 1_536, 150 * 1024, 4 * 1024 ** 3].map(formatSize), [
    "0 B",
    "1023 B",
    "1 KiB",
    "1.5 KiB",
    "150 KiB",
    "4 GiB",
  ]);
  assert.equal([840, 12_345, 245_000, 11_400_000, 187_200_000].map(formatDuration), [
    "840ms",
    "12.3s",
    "4m05s",
    "3h10m",
    "2d4h",
  ]);
});

test("no duration is shown with 60 in its lesser place", () => {
  const edges = [999.6, 59_949, 59_950, 59_999, 3_599_499, 3_599_500, 86_399_499, 86_399_999];
  assert.equal(edges.map(formatDuration), ["1.0s", "59.9s", "1m00s", "1m00s", "59m59s", "1h00m", "23h59m", "1d0h"]);
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 10_000_000_000 }), (ms) =>
      assert.not.match(formatDuration(ms), /(^|[a-z])60(\.0)?[sm]/),
    ),
  );
});

test("a size shown in whole units is read back as itself", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 1_023 }),
      fc.constantFrom(1, 1024, 1024 ** 2, 1024 ** 3, 1024 ** 4),
      (n, unit) => {
        assert.is(parseSize(formatSize(n * unit)), n * unit);
      },
    ),
  );
});

test.run();
