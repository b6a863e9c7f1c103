// What a job may have on disk: the rules, the walk on real files, and the watch over both.
import { once } from "node:events";
import { link, mkdir, mkdtemp, open, rm, symlink, truncate, unlink, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { silentLog } from "#lib/log.ts";
import { until } from "#lib/time.ts";
import { parseSize } from "#lib/units.ts";
import { hasQuota } from "../../../hostd/engine/docker-quota.ts";
import type { Container } from "../../../hostd/engine/engine.ts";
import {
  excessReason,
  greediest,
  inodeLimit,
  inodesReason,
  isDue,
  largestOwn,
  sizeWord,
  uncounted,
  written,
} from "../../../hostd/job-disk/rules.ts";
import { pressureAfter, readMemory, reserveOf } from "../../../hostd/job-disk/space.ts";
import { heldFiles, treesBytes, treesInodes, Uncountable } from "../../../hostd/job-disk/use.ts";
import { watchDisk } from "../../../hostd/job-disk/watch.ts";
import { container, job } from "../jobs.ts";

const MIB = 1024 ** 2;
const GIB = 1024 ** 3;
const count = (over: object = {}) => ({ usedBytes: 100 * MIB, atMs: 0, tookMs: 10, writtenBytes: 0, ...over });

const DUE: [claim: string, of: Parameters<typeof isDue>[0], over: object, due: boolean][] = [
  ["one that was never counted", undefined, {}, true],
  ["one counted a moment ago, though much was written", count(), { nowMs: 500, writtenBytes: GIB }, false],
  ["one that may have passed its warning", count(), { nowMs: 1_000, writtenBytes: 800 * MIB }, true],
  ["one that cannot have passed it", count(), { nowMs: 1_000, writtenBytes: 600 * MIB }, false],
  [
    "a warned one that may have passed its limit",
    count({ usedBytes: GIB - 1 }),
    { nowMs: 1_000, writtenBytes: 1 },
    true,
  ],
  ["a slow walk's, that has not rested", count({ tookMs: 2_000 }), { nowMs: 19_000, writtenBytes: GIB }, false],
  ["one not looked at for half a minute on a busy disk", count(), { nowMs: 30_000, writtenBytes: 5 * MIB }, true],
  ["one on a quiet disk", count(), { nowMs: 30_000, writtenBytes: MIB }, false],
];
for (const [claim, of, over, due] of DUE)
  test(`${claim} is ${due ? "" : "not "}counted now`, () => {
    assert.is(isDue(of, { limitBytes: GIB, writtenBytes: 0, takenInodes: 0, nowMs: 0, ...over }), due);
  });

test("what somebody frees hides nothing of what another writes", () => {
  let trace = written(undefined, { freeBytes: 1_000, freeInodes: 1_000 });
  for (const free of [900, 950, 700, 990]) trace = written(trace, { freeBytes: free, freeInodes: free });
  assert.is(trace.writtenBytes, 350);
  assert.is(trace.takenInodes, 350);
});

test("the reason says how much it was and how to raise the limit, in words that the command takes", () => {
  const reason = excessReason("web", 4.1 * GIB, 4 * GIB);
  assert.is(reason, "used 4.1 GiB of disk; its limit is 4 GiB. Raise it: flynn limit set web disk=9GB");
  assert.ok(parseSize(sizeWord(8 * GIB))! >= 8 * GIB);
  assert.ok(parseSize(sizeWord(32 * MIB))! >= 32 * MIB);
});

test("when the host runs short, whoever grew most ends, and nobody who did not", () => {
  const grown = (id: string, grownBytes: number) => ({ id, process: "web", grownBytes });
  const short = { freeBytes: 100 * MIB, reserveBytes: GIB };
  assert.is(greediest([grown("a", 70 * MIB), grown("b", 300 * MIB)], short)?.id, "b");
  assert.is(greediest([grown("a", 1 * MIB)], short), undefined);
  assert.is(greediest([grown("a", 300 * MIB)], { ...short, freeBytes: 900 * MIB }), undefined);
});

const silent = (id: string, over: object = {}) => ({
  ...{ id, times: 2, reason: "its files could not be counted within 30 s", grownBytes: 0, leftBytes: GIB },
  ...over,
});
const UNCOUNTED: [claim: string, unknown: ReturnType<typeof silent>[], free: number, ends: string | undefined][] = [
  ["one that may have passed its limit ends", [silent("a", { grownBytes: GIB })], 50 * GIB, "a"],
  ["one that cannot have passed it goes on", [silent("a", { grownBytes: GIB - 1 })], 50 * GIB, undefined],
  ["one failure is none yet", [silent("a", { grownBytes: GIB, times: 1 })], 50 * GIB, undefined],
  ["one never counted ends once the disk shrinks", [silent("a", { grownBytes: 5 * MIB, leftBytes: 0 })], 50 * GIB, "a"],
  ["nobody ends for a disk that stands", [silent("a", { leftBytes: 0 })], 0.9 * GIB, undefined],
  ["once is enough while the disk is almost full", [silent("a", { times: 1 })], 0.4 * GIB, "a"],
  ["a counted one is never meant", [silent("a", { times: 0, grownBytes: 9 * GIB })], 0.4 * GIB, undefined],
  ["the one silent for longest ends", [silent("a", { grownBytes: 1 }), silent("b", { grownBytes: 2 })], 0, "b"],
];
for (const [claim, unknown, freeBytes, ends] of UNCOUNTED)
  test(`of jobs that cannot be counted: ${claim}`, () => {
    assert.is(uncounted(unknown, { freeBytes, reserveBytes: GIB })?.id, ends);
  });

test("files without a byte are limited too, in words that say how to have more", () => {
  assert.equal([inodeLimit(32 * MIB), inodeLimit(4 * GIB)], [100_000, 524_288]);
  assert.is(
    inodesReason("web", 600_000, 4 * GIB),
    "has 600000 files and directories; its limit is 524288. Raise it: flynn limit set web disk=9GB",
  );
  const raised = /disk=(\S+)$/.exec(inodesReason("web", 100_001, 32 * MIB))![1]!;
  assert.ok(inodeLimit(parseSize(raised)!) > 100_001, "the words help");
  const state = { limitBytes: GIB, writtenBytes: 0, nowMs: 2_000 };
  assert.ok(isDue(count({ takenInodes: 5, inodes: 50_000 }), { ...state, takenInodes: 131_000 }));
  assert.not(isDue(count({ takenInodes: 5, inodes: 50_000 }), { ...state, takenInodes: 9_000 }));
});

test("when the host runs out of inodes, who made most files ends, and it takes no new jobs", () => {
  const grown = (id: string, grownInodes: number) => ({ id, process: "web", grownBytes: 0, grownInodes });
  const standing = { freeBytes: 50 * GIB, reserveBytes: GIB, inodes: 1_000_000, freeInodes: 9_000 };
  assert.is(greediest([grown("a", 20_000), grown("b", 400_000)], standing)?.id, "b");
  assert.is(greediest([grown("a", 400)], standing), undefined);
  assert.is(greediest([grown("a", 400_000)], { ...standing, freeInodes: 15_000 }), undefined);
  const plenty = { sizeBytes: 20 * GIB, freeBytes: 10 * GIB, reserveBytes: GIB };
  const after = (freeInodes: number, inodes: number) =>
    pressureAfter([], { disk: { ...plenty, inodes, freeInodes }, memory: plenty });
  assert.equal([after(19_999, 1_000_000), after(20_000, 1_000_000), after(0, 0)], [["disk"], [], []]);
});

test("growth that no count explains ends who keeps files in sockets, and nobody else", () => {
  const grown = (id: string, parkedFiles: number) => ({ id, process: "web", grownBytes: 0, parkedFiles });
  const standing = { freeBytes: 100 * MIB, reserveBytes: GIB, writtenBytes: 300 * MIB };
  assert.is(greediest([grown("a", 0), grown("b", 3)], standing)?.id, "b");
  assert.is(greediest([grown("a", 0)], standing), undefined);
  assert.is(greediest([grown("b", 3)], { ...standing, writtenBytes: MIB }), undefined);
});

test("memory that holds containers' own files is kept from one that fills it below its limit", () => {
  const owns = [
    { id: "a", ownBytes: 21 * MIB },
    { id: "b", ownBytes: 300 * MIB },
  ];
  assert.is(largestOwn(owns, { sizeBytes: 512 * MIB, freeBytes: 20 * MIB })?.id, "b");
  assert.is(largestOwn(owns, { sizeBytes: 512 * MIB, freeBytes: 100 * MIB }), undefined);
  assert.is(largestOwn(owns.slice(0, 1), { sizeBytes: 512 * MIB, freeBytes: 0 }), undefined, "its kept output");
});

test("pressure begins when the reserve is touched, and ends by itself when half as much again is free", () => {
  const plenty = { sizeBytes: 20 * GIB, freeBytes: 10 * GIB, reserveBytes: GIB };
  const after = (before: ("disk" | "memory")[], freeBytes: number) =>
    pressureAfter(before, { disk: { ...plenty, freeBytes }, memory: plenty });
  assert.equal(after([], 1.2 * GIB), []);
  assert.equal(after([], 0.9 * GIB), ["disk"]);
  assert.equal(after(["disk"], 1.2 * GIB), ["disk"]);
  assert.equal(after(["disk"], 1.6 * GIB), []);
  assert.equal([reserveOf(2 * GIB), reserveOf(500 * GIB)], [Math.round(GIB / 10), GIB]);
  const meminfo = "MemTotal:        1024 kB\nMemFree:          1 kB\nMemAvailable:    512 kB\n";
  assert.equal(readMemory(meminfo), { sizeBytes: MIB, freeBytes: MIB / 2 });
});

test("a kernel limit is asked for only where Docker has one: overlay2 on xfs with project quotas", () => {
  const line = (point: string, type: string, options: string) =>
    `36 35 98:0 / ${point} rw,noatime master:1 - ${type} /dev/sda ${options}`;
  const info = {
    Driver: "overlay2",
    DriverStatus: [["Backing Filesystem", "xfs"]] as [string, string][],
    DockerRootDir: "/var/lib/docker",
  };
  const root = line("/", "ext4", "rw");
  assert.ok(hasQuota(info, `${root}\n${line("/var/lib/docker", "xfs", "rw,prjquota")}\n`));
  assert.not.ok(hasQuota(info, `${root}\n${line("/var/lib/docker", "xfs", "rw")}\n`));
  assert.not.ok(hasQuota(info, `${line("/", "xfs", "rw,prjquota")}\n${line("/var/lib", "xfs", "rw,noquota")}\n`));
  assert.not.ok(hasQuota({ ...info, DriverStatus: [["Backing Filesystem", "extfs"]] }, `${root}\n`));
  const whole = line("/", "xfs", "rw,pquota");
  assert.ok(hasQuota(info, whole), "the older name, on the root itself");
  assert.ok(hasQuota({ ...info, DockerRootDir: "/" }, whole));
  for (const [lacks, over] of [
    ["another driver", { Driver: "btrfs" }],
    ["no status", { DriverStatus: null }],
    ["a status that does not say", { DriverStatus: [["Supports d_type", "true"]] as [string, string][] }],
    ["no folder", { DockerRootDir: undefined as never }],
  ] as const)
    assert.is(hasQuota({ ...info, ...over }, whole), false, lacks);
  const beside = [line("/var/lib/dock", "xfs", "rw"), line("/var/lib/docker-old", "xfs", "rw"), "", "36 35"].join("\n");
  assert.ok(hasQuota(info, `${whole}\n${beside}`), "folders beside it are not above it");
  const over = [line("/var/lib/docker", "xfs", "rw,prjquota"), line("/var/lib/docker", "xfs", "rw")];
  assert.equal(
    [hasQuota(info, over.join("\n")), hasQuota(info, over.toReversed().join("\n"))],
    [false, true],
    "the last mounted there",
  );
  assert.not(hasQuota(info, ""));
});

async function withDirectory(body: (directory: string) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), "flynn-disk-"));
  await body(directory).finally(() => rm(directory, { recursive: true, force: true }));
}

