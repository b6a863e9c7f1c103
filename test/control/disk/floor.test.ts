// How much of control's disks must stay free: to the byte and the file, and in words.
import { test } from "uvu";
import * as assert from "uvu/assert";
import {
  type DiskState,
  diskPart,
  floorOf,
  lowFault,
  nextState,
  type Reading,
  roomFault,
} from "../../../control/disk/floor.ts";

const GIB = 1024 ** 3;
const reading = (over: Partial<Reading> = {}): Reading => ({
  path: "/var/lib/flynn",
  freeBytes: 50 * GIB,
  totalBytes: 100 * GIB,
  ...over,
});
const none: ReadonlySet<string> = new Set();
const was: ReadonlySet<string> = new Set(["/var/lib/flynn"]);
const isLow = (wasLow: ReadonlySet<string>, over: Partial<Reading>, configured = 0) =>
  nextState(wasLow, [reading(over)], configured)!.low;

test("two hundredths stay free, 1 GiB at least and 10 GiB at most, unless it is set otherwise", () => {
  assert.equal(
    [0, 10 * GIB, 50 * GIB, 50 * GIB + 50, 100 * GIB, 500 * GIB, 501 * GIB, 9_000 * GIB].map((total) =>
      floorOf(total, 0),
    ),
    [GIB, GIB, GIB, GIB + 1, 2 * GIB, 10 * GIB, 10 * GIB, 10 * GIB],
  );
  assert.equal([floorOf(100 * GIB, 1), floorOf(100 * GIB, 30 * GIB)], [1, 30 * GIB]);
});

test("below the floor it is low, and stays so until there is a tenth more", () => {
  const floor = 2 * GIB;
  const resume = Math.ceil(floor * 1.1);
  assert.equal([isLow(none, { freeBytes: floor }), isLow(none, { freeBytes: floor - 1 })], [false, true]);
  assert.equal([isLow(was, { freeBytes: resume }), isLow(was, { freeBytes: resume - 1 })], [false, true]);
  assert.equal([isLow(new Set(["/other"]), { freeBytes: floor })], [false]);
  assert.equal([isLow(none, { freeBytes: 100 }, 100), isLow(none, { freeBytes: 99 }, 100)], [false, true]);
  const { floorBytes, resumeBytes, path, freeBytes } = nextState(none, [reading()], 0)!;
  assert.equal([floorBytes, resumeBytes, path, freeBytes], [floor, resume, "/var/lib/flynn", 50 * GIB]);
});

test("so it is with files where a file system has a number of them, and nowhere else", () => {
  const low = (wasLow: ReadonlySet<string>, freeInodes: number) => isLow(wasLow, { inodes: 1_000, freeInodes });
  assert.equal([low(none, 20), low(none, 19), low(was, 22), low(was, 21)], [false, true, false, true]);
  assert.equal(
    [isLow(none, { inodes: 0, freeInodes: 0 }), isLow(none, { freeInodes: 0 }), isLow(none, {})],
    [false, false, false],
  );
  assert.ok(isLow(none, { inodes: 1_000 }), "none are left");
  assert.ok(isLow(none, { inodes: 1, freeInodes: 0 }), "nor of a single one");
});

test("of several file systems the one nearest to its floor is told of, and one that is low before any that is not", () => {
  const worst = (...of: Partial<Reading>[]) =>
    nextState(
      none,
      of.map((each) => reading(each)),
      0,
    )?.path;
  const roomy = { path: "/roomy" };
  const near = { path: "/near", freeBytes: 3 * GIB };
  const low = { path: "/low", freeBytes: GIB };
  const lower = { path: "/lower", freeBytes: GIB / 2 };
  const fileless = { path: "/fileless", inodes: 100, freeInodes: 0 };
  assert.is(worst(), undefined);
  assert.equal([worst(roomy, near), worst(near, roomy)], ["/near", "/near"]);
  assert.equal(
    [worst(near, low), worst(low, near), worst(low, lower), worst(lower, low)],
    ["/low", "/low", "/lower", "/lower"],
  );
  assert.equal([worst(near, fileless), worst(fileless, near)], ["/fileless", "/fileless"]);
  assert.is(worst({ path: "/one" }, { path: "/two" }), "/one", "of two alike the first");
});

const state = (over: Partial<DiskState> = {}): DiskState => ({
  ...reading({ freeBytes: GIB }),
  low: true,
  floorBytes: 2 * GIB,
  resumeBytes: 3 * GIB,
  ...over,
});

test("what is refused says what is free, from when on it is taken, and what to do", () => {
  const ways = "Free space there: delete an app (flynn -a APP delete), or give control a larger disk";
  const low = lowFault(state());
  assert.equal([low.code, low.details], ["no-capacity", { freeBytes: GIB, floorBytes: 2 * GIB, resumeBytes: 3 * GIB }]);
  assert.is(low.message, `control has 1 GiB free on /var/lib/flynn; uploads start again at 3 GiB. ${ways}`);
  const room = roomFault(state(), 5 * GIB);
  assert.equal([room.code, room.details], ["no-capacity", { freeBytes: GIB, floorBytes: 2 * GIB, needBytes: 5 * GIB }]);
  assert.is(
    room.message,
    `control has 1 GiB free on /var/lib/flynn; an upload of 5 GiB would leave less than the 2 GiB that stay free. ${ways}`,
  );
  assert.match(
    lowFault(state({ inodes: 1_000, freeInodes: 21 })).message,
    /^control has 1 GiB and 21 of 1000 inodes free on/,
  );
  assert.match(lowFault(state({ inodes: 1_000, freeInodes: 22 })).message, /^control has 1 GiB free on/);
});

test("the status says how the disk stands", () => {
  const part = (of: DiskState | undefined) => {
    const { name, state: how, message } = diskPart(of);
    return [name, how, message];
  };
  assert.equal(part(undefined), ["disk", "degraded", "the free space of control's disk cannot be read"]);
  assert.equal(part(state()), [
    "disk",
    "degraded",
    "1 GiB of 100 GiB free on /var/lib/flynn; uploads and pushes are refused until 3 GiB are",
  ]);
  assert.equal(part(state({ low: false, inodes: 100, freeInodes: 2 })), [
    "disk",
    "ok",
    "1 GiB of 100 GiB and 2 of 100 inodes free on /var/lib/flynn; uploads and pushes are refused below 2 GiB",
  ]);
});

test.run();
