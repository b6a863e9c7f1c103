// What a job may have on disk, each rule at its bound.
import { test } from "uvu";
import * as assert from "uvu/assert";
import {
  excessReason,
  greediest,
  inodeLimit,
  inodesReason,
  isDue,
  largestOwn,
  shortOfInodes,
  sizeWord,
  uncounted,
  WARN_AT,
  warning,
  written,
} from "../../../hostd/job-disk/rules.ts";

const MIB = 1024 ** 2;
const GIB = 1024 ** 3;

const LIMIT = 1_000 * MIB;
const counted = (over: object = {}) => ({ usedBytes: 100 * MIB, atMs: 5_000, tookMs: 0, writtenBytes: 7, ...over });
const due = (of: object, over: { afterMs: number; wrote?: number; took?: number }) =>
  isDue(counted(of), {
    limitBytes: LIMIT,
    writtenBytes: 7 + (over.wrote ?? 0),
    takenInodes: over.took ?? 0,
    nowMs: 5_000 + over.afterMs,
  });

test("a job is counted at most every 0.9 s, and at most a tenth of the time", () => {
  const much = { wrote: 2 * LIMIT };
  assert.equal([due({}, { afterMs: 899, ...much }), due({}, { afterMs: 900, ...much })], [false, true]);
  const slow = { tookMs: 500 };
  assert.equal([due(slow, { afterMs: 4_999, ...much }), due(slow, { afterMs: 5_000, ...much })], [false, true]);
});

test("a job is counted as soon as it may have reached its warning, and after that its limit", () => {
  assert.is(WARN_AT, 0.8);
  const at = (usedBytes: number, wrote: number) => due({ usedBytes }, { afterMs: 1_000, wrote });
  assert.equal([at(100 * MIB, 700 * MIB - 1), at(100 * MIB, 700 * MIB)], [false, true]);
  assert.equal([at(800 * MIB, 200 * MIB - 1), at(800 * MIB, 200 * MIB)], [false, true]);
  assert.equal([at(2 * LIMIT, 0), at(2 * LIMIT, 1)], [false, true], "beyond its limit any byte counts");
});

test("so it is with files", () => {
  const most = inodeLimit(LIMIT);
  const at = (inodes: number, took: number) => due({ inodes, takenInodes: 0 }, { afterMs: 1_000, took });
  assert.equal([at(most - 10, 9), at(most - 10, 10)], [false, true]);
  assert.equal([at(most + 10, 0), at(most + 10, 1)], [false, true]);
  assert.not(due({ takenInodes: 500_000 }, { afterMs: 1_000, took: 500_000 }), "what was taken before its count");
  assert.ok(due({}, { afterMs: 1_000, took: most }), "one whose files were never counted has none");
});

test("on a quiet disk a job is counted every five minutes, on a busy one every half", () => {
  const quiet = { wrote: 4 * MIB - 1, took: 9_999 };
  assert.equal([due({}, { afterMs: 299_999, ...quiet }), due({}, { afterMs: 300_000, ...quiet })], [false, true]);
  for (const busy of [{ wrote: 4 * MIB }, { took: 10_000 }])
    assert.equal([due({}, { afterMs: 29_999, ...busy }), due({}, { afterMs: 30_000, ...busy })], [false, true]);
});

test("files may be so many as 8 KiB each fill the limit, and never fewer than 100,000", () => {
  assert.equal(
    [0, 100_000 * 8_192, 100_001 * 8_192, 100_001 * 8_192 + 8_191].map(inodeLimit),
    [100_000, 100_000, 100_001, 100_001],
  );
});