test("holes count nothing, a file of two names counts once, and a tree that is not there is no error", () =>
  withDirectory(async (directory) => {
    const [upper, volume] = [join(directory, "upper"), join(directory, "volume")];
    await mkdir(upper);
    await mkdir(volume);
    await writeFile(join(upper, "real"), Buffer.alloc(4 * MIB, 1));
    await link(join(upper, "real"), join(upper, "again"));
    await writeFile(join(upper, "sparse"), "");
    await truncate(join(upper, "sparse"), 10 * GIB);
    await writeFile(join(volume, "more"), Buffer.alloc(2 * MIB, 1));
    const bytes = await treesBytes([upper, volume, join(directory, "nowhere")]);
    assert.ok(bytes >= 6 * MIB && bytes < 6.5 * MIB, `${bytes}`);
    assert.is(await treesInodes([upper, volume, join(directory, "nowhere")]), 5);
  }));

test("a file that was deleted and is held open counts", () =>
  withDirectory(async (directory) => {
    const id = "ab".repeat(32);
    const path = join(directory, "gone");
    const file = await open(path, "w");
    try {
      await file.writeFile(Buffer.alloc(3 * MIB, 1));
      await unlink(path);
      const proc = join(directory, "proc/7");
      await mkdir(join(proc, "fd"), { recursive: true });
      await writeFile(join(proc, "cgroup"), `0::/docker/${id}\n`);
      await symlink(directory, join(proc, "root"));
      await symlink(`/proc/${process.pid}/fd/${file.fd}`, join(proc, "fd/3"));
      await symlink(join(proc, "cgroup"), join(proc, "fd/4"));
      await mkdir(join(directory, `cgroups/docker/${id}`), { recursive: true });
      await writeFile(join(directory, `cgroups/docker/${id}/cgroup.procs`), "7\n");
      const places = { proc: join(directory, "proc"), cgroups: join(directory, "cgroups") };
      const { bytes } = await heldFiles({ id, pid: 7 }, places);
      assert.ok(bytes >= 3 * MIB && bytes < 3.5 * MIB, `${bytes}`);
      assert.is((await heldFiles({ id: "cd".repeat(32), pid: 7 }, places)).bytes, 0, "another container's");
      const few = await heldFiles({ id, pid: 7 }, { ...places, filesMost: 1 }).catch((error: unknown) => error);
      assert.instance(few, Uncountable, "what hides behind more files than are looked at is unknown, not nothing");
    } finally {
      await file.close();
    }
  }));

