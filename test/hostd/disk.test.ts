import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { DiskPolicy } from "#api/boot.ts";
import { chooseDisk, type Disk, isStateDisk, notEmptyBecause } from "../../hostd/disk.ts";
import { isMountPoint } from "../../hostd/disk-command.ts";
import { parseBlkid, parseLsblk } from "../../hostd/disk-probe.ts";

const GIB = 1 << 30;
const empty: Disk = {
  path: "/dev/vda",
  type: "disk",
  sizeBytes: 20 * GIB,
  serial: "S1",
  wwn: "0x5000",
  readOnly: false,
  removable: false,
  mounted: false,
  holders: [],
  zeroEnds: true,
};
const findEmpty: DiskPolicy = { name: "state-disk", mode: "find-empty" };
const disk = (fields: Partial<Disk>): Disk => ({ ...empty, ...fields });

const HOSTILE: [what: string, disk: Disk, why: RegExp][] = [
  ["a file system without a partition table", disk({ signature: "ext4", zeroEnds: false }), /holds ext4/],
  ["an xfs with a label", disk({ signature: "xfs", label: "backup" }), /holds xfs/],
  ["an LVM physical volume", disk({ signature: "LVM2_member", zeroEnds: false }), /LVM2_member/],
  ["an LVM physical volume in use", disk({ holders: ["vg0-root"] }), /is used by vg0-root/],
  ["a RAID member", disk({ signature: "linux_raid_member" }), /linux_raid_member/],
  ["a RAID 1.0 member, whose superblock is at the end", disk({ zeroEnds: false }), /other than zero/],
  ["a GPT of which only the copy at the end is left", disk({ zeroEnds: false }), /other than zero/],
  ["a partition table without partitions", disk({ signature: "gpt", zeroEnds: false }), /holds gpt/],
  ["a disk with partitions", disk({ holders: ["vda1"] }), /is used by vda1/],
  ["a disk of zero length", disk({ sizeBytes: 0 }), /has no size/],
  ["a disk whose size is unknown", disk({ sizeBytes: Number.NaN }), /has no size/],
  ["a LUKS container", disk({ signature: "crypto_LUKS", zeroEnds: false }), /crypto_LUKS/],
  ["an encrypted disk without a header", disk({ zeroEnds: false }), /other than zero/],
  ["several signatures at once", disk({ signature: "several signatures" }), /several signatures/],
  ["a disk blkid cannot read", disk({ signature: "what blkid could not read" }), /could not read/],
  ["a mounted disk", disk({ mounted: true }), /is mounted/],
  ["a read-only disk", disk({ readOnly: true }), /read-only/],
  ["a stick", disk({ removable: true }), /removable/],
  ["compressed memory that calls itself a disk", disk({ path: "/dev/zram0" }), /not a disk of this machine/],
  ["a network block device", disk({ path: "/dev/nbd3" }), /not a disk of this machine/],
  ["a partition", disk({ type: "part" }), /is a part/],
  ["a RAID device", disk({ type: "raid1" }), /is a raid1/],
];

for (const [what, hostile, why] of HOSTILE) {
  test(`${what} is never formatted, whatever the policy`, () => {
    assert.match(notEmptyBecause(hostile) ?? "", why);
    for (const policy of [
      findEmpty,
      { name: "p", mode: "named", path: hostile.path },
      { name: "p", mode: "named", serial: hostile.serial },
      { name: "p", mode: "ram" },
    ] satisfies DiskPolicy[])
      assert.is(chooseDisk([hostile], policy).do, "ram");
  });
}

test("no disk that is in doubt is ever formatted, among any others", () => {
  const any = fc.constantFrom(
    empty,
    ...HOSTILE.map(([, hostile]) => hostile),
    disk({ signature: "ext4", label: "flynn-state" }),
  );
  const policy = fc.constantFrom<DiskPolicy>(
    findEmpty,
    { name: "p", mode: "named", path: "/dev/vdb" },
    { name: "p", mode: "ram" },
  );
  fc.assert(
    fc.property(fc.array(any, { maxLength: 6 }), policy, (found, p) => {
      const disks = found.map((one, n) => ({ ...one, path: `/dev/vd${String.fromCharCode(97 + n)}` }));
      const choice = chooseDisk(disks, p);
      if (choice.do === "ram") return;
      const chosen = disks.find(({ path }) => path === choice.path)!;
      if (choice.do === "format") assert.is(notEmptyBecause(chosen), undefined);
      else assert.ok(isStateDisk(chosen));
      assert.is.not(p.mode, "ram");
    }),
  );
});

test("policy ram uses no disk, not even an empty or marked one", () => {
  const choice = chooseDisk([empty, disk({ signature: "ext4", label: "flynn-state" })], {
    name: "diskless",
    mode: "ram",
  });
  assert.equal(choice, { do: "ram", reason: "state in RAM: policy diskless uses no disk" });
});

test("the sole empty disk is formatted, and the reason names disk, size and policy", () => {
  assert.equal(chooseDisk([empty], findEmpty), {
    do: "format",
    path: "/dev/vda",
    reason: "state on /dev/vda (20 GiB), which was empty (policy state-disk)",
  });
});