test("what is taken adds up from look to look; the first look and what is freed add nothing", () => {
  const first = written(undefined, { freeBytes: 100, freeInodes: 10 });
  assert.equal(first, { writtenBytes: 0, freeBytes: 100, takenInodes: 0, freeInodes: 10 });
  const second = written(first, { freeBytes: 70, freeInodes: 9 });
  assert.equal(second, { writtenBytes: 30, freeBytes: 70, takenInodes: 1, freeInodes: 9 });
  const freed = written(second, { freeBytes: 200, freeInodes: 20 });
  assert.equal(freed, { writtenBytes: 30, freeBytes: 200, takenInodes: 1, freeInodes: 20 });
  assert.equal(written(freed, { freeBytes: 195 }), {
    writtenBytes: 35,
    freeBytes: 195,
    takenInodes: 21,
    freeInodes: 0,
  });
});

test("words say how much, of how much, and the command that doubles it", () => {
  assert.equal([1, 999_999, 1_000_001, 999_999_999, 1e9, 1e9 + 1].map(sizeWord), [
    "1MB",
    "1MB",
    "2MB",
    "1000MB",
    "1GB",
    "2GB",
  ]);
  assert.is(
    warning("web", 805 * MIB, LIMIT),
    "Disk is 80 % full: 805 MiB of 1000 MiB; beyond it the job ends. Raise it: flynn limit set web disk=3GB",
  );
  assert.match(excessReason("web", 1, 100 * MIB), /disk=210MB$/);
  assert.match(inodesReason("web", 1, 1), /disk=2GB$/);
});

const unknown = (id: string, grownBytes: number, over: object = {}) => ({
  id,
  times: 2,
  reason: "",
  grownBytes,
  leftBytes: 100 * MIB,
  ...over,
});
const ends = (of: ReturnType<typeof unknown>[], freeBytes: number, over: object = {}) =>
  uncounted(of, { freeBytes, reserveBytes: GIB, ...over })?.id;

test("one that cannot be counted ends when it may have passed its limit, after two failures", () => {
  const plenty = 9 * GIB;
  assert.equal(
    [ends([unknown("a", 100 * MIB - 1)], plenty), ends([unknown("a", 100 * MIB)], plenty)],
    [undefined, "a"],
  );
  assert.is(ends([unknown("a", 100 * MIB, { times: 1 })], plenty), undefined);
  const none = { leftBytes: 0 };
  assert.equal(
    [ends([unknown("a", 4 * MIB - 1, none)], plenty), ends([unknown("a", 4 * MIB, none)], plenty)],
    [undefined, "a"],
  );
});

test("below the reserve one ends that may have written, below half of it any, and of several the one with most", () => {
  const once = { times: 1 };
  const still = unknown("a", 0, once);
  const stirring = unknown("a", 4 * MIB, once);
  assert.equal([ends([stirring], GIB), ends([stirring], GIB - 1)], [undefined, "a"]);
  assert.equal([ends([unknown("a", 4 * MIB - 1, once)], GIB - 1), ends([still], GIB / 2)], [undefined, undefined]);
  assert.equal([ends([still], GIB / 2 - 1), ends([unknown("a", 0, { times: 0 })], 0)], ["a", undefined]);
  assert.is(ends([unknown("a", 1), unknown("b", 3), unknown("c", 2)], 0), "b");
  assert.is(ends([], 0), undefined);
  const inodes = (freeInodes: number) => ({ inodes: 1_000, freeInodes });
  assert.equal([ends([stirring], 9 * GIB, inodes(20)), ends([stirring], 9 * GIB, inodes(19))], [undefined, "a"]);
  assert.equal([ends([still], 9 * GIB, inodes(10)), ends([still], 9 * GIB, inodes(9))], [undefined, "a"]);
});

test("a file system is short of inodes below a fiftieth of them, and never where it knows no number", () => {
  assert.equal(
    [{ inodes: 1_000, freeInodes: 20 }, { inodes: 1_000, freeInodes: 19 }, { inodes: 0, freeInodes: 0 }, {}].map((of) =>
      shortOfInodes(of),
    ),
    [false, true, false, false],
  );
  assert.equal(
    [shortOfInodes({ inodes: 1_000, freeInodes: 10 }, 0.5), shortOfInodes({ inodes: 1_000, freeInodes: 9 }, 0.5)],
    [false, true],
  );
  assert.ok(shortOfInodes({ inodes: 1_000 }));
});