test("a file that is mapped and closed counts, and files that stand in sockets are seen to", () =>
  withDirectory(async (directory) => {
    const id = "ab".repeat(32);
    const proc = join(directory, "proc/7");
    const file = await open(join(directory, "gone"), "w");
    const listener = createServer().listen(join(directory, "socket"));
    try {
      await once(listener, "listening");
      await file.writeFile(Buffer.alloc(MIB, 1));
      await unlink(join(directory, "gone"));
      for (const name of ["fd", "fdinfo", "map_files"]) await mkdir(join(proc, name), { recursive: true });
      await writeFile(join(proc, "cgroup"), `0::/docker/${id}\n`);
      await symlink(directory, join(proc, "root"));
      await symlink(join(directory, "socket"), join(proc, "fd/3"));
      await writeFile(join(proc, "fdinfo/3"), "pos:\t0\nscm_fds: 4\n");
      await writeFile(join(proc, "maps"), "7f00-7f10 rw-s 00000000 fe:00 7    /gone with words (deleted)\n");
      await symlink(`/proc/${process.pid}/fd/${file.fd}`, join(proc, "map_files/7f00-7f10"));
      await mkdir(join(directory, `cgroups/docker/${id}`), { recursive: true });
      await writeFile(join(directory, `cgroups/docker/${id}/cgroup.procs`), "7\n");
      const places = { proc: join(directory, "proc"), cgroups: join(directory, "cgroups") };
      const { bytes, parkedFiles } = await heldFiles({ id, pid: 7 }, places);
      assert.ok(bytes >= MIB && bytes < 1.1 * MIB, `${bytes}`);
      assert.is(parkedFiles, 4);
    } finally {
      await file.close();
      listener.close();
    }
  }));

