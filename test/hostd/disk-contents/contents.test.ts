// What others left on disks is told in words, and left to its last byte whatever a policy names.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { DiskPolicy } from "#api/boot.ts";
import { contentsOf, readContents } from "../../../hostd/disk-contents/contents.ts";
import { findEmpty, makeDisk, take, withFolder } from "../state-disk/fixture.ts";
import { type Recorded, recordedDisks, WRITTEN } from "./fixture.ts";

const recorded = await recordedDisks();

const WORDS: Readonly<Record<string, RegExp>> = {
  ext4: /^ext4 labelled data, [\d.]+ MiB used of 64 MiB, last mounted at \/srv\/data$/m,
  ext3: /^ext3, [\d.]+ MiB used of 32 MiB$/m,
  ext2: /^ext2 labelled boot, /m,
  xfs: /^xfs labelled scratch, [\d.]+ MiB used of 3\d\d MiB$/m,
  btrfs: /^btrfs labelled pool, [\d.]+ KiB used of 128 MiB$/m,
  "btrfs-raid": /^btrfs labelled mirror, .*, one of its 2 disks$/m,
  fat32: /^FAT32 labelled BOOT$/m,
  ntfs: /^NTFS of Windows$/m,
  exfat: /^exFAT$/m,
  f2fs: /^F2FS$/m,
  swap: /^swap space labelled swap0$/m,
  luks1: /^a LUKS1 container, encrypted/m,
  luks2: /^a LUKS2 container labelled vault, encrypted/m,
  bcache: /^a bcache disk/m,
  lvm: /^an LVM physical volume of group vg0 with no logical volume$/m,
  gpt: /^a GPT with 2 partitions\npartition 1 "EFI" \(16 MiB\): FAT16 labelled ESP\npartition 2 "data" \([\d.]+ MiB\): ext4 labelled root, /m,
  "gpt-copy-only": /^a GPT of which only the copy at the end is left with 2 partitions$/m,
  mbr: /^an MBR with 1 partition\npartition 1 \([\d.]+ MiB\): nothing that is known$/m,
  "md 1.0": /^one of 4 disks of the RAID 5 array storage:0 \(md 1.0\)$/m,
  "md 1.1": /\(md 1.1\)$/m,
  "md 1.2": /\(md 1.2\)$/m,
  "md 0.90": /^one of 2 disks of the RAID 1 array md3 \(md 0.90\)$/m,
  zfs: /^a disk of the ZFS pool tank$/m,
  "zfs at the end": /^a disk of the ZFS pool tank$/m,
  imsm: /Intel's firmware \(IMSM\)$/m,
  ddf: /RAID controller \(DDF\)$/m,
  lsi: /^a disk of an LSI MegaRAID$/m,
  promise: /Promise's firmware$/m,
  ceph: /^an OSD of Ceph \(BlueStore\)$/m,
  drbd: /^a disk that DRBD copies/m,
  "something nobody knows": /^$/,
};

const disks = new Map<string, Recorded>([...recorded, ...Object.entries(WRITTEN)]);

test("every recorded disk has its words, and every word its disk", () => {
  assert.equal([...disks.keys()].sort(), Object.keys(WORDS).sort());
});

/** Of every byte; nobody tries to deceive us here, and it is a gigabyte or two. */
const sumOf = async (path: string) => crc32(await readFile(path));

/** Everything a policy can name it by, each way to read it. */
const POLICIES: readonly DiskPolicy[] = [
  findEmpty,
  { ...findEmpty, prefer: "smallest", maxSizeBytes: 1 << 40 },
  { name: "by-serial", mode: "named", serial: "S1", minSizeBytes: 0 },
];

for (const [what, { sizeBytes, content }] of disks) {
  test(`${what} is told in words, and no policy changes a byte of it`, () =>
    withFolder(async (folder) => {
      const disk = await makeDisk(join(folder, "disk"), { sizeBytes, content });
      const before = await sumOf(disk.path);
      assert.match((await readContents(disk.path, disk.sizeBytes)).join("\n"), WORDS[what]!);
      for (const policy of POLICIES) {
        const { taken } = await take([disk], { folder, policy });
        assert.is(taken.choice.do, "ram", `${policy.name}: ${taken.choice.reason}`);
        assert.is(await sumOf(disk.path), before, policy.name);
      }
    }));
}

test("a volume group is told with its volumes, as its newest text has them", async () => {
  const text = (seqno: number, volumes: string) =>
    `vg1 {\nid = "aaa"\nseqno = ${seqno}\nlogical_volumes {\n${volumes}}\n}\n\0`;
  const volume = (name: string) => `\n${name} {\nid = "bbb"\n}\n`;
  const bytes = Buffer.alloc(1 << 20);
  bytes.write("LABELONE", 512);
  bytes.write("LVM2 001", 512 + 24);
  bytes.write(text(3, volume("root") + volume("home")), 8192);
  bytes.write(text(2, volume("old")), 4608);
  assert.equal(await contentsOf(readerOf(bytes)), [
    "an LVM physical volume of group vg1 with 2 logical volumes (root, home)",
  ]);
});

const readerOf = (bytes: Buffer) => ({
  sizeBytes: bytes.length,
  read: async (at: number, length: number) => bytes.subarray(Math.max(0, at), Math.max(0, at + length)),
});

test("whatever bytes a disk holds, they are told in bounded, printable words and never thrown at", async () => {
  const small = [...disks.values()].filter(({ sizeBytes }) => sizeBytes <= 64 << 20);
  const one = fc.constantFrom(...small);
  const changes = fc.array(fc.tuple(fc.nat(), fc.uint8Array({ minLength: 1, maxLength: 32 })), { maxLength: 40 });
  await fc.assert(
    fc.asyncProperty(one, changes, fc.nat({ max: 1 << 21 }), async ({ content, sizeBytes }, hits, cut) => {
      const bytes = Buffer.alloc(1 << 20);
      for (const [at, chunk] of content) {
        const where = at < 0 ? bytes.length + at : at > sizeBytes / 2 ? at - sizeBytes + bytes.length : at;
        if (where >= 0 && where < bytes.length) chunk.copy(bytes, where);
      }
      const places = content.flatMap(([at, chunk]) =>
        at >= 0 && at < bytes.length ? [[at, chunk.length] as const] : [],
      );
      for (const [seed, hit] of hits) {
        const [at, length] = places[seed % Math.max(1, places.length)] ?? [0, bytes.length];
        Buffer.from(hit).copy(bytes, Math.min(bytes.length - 1, at + (seed % length)));
      }
      const words = await contentsOf(readerOf(bytes.subarray(0, Math.max(1, bytes.length - (cut % bytes.length)))));
      assert.ok(words.length <= 32);
      for (const line of words) assert.ok(line.length <= 300 && !/\p{Cc}/u.test(line), line);
    }),
    { numRuns: 60 },
  );
});

test.run();
