// time limit: 300 s
// A disk is taken only when every byte of it is zero, and what was begun is finished from wherever the power went.
import { randomBytes } from "node:crypto";
import { open, readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { exec } from "#lib/exec.ts";
import { encodeMark, fileSystemOf, type Mark } from "../../../hostd/state-disk/mark.ts";
import { isLate, samplesOf } from "../../../hostd/state-disk/scan.ts";
import { type FileDisk, findEmpty, GIB, look, MIB, makeDisk, owner, take, withFolder } from "./fixture.ts";

const sumOf = async (path: string) => (await exec(["sha256sum", path])).stdout.slice(0, 64);

async function write(path: string, at: number, bytes: Buffer): Promise<void> {
  const file = await open(path, "r+");
  try {
    await file.write(bytes, 0, bytes.length, at);
  } finally {
    await file.close();
  }
}

/** Nothing of it may change, and the byte that is in the way is named. */
async function isLeftAlone(disk: FileDisk, folder: string, what: string): Promise<string> {
  const before = await sumOf(disk.path);
  const { taken, refused } = await take([disk], { folder });
  assert.is(taken.choice.do, "ram", what);
  assert.is(await sumOf(disk.path), before, `${what}: something was written`);
  return `${taken.choice.reason} ${refused.map(([, why]) => why).join(" ")}`;
}

test("a disk of zeros is read to its last byte, marked, and holds a sound ext4", () =>
  withFolder(async (folder) => {
    const disk = await makeDisk(join(folder, "disk"));
    const { taken, progress } = await take([disk], { folder });
    assert.is(taken.choice.do, "use");
    assert.is(taken.made, true);
    assert.match(taken.choice.reason, /every byte of which was read as zero/);
    assert.is(progress.at(-1), disk.sizeBytes);
    await exec(["e2fsck", "-f", "-n", disk.path]);
    const again = await take([disk], { folder });
    assert.is(again.taken.made, false, "the next boot uses it as it is");
    assert.match(again.taken.choice.reason, /this host's from before/);
  }));

test("the same disk in the same machine is formatted to the same bytes", () =>
  withFolder(async (folder) => {
    const [one, two] = [await makeDisk(join(folder, "one")), await makeDisk(join(folder, "two"))];
    await take([one], { folder });
    await take([two], { folder });
    assert.is(await sumOf(one.path), await sumOf(two.path));
  }));

test("64 MiB of random bytes at 100 MiB, zeros before and after, are found and left alone", () =>
  withFolder(async (folder) => {
    const content = [[100 * MIB, randomBytes(64 * MIB)]] as const;
    const disk = await makeDisk(join(folder, "disk"), { sizeBytes: 200 * MIB, content });
    await write(disk.path, 100 * MIB, Buffer.from([7]));
    const words = await isLeftAlone(disk, folder, "64 MiB of random bytes");
    assert.match(words, /holds data at 100 MiB \(byte 104857600\); nothing was written/);
    assert.match(words, /To give it to Flynn: flynn machine wipe node-1 /);
  }));

test("one byte anywhere on a disk is found and left alone", () =>
  withFolder(async (folder) => {
    const sizeBytes = 16 * MIB;
    const random = Array.from({ length: 12 }, () => randomBytes(6).readUIntBE(0, 6) % sizeBytes);
    for (const byte of [0, 1, 511, 512, 1024, 4095, 4096, sizeBytes / 2, sizeBytes - 1, ...random]) {
      const disk = await makeDisk(join(folder, "disk"), { sizeBytes, content: [[byte, Buffer.from([1])]] });
      const words = await isLeftAlone(disk, folder, `byte ${byte}`);
      assert.match(words, byte < 4 * MIB || byte >= sizeBytes - 4 * MIB ? /at an end/ : new RegExp(`byte ${byte}\\)`));
    }
  }));

const gpt = (my: number, other: number) => {
  const header = Buffer.alloc(512);
  header.write("EFI PART", 0, "latin1");
  header.writeUInt32LE(0x10000, 8);
  header.writeUInt32LE(92, 12);
  header.writeUInt32LE(my, 24);
  header.writeUInt32LE(other, 32);
  return header;
};
const mbr = Buffer.alloc(512);
mbr.set([0x80, 1, 1, 0, 0x83, 0xfe, 0xff, 0xff, 0, 8, 0, 0, 0, 0, 4, 0], 446);
mbr.set([0x55, 0xaa], 510);

/** By real programs where Debian's base has them, else by the bytes that their readers look for. */
const FOREIGN: [what: string, content: readonly (readonly [number, Buffer | string])[], argv?: string[]][] = [
  ["an ext4", [], ["mkfs.ext4", "-q", "-F"]],
  ["an ext4 that somebody labelled flynn-state", [], ["mkfs.ext4", "-q", "-F", "-L", "flynn-state"]],
  ["an ext2", [], ["mkfs.ext2", "-q", "-F"]],
  ["swap", [], ["mkswap"]],
  ["an MBR with a partition", [[0, mbr]]],
  ["a GPT of which only the copy at the end is left", [[-512, gpt(32767, 1)]]],
  ["a GPT whose protective MBR is lost", [[512, gpt(1, 32767)]]],
  ["btrfs", [[65_600, "_BHRfS_M"]]],
  ["xfs", [[0, "XFSB"]]],
  ["LUKS2", [[0, Buffer.from("LUKS\xba\xbe\x00\x02", "latin1")]]],
  ["the second header of a LUKS2 whose first is wiped", [[16_384, Buffer.from("SKUL\xba\xbe\x00\x02", "latin1")]]],
  ["md 1.2", [[4096, Buffer.from([0xfc, 0x4e, 0x2b, 0xa9, 1, 0, 0, 0])]]],
  ["md 1.0, at the end", [[-8192, Buffer.from([0xfc, 0x4e, 0x2b, 0xa9, 1, 0, 0, 0])]]],
  ["LVM2", [[512, "LABELONE"]]],
  ["ZFS", [[131_072, Buffer.from([0x0c, 0xb1, 0xba, 0, 0, 0, 0, 0])]]],
  ["FAT", [[0, Buffer.from("\xeb\x3c\x90mkfs.fat", "latin1")]]],
  ["an ISO image", [[32_769, "CD001"]]],
  ["a tail of an encrypted disk", [[9 * MIB, randomBytes(512)]]],
];

for (const [what, content, argv] of FOREIGN)
  test(`${what} is left alone to the byte, also where a mark of ours lies before it`, () =>
    withFolder(async (folder) => {
      const disk = await makeDisk(join(folder, "disk"), { content });
      if (argv) await exec([...argv, disk.path]);
      await isLeftAlone(disk, folder, what);
      // A mark that says we had begun: all that is not of our making still ends it.
      if (content.length > 0 && content.every(([at]) => at === 0)) return; // the mark lies where all of it lay
      await write(disk.path, 0, encodeMark(markOf(disk, "formatting")));
      assert.match(await isLeftAlone(disk, folder, `${what}, under a mark`), /holds data at/);
    }));

const markOf = (disk: FileDisk, state: Mark["state"]): Mark => ({
  ...owner,
  state,
  fileSystem: fileSystemOf(owner, disk),
  sizeBytes: disk.sizeBytes,
  orderId: "",
});

test("a power cut at any block of the first format is finished, never refused, to the same bytes", () =>
  withFolder(async (folder) => {
    const disk = await makeDisk(join(folder, "disk"));
    await take([disk], { folder });
    const final = await readFile(disk.path);
    const wanted = await sumOf(disk.path);
    const sectors = Array.from({ length: final.length / 512 }, (_, n) => n).filter(
      (n) => n > 0 && final.subarray(n * 512, n * 512 + 512).some((byte) => byte !== 0),
    );
    assert.ok(sectors.length > 15);
    const formatting = encodeMark(markOf(disk, "formatting"));
    const ready = final.subarray(0, 512);
    const torn = (length: number, from: Buffer, to: Buffer = Buffer.alloc(512)) =>
      Buffer.concat([from.subarray(0, length), to.subarray(length)]);
    type Cut = { first: Buffer; written: readonly number[] };
    const shuffled = () => sectors.map((n) => [randomBytes(4).readUInt32BE(), n] as const).sort(([a], [b]) => a - b);
    const some = (count: number) =>
      shuffled()
        .slice(0, count)
        .map(([, n]) => n);
    const superblock = (n: number) => n === 2 || n === 3;
    const cuts: Cut[] = [
      // The mark itself, from either side.
      ...[32, 100, 256, 511].map((length) => ({ first: torn(length, formatting), written: [] })),
      ...[256, 480].map((length) => ({ first: torn(length, Buffer.alloc(512), formatting), written: [] })),
      { first: formatting, written: [] },
      // Its blocks, in the order they are written and in any other.
      ...[1, 2, 10].map((count) => ({
        first: formatting,
        written: sectors.filter((n) => !superblock(n)).slice(0, count),
      })),
      ...Array.from({ length: 6 }, (_, n) => ({
        first: formatting,
        written: some(1 + n * 5).filter((s) => !superblock(s)),
      })),
      { first: formatting, written: sectors.filter((n) => !superblock(n)) },
      { first: formatting, written: sectors.filter((n) => n !== 3) },
      { first: formatting, written: sectors },
      // The last write: from begun to ready.
      ...[37, 460].map((length) => ({ first: torn(length, ready, formatting), written: sectors })),
    ];
    for (const [n, { first, written }] of cuts.entries()) {
      const content = written.map((s) => [s * 512, final.subarray(s * 512, s * 512 + 512)] as const);
      const half = await makeDisk(join(folder, "half"), { sizeBytes: disk.sizeBytes, content });
      await write(half.path, 0, first);
      const { taken } = await take([half], { folder });
      assert.is(taken.choice.do, "use", `cut ${n}: ${taken.choice.reason}`);
      assert.is(taken.made, true);
      assert.is(await sumOf(half.path), wanted, `cut ${n}`);
      // The same with one byte that is not ours: left alone.
      if (n % 3 !== 0) continue;
      const foreign = await makeDisk(join(folder, "foreign"), { sizeBytes: disk.sizeBytes, content });
      await write(foreign.path, 0, first);
      await write(foreign.path, 11 * MIB + n, Buffer.from([1]));
      assert.match(await isLeftAlone(foreign, folder, `cut ${n} with a byte`), new RegExp(`byte ${11 * MIB + n}\\)`));
    }
  }));

test("less than a magic number of a mark is data: nobody can tell whose it is", () =>
  withFolder(async (folder) => {
    for (const length of [1, 8, 31]) {
      const disk = await makeDisk(join(folder, "disk"));
      await write(disk.path, 0, encodeMark(markOf(disk, "formatting")).subarray(0, length));
      await isLeftAlone(disk, folder, `${length} bytes`);
    }
  }));

test("another machine's, another cluster's and a damaged disk are named as what they are, and left alone", () =>
  withFolder(async (folder) => {
    const disk = await makeDisk(join(folder, "disk"));
    await take([disk], { folder, who: { ...owner, machineId: "m_2", machineName: "node-2" } });
    assert.match(
      await isLeftAlone(disk, folder, "machine"),
      /carries the mark of this cluster's machine node-2 \(m_2\)/,
    );
    await makeDisk(disk.path);
    await take([disk], { folder, who: { ...owner, cluster: "cd".repeat(32) } });
    assert.match(
      await isLeftAlone(disk, folder, "cluster"),
      /carries the mark of another cluster, cdcdcdcdcdcd, machine node-1/,
    );
    await makeDisk(disk.path);
    await take([disk], { folder });
    await write(disk.path, 100, Buffer.from([9]));
    assert.match(await isLeftAlone(disk, folder, "damaged"), /carries a damaged mark of Flynn; not adopted/);
  }));

test("a mark of ours before a file system that somebody else made later adopts nothing", () =>
  withFolder(async (folder) => {
    const disk = await makeDisk(join(folder, "disk"));
    await take([disk], { folder });
    const sector = (await readFile(disk.path)).subarray(0, 512);
    await exec(["mkfs.ext4", "-q", "-F", "-L", "flynn-state", disk.path]);
    await write(disk.path, 0, sector);
    assert.match(await isLeftAlone(disk, folder, "other file system"), /is not the one it was marked for; not adopted/);
  }));

test("of several disks the next is taken when the largest turns out to hold something", () =>
  withFolder(async (folder) => {
    const large = await makeDisk(join(folder, "large"), { content: [[8 * MIB, Buffer.from([1])]] });
    const small = await makeDisk(join(folder, "small"), { sizeBytes: 12 * MIB });
    const { taken, refused } = await take([large, small], { folder });
    assert.is("path" in taken.choice && taken.choice.path, small.path);
    assert.is(taken.made, true);
    assert.match(refused[0]![1], /holds data at 8 MiB \(byte 8388608\)/);
  }));

test("a disk that takes longer than there is time is left for later, with nothing written", () =>
  withFolder(async (folder) => {
    const disk = await makeDisk(join(folder, "disk"), { sizeBytes: GIB });
    const { taken } = await take([disk], { folder, withinMs: 1 });
    assert.is(taken.late?.path, disk.path);
    assert.is((await look(disk)).zeroEnds, true);
    assert.is((await look(disk)).mark, undefined);
  }));

test("reading is given up when it is far too slow, or too slow after a quarter of the time", () => {
  const late = (elapsedMs: number, msLeft: number) => isLate({ elapsedMs, msLeft, withinMs: 90_000 });
  assert.is(late(1_000, 3_600_000), false, "nothing is known yet");
  assert.is(late(1_600, 3_600_000), true);
  assert.is(late(1_600, 120_000), false, "the first seconds are slow");
  assert.is(late(23_000, 68_000), true);
  assert.is(late(23_000, 60_000), false);
  assert.is(late(90_001, 1), true);
});

test("policy `ends` reads both ends and samples, and says so; data between is lost, which is its risk", () =>
  withFolder(async (folder) => {
    const policy = { ...findEmpty, verify: "ends" as const };
    const content = [[77 * MIB + 5, Buffer.from([1])]] as const;
    const disk = await makeDisk(join(folder, "disk"), { sizeBytes: 512 * MIB, content });
    const { taken } = await take([disk], { folder, policy });
    assert.match(taken.choice.reason, /of which samples were read as zero/);
    await exec(["e2fsck", "-f", "-n", disk.path]);
    const [sample] = samplesOf(512 * MIB).slice(20);
    await makeDisk(disk.path, { sizeBytes: 512 * MIB, content: [[sample!.at + 9, Buffer.from([1])]] });
    assert.is((await take([disk], { folder, policy })).taken.choice.do, "ram");
  }));

test("an older journal where the new one comes to lie is erased under policy `ends`", () =>
  withFolder(async (folder) => {
    const disk = await makeDisk(join(folder, "disk"), { sizeBytes: GIB });
    await take([disk], { folder });
    const { stdout } = await exec(["debugfs", "-R", "blocks <8>", disk.path]);
    const block = Number(stdout.trim().split(/\s+/)[40]);
    await makeDisk(disk.path, { sizeBytes: GIB, content: [[block * 4096, randomBytes(4096)]] });
    await take([disk], { folder, policy: { ...findEmpty, verify: "ends" } });
    const file = await open(disk.path);
    const seen = Buffer.alloc(4096, 1);
    await file.read(seen, 0, 4096, block * 4096);
    await file.close();
    assert.ok(seen.equals(Buffer.alloc(4096)), `block ${block}`);
  }));

test.run();