test("a job is warned once at four fifths, ends beyond its limit, and others are let be", async () => {
  const stop = new AbortController();
  const containers: Container[] = [container(job()), container(job({ id: "j2" }))];
  const used = new Map([
    ["c-j1", 10 * MIB],
    ["c-j2", 10 * MIB],
  ]);
  let freeBytes = 100 * GIB;
  const said: string[] = [];
  const watch = watchDisk({
    running: () => containers,
    limitOf: () => 100 * MIB,
    space: async () => ({ sizeBytes: 200 * GIB, freeBytes }),
    reserveBytes: () => GIB,
    count: async ({ id }) => ({ usedBytes: used.get(id)! }),
    say: ({ jobId }, line) => void said.push(`${jobId}: ${line}`),
    onExcess: () => undefined,
    log: silentLog(),
    everyMs: 5,
    nowMs: () => performance.now() * 1_000, // a second passes with each millisecond
  });
  const running = watch.run(stop.signal);
  const write = (id: string, bytes: number) => {
    freeBytes -= bytes - used.get(id)!;
    used.set(id, bytes);
  };
  const wait = (what: string, probe: () => boolean) => until(probe, { what, timeoutMs: 10_000, everyMs: 5 });
  try {
    await wait("both are counted", () => watch.of("j1") !== undefined && watch.of("j2") !== undefined);
    assert.equal(watch.of("j1"), { usedBytes: 10 * MIB, limitBytes: 100 * MIB, enforcedBy: "watch" });
    write("c-j1", 85 * MIB);
    await wait("a warning", () => said.length > 0);
    write("c-j1", 90 * MIB);
    await wait("a further count", () => watch.of("j1")?.usedBytes === 90 * MIB);
    assert.is(said.length, 1);
    assert.match(said[0]!, /^j1: Disk is 85 % full: 85 MiB of 100 MiB/);
    write("c-j1", 120 * MIB);
    await wait("its end", () => watch.excess().size > 0);
    assert.equal([...watch.excess().keys()], ["c-j1"]);
    containers.shift();
    await wait("it is forgotten", () => watch.excess().size === 0);
  } finally {
    stop.abort();
    await running;
  }
});