test("of several empty disks the largest is taken, then the first by path", () => {
  const three = [
    disk({ path: "/dev/vdc" }),
    disk({ path: "/dev/vdb" }),
    disk({ path: "/dev/vdd", sizeBytes: 10 * GIB }),
  ];
  const choice = chooseDisk(three, findEmpty);
  assert.is("path" in choice && choice.path, "/dev/vdb");
});

test("the disk marked in an earlier boot is used as it is, also beside a larger empty one", () => {
  const ours = disk({ path: "/dev/vdb", sizeBytes: 2 * GIB, signature: "ext4", label: "flynn-state", zeroEnds: false });
  const choice = chooseDisk([empty, ours], findEmpty);
  assert.is(choice.do, "use");
  assert.is("path" in choice && choice.path, "/dev/vdb");
});

test("two marked disks are in doubt: RAM", () => {
  const ours = disk({ signature: "ext4", label: "flynn-state" });
  const choice = chooseDisk([ours, { ...ours, path: "/dev/vdb" }], findEmpty);
  assert.is(choice.do, "ram");
  assert.match(choice.reason, /both labelled flynn-state/);
});

test("a label alone marks nothing: another file system, or a partition of that name, is left alone", () => {
  for (const fake of [
    disk({ signature: "xfs", label: "flynn-state" }),
    disk({ type: "part", signature: "ext4", label: "flynn-state" }),
    disk({ signature: "ext4", label: "flynn-state", mounted: true }),
  ])
    assert.is(chooseDisk([fake], findEmpty).do, "ram");
});

test("a named disk must fit every given name, and be one", () => {
  const by = (policy: Partial<DiskPolicy>) =>
    chooseDisk([empty, disk({ path: "/dev/vdb", serial: "S2" })], { name: "p", mode: "named", ...policy });
  assert.is(by({ serial: "S2" }).do, "format");
  assert.is(by({ serial: "S2", path: "/dev/vda" }).do, "ram");
  assert.is(by({ wwn: "0x5000" }).do, "ram", "two disks have it");
  assert.match(by({ serial: "S9" }).reason, /no disk has the name/);
  assert.match(by({}).reason, /no disk is named/);
});

test("a disk smaller than the policy wants is left alone", () => {
  assert.is(chooseDisk([disk({ sizeBytes: GIB - 1 })], findEmpty).do, "ram");
  assert.is(chooseDisk([empty], { ...findEmpty, minSizeBytes: 21 * GIB }).do, "ram");
  assert.is(chooseDisk([disk({ sizeBytes: 1000 })], { ...findEmpty, minSizeBytes: 100 }).do, "format");
});

test("lsblk's tree tells mounts, partitions and what drivers built on them", () => {
  const text = JSON.stringify({
    blockdevices: [
      {
        name: "sda",
        path: "/dev/sda",
        type: "disk",
        size: 1000,
        ro: false,
        rm: false,
        tran: "sata",
        serial: " X1 ",
        wwn: null,
        mountpoints: [null],
        children: [
          {
            name: "sda1",
            path: "/dev/sda1",
            type: "part",
            size: 900,
            ro: false,
            rm: false,
            tran: null,
            serial: null,
            wwn: null,
            mountpoints: [null],
            children: [
              {
                name: "vg-root",
                path: "/dev/mapper/vg-root",
                type: "lvm",
                size: 800,
                ro: false,
                rm: false,
                tran: null,
                serial: null,
                wwn: null,
                mountpoints: ["/"],
              },
            ],
          },
        ],
      },
      {
        name: "sdb",
        path: "/dev/sdb",
        type: "disk",
        size: 5,
        ro: true,
        rm: false,
        tran: "usb",
        serial: null,
        wwn: "0x1",
        mountpoints: [],
      },
    ],
  });
  assert.equal(parseLsblk(text), [
    {
      path: "/dev/sda",
      type: "disk",
      sizeBytes: 1000,
      serial: "X1",
      readOnly: false,
      removable: false,
      mounted: true,
      holders: ["sda1", "vg-root"],
    },
    {
      path: "/dev/sdb",
      type: "disk",
      sizeBytes: 5,
      wwn: "0x1",
      readOnly: true,
      removable: true,
      mounted: false,
      holders: [],
    },
  ]);
});

test("blkid's words become a signature, a partition table too, and an unknown one is one", () => {
  assert.equal(parseBlkid("DEVNAME=/dev/vda\nLABEL=flynn-state\nTYPE=ext4\nUSAGE=filesystem\n"), {
    signature: "ext4",
    label: "flynn-state",
  });
  assert.equal(parseBlkid("DEVNAME=/dev/vda\nPTTYPE=gpt\n"), { signature: "gpt" });
  assert.equal(parseBlkid("DEVNAME=/dev/vda\nUSAGE=crypto\n"), { signature: "an unknown signature" });
  assert.equal(parseBlkid(""), {});
});

test("a mount point is found in mountinfo by its whole path", () => {
  const text = "36 35 98:0 / /mnt/flynn-state rw,noatime shared:1 - ext4 /dev/vda rw\n";
  assert.is(isMountPoint(text, "/mnt/flynn-state"), true);
  assert.is(isMountPoint(text, "/mnt"), false);
});

test.run();
