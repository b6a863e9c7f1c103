import { test } from "uvu";
import * as assert from "uvu/assert";
import { diskFloor, FLOOR_BYTES } from "../../../hostd/builds/disk-floor.ts";

const MIB = 1024 ** 2;

test("at the host's floor the build that grows ends, and those that only stand there go on", () => {
  const floor = diskFloor(500 * MIB);
  const look = (buildId: string, usedMib: number, freeMib: number, nowMs: number) =>
    floor.look(buildId, { usedBytes: usedMib * MIB, freeBytes: freeMib * MIB, nowMs });
  for (let n = 0; n < 3; n++) {
    assert.not(look("calm", 2_000, 3_000, n * 1_000));
    assert.not(look("greedy", 100 * n, 3_000, n * 1_000));
  }
  // Half a minute later the calm one's beginning is forgotten.
  assert.not(look("calm", 2_000, 400, 40_000));
  assert.not(look("greedy", 300, 400, 40_000));
  assert.not(look("calm", 2_000, 400, 41_000));
  assert.ok(look("greedy", 900, 400, 41_000));
  floor.forget("greedy");
  assert.not(look("calm", 2_001, 400, 42_000), "its room is given time to come back");
  assert.not(look("calm", 2_001, 400, 60_000), "what does not grow is not to blame");
});

test("one after the other: the next that grows ends only if the room has not come back", () => {
  const floor = diskFloor(500 * MIB);
  const look = (buildId: string, usedMib: number, nowMs: number) =>
    floor.look(buildId, { usedBytes: usedMib * MIB, freeBytes: 400 * MIB, nowMs });
  assert.ok(look("a", 100, 1_000));
  assert.not(look("b", 50, 2_000));
  floor.forget("a");
  assert.ok(look("b", 60, 12_000));
});

/** One build's looks, each a second after the one before unless it says when. */
function looks(
  floor: ReturnType<typeof diskFloor>,
  id: string,
  ...of: [usedBytes: number, freeBytes: number, nowMs?: number][]
) {
  return of.map(([usedBytes, freeBytes, nowMs], n) =>
    floor.look(id, { usedBytes, freeBytes, nowMs: nowMs ?? n * 1_000 }),
  );
}

test("a build ends below the floor and not at it, when it grew by 8 MiB and not by less", () => {
  const floor = 512 * MIB;
  assert.is(FLOOR_BYTES, floor);
  assert.equal(looks(diskFloor(), "a", [8 * MIB, floor]), [false]);
  assert.equal(looks(diskFloor(), "a", [8 * MIB, floor - 1]), [true]);
  assert.equal(looks(diskFloor(), "a", [8 * MIB - 1, 0]), [false]);
});

test("what it grew by more than half a minute ago does not count", () => {
  const of = (nowMs: number) => looks(diskFloor(), "a", [50 * MIB, FLOOR_BYTES, 0], [50 * MIB, 0, nowMs])[1];
  assert.equal([of(30_000), of(30_001)], [true, false]);
});

test("ten seconds after one ended the next may, and of two that grew alike the one that is looked at", () => {
  const floor = diskFloor();
  assert.equal(looks(floor, "a", [50 * MIB, 0, 0]), [true]);
  assert.equal(looks(floor, "b", [50 * MIB, 0, 9_999], [50 * MIB, 0, 10_000]), [false, true]);
});

test("the one that grew most ends, and one that is forgotten is in nobody's way", () => {
  const floor = diskFloor();
  assert.equal(looks(floor, "a", [50 * MIB, FLOOR_BYTES]), [false]);
  assert.equal(looks(floor, "b", [49 * MIB, 0]), [false]);
  floor.forget("a");
  assert.equal(looks(floor, "b", [49 * MIB, 0]), [true]);
});

test("a build that is looked at all the time is judged by what it grew by in the last half minute", () => {
  const floor = diskFloor();
  let nowMs = 0;
  const grows = (byMib: number) => {
    nowMs += 1_000;
    used += byMib;
    return floor.look("a", { usedBytes: used * MIB, freeBytes: FLOOR_BYTES, nowMs });
  };
  let used = 0;
  for (let n = 0; n < 60; n++) assert.not(grows(1));
  assert.ok(floor.look("a", { usedBytes: used * MIB, freeBytes: 0, nowMs }), "30 MiB in half a minute");
  for (let n = 0; n < 60; n++) assert.not(grows(0));
  assert.not(floor.look("a", { usedBytes: used * MIB, freeBytes: 0, nowMs }), "it stands still");
});

test.run();