test("one whose files cannot be counted ends before its writing harms anybody, and one that is counted goes on", async () => {
  const stop = new AbortController();
  const containers: Container[] = [container(job({ id: "hostile" })), container(job({ id: "innocent" }))];
  let [nowMs, freeBytes, usedBytes] = [0, 100 * GIB, 0];
  const watch = watchDisk({
    running: () => containers,
    limitOf: () => 4 * GIB,
    space: async () => {
      nowMs += 1_000;
      freeBytes -= 0.3 * GIB;
      usedBytes += 2 * MIB;
      return { sizeBytes: 200 * GIB, freeBytes };
    },
    reserveBytes: () => GIB,
    count: async ({ id }) => {
      if (id === "c-hostile") throw new Uncountable("its files could not be counted within 30 s");
      return { usedBytes };
    },
    say: () => undefined,
    onExcess: () => undefined,
    log: silentLog(),
    everyMs: 1,
    nowMs: () => nowMs,
  });
  const running = watch.run(stop.signal);
  try {
    await until(() => watch.excess().size > 0, { what: "an end", timeoutMs: 10_000, everyMs: 1 });
    assert.equal([...watch.excess()], [["c-hostile", "its files could not be counted within 30 s"]]);
    assert.ok(freeBytes > 80 * GIB, `${freeBytes / GIB} GiB left`);
    await until(() => freeBytes < 50 * GIB, { what: "time to pass", timeoutMs: 10_000, everyMs: 1 });
    assert.equal([...watch.excess().keys()], ["c-hostile"]);
  } finally {
    stop.abort();
    await running;
  }
});

test.run();