const grown = (id: string, grownBytes: number, over: object = {}) => ({ id, process: "web", grownBytes, ...over });

test("whoever grew most ends below half of the reserve, if it grew by 64 MiB, and hears how much", () => {
  const standing = (freeBytes: number) => ({ freeBytes, reserveBytes: GIB });
  const two = [grown("a", 64 * MIB), grown("b", 65 * MIB), grown("c", 64 * MIB)];
  assert.is(greediest(two, standing(GIB / 2)), undefined);
  assert.equal(greediest(two, standing(GIB / 2 - MIB)), {
    ...two[1]!,
    reason: "the host's disk is almost full (511 MiB left), and this job grew most: 65 MiB in the last minute",
  });
  assert.is(greediest([grown("a", 64 * MIB)], standing(0))?.id, "a");
  assert.is(greediest([grown("a", 64 * MIB - 1)], standing(0)), undefined);
});

test("without inodes it is who made most files, if 10,000; else bytes decide, where those are short too", () => {
  const standing = { freeBytes: 9 * GIB, reserveBytes: GIB, inodes: 1_000_000, freeInodes: 9_999 };
  const makers = [grown("a", GIB, { grownInodes: 10_000 }), grown("b", 0, { grownInodes: 10_001 })];
  assert.equal(greediest(makers, standing), {
    ...makers[1]!,
    reason:
      "the host's disk has almost no inodes left (9999), and this job grew most: 10001 files and directories in the last minute",
  });
  assert.is(greediest([grown("a", GIB, { grownInodes: 9_999 })], standing), undefined);
  assert.is(greediest([grown("a", GIB)], { ...standing, freeBytes: 0 })?.id, "a");
  assert.is(greediest(makers, { ...standing, freeInodes: 10_000 }), undefined);
});

test("who keeps most files in sockets ends when 64 MiB were written that no count shows", () => {
  const standing = (writtenBytes?: number) => ({
    freeBytes: 0,
    reserveBytes: GIB,
    ...(writtenBytes === undefined ? {} : { writtenBytes }),
  });
  const parked = [grown("a", 10 * MIB, { parkedFiles: 1 }), grown("b", -99 * MIB, { parkedFiles: 2 }), grown("c", 0)];
  assert.equal(greediest(parked, standing(74 * MIB)), {
    ...parked[1]!,
    reason:
      "the host's disk is almost full (0 B left), and this job keeps files in sockets, where they cannot be counted",
  });
  assert.is(greediest(parked, standing(74 * MIB - 1)), undefined);
  assert.is(greediest(parked, standing()), undefined);
  assert.is(greediest([grown("c", 0)], standing(GIB)), undefined);
  assert.is(greediest(parked.slice(0, 1), standing(GIB))?.id, "a");
});

test("of containers' own files the most end who has it, at seven eighths of their memory, beyond 24 MiB", () => {
  const owns = [{ ownBytes: 24 * MIB }, { ownBytes: 25 * MIB }, { ownBytes: 1 }];
  const sizes = (freeBytes: number) => ({ sizeBytes: 800 * MIB, freeBytes });
  assert.is(largestOwn(owns, sizes(100 * MIB)), undefined);
  assert.equal(largestOwn(owns, sizes(99 * MIB)), {
    ownBytes: 25 * MIB,
    reason:
      "the host's memory for containers' own files is almost full (99 MiB left), and this job has most of it: 25 MiB in /etc/hosts, /etc/hostname, /etc/resolv.conf",
  });
  assert.is(largestOwn(owns.slice(0, 1), sizes(0))?.ownBytes, 24 * MIB);
  assert.is(largestOwn([{ ownBytes: 24 * MIB - 1 }], sizes(0)), undefined);
});

test.run();
