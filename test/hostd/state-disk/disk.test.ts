import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { DiskPolicy } from "#api/boot.ts";
import type { WipeOrder } from "#api/disks.ts";
import {
  chooseDisk as choose,
  type Disk,
  type DiskChoice,
  diskHolds,
  isStateDisk,
  notEmptyBecause,
  ordered,
} from "../../../hostd/state-disk/disk.ts";
import type { DiskOwner, Mark } from "../../../hostd/state-disk/mark.ts";
import { isMountPoint } from "../../../hostd/state-disk/mounts.ts";
import { parseBlkid, parseLsblk } from "../../../hostd/state-disk/probe.ts";

const GIB = 1 << 30;
const owner: DiskOwner = { cluster: "ab".repeat(32), machineId: "m_1", machineName: "node-1" };
const UUID = "11111111-2222-8333-8444-555555555555";
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
  builtOn: [],
  zeroEnds: true,
  fingerprint: "1".repeat(64),
};
const findEmpty: DiskPolicy = { name: "state-disk", mode: "find-empty" };
const disk = (fields: Partial<Disk>): Disk => ({ ...empty, ...fields });
const markOf = (fields: Partial<Mark> = {}): Mark => ({
  ...owner,
  state: "ready",
  fileSystem: UUID,
  sizeBytes: 20 * GIB,
  orderId: "",
  ...fields,
});
const stateDisk = (fields: Partial<Disk> = {}): Disk =>
  disk({ signature: "ext4", label: "flynn-state", uuid: UUID, zeroEnds: false, mark: markOf(), ...fields });
const order: WipeOrder = {
  id: "w_1",
  fingerprint: "1".repeat(64),
  path: "/dev/sdx",
  serial: "S1",
  wwn: "0x5000",
  sizeBytes: 20 * GIB,
  orderedAt: "2026-01-01T00:00:00Z",
  orderedBy: "admin",
};
const chooseDisk = (disks: readonly Disk[], policy: DiskPolicy, more: Partial<Parameters<typeof choose>[2]> = {}) =>
  choose(disks, policy, { owner, ...more });
/** What it does, and how it begins. */
const doing = (choice: DiskChoice): string => (choice.do === "take" ? choice.begin : choice.do);

const HOSTILE: [what: string, disk: Disk, why: RegExp][] = [
  ["a file system without a partition table", disk({ signature: "ext4", zeroEnds: false }), /holds ext4/],
  ["an xfs with a label", disk({ signature: "xfs", label: "backup" }), /holds xfs/],
  ["an LVM physical volume", disk({ signature: "LVM2_member", zeroEnds: false }), /LVM2_member/],
  ["an LVM physical volume in use", disk({ holders: ["vg0-root"], builtOn: ["vg0-root"] }), /is used by vg0-root/],
  ["another machine's state disk", stateDisk({ mark: markOf({ machineId: "m_2" }) }), /this cluster's machine node-1/],
  [
    "another cluster's state disk",
    stateDisk({ mark: markOf({ cluster: "cd".repeat(32) }) }),
    /mark of another cluster/,
  ],
  ["a disk that another machine began", disk({ mark: markOf({ state: "formatting", machineId: "m_2" }) }), /m_2/],
  ["a disk given to another machine", disk({ mark: markOf({ state: "erasing", machineId: "m_2" }) }), /m_2/],
  ["a damaged mark", disk({ mark: "damaged", zeroEnds: false }), /damaged mark/],
  ["our mark before another file system", stateDisk({ signature: "xfs" }), /holds xfs that is not the one/],
  ["our mark before another ext4", stateDisk({ uuid: UUID.replace("1", "2") }), /holds ext4 that is not the one/],
  ["a label without a mark", stateDisk({ mark: undefined }), /a label alone adopts nothing/],
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
  test(`${what} is never written, whatever the policy`, () => {
    assert.match(notEmptyBecause(hostile, owner) ?? "", why);
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
    stateDisk(),
    disk({ mark: markOf({ state: "formatting" }) }),
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
      if (doing(choice) === "verify") assert.is(notEmptyBecause(chosen, owner), undefined);
      else if (choice.do === "use") assert.ok(isStateDisk(chosen, owner));
      else assert.equal([doing(choice), chosen.mark], ["finish", markOf({ state: "formatting" })]);
      assert.is.not(p.mode, "ram");
    }),
  );
});

test("policy ram uses no disk, not even an empty or marked one", () => {
  const choice = chooseDisk([empty, stateDisk()], {
    name: "diskless",
    mode: "ram",
  });
  assert.equal(choice, { do: "ram", reason: "state in RAM: policy diskless uses no disk" });
});

test("the sole disk that shows nothing is read to its end, and the reason names disk, size and policy", () => {
  assert.equal(chooseDisk([empty], findEmpty), {
    do: "take",
    begin: "verify",
    orderId: "",
    path: "/dev/vda",
    reason: "state on /dev/vda (20 GiB), every byte of which was read as zero (policy state-disk)",
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
  const ours = stateDisk({ path: "/dev/vdb", sizeBytes: 2 * GIB });
  const choice = chooseDisk([empty, ours], findEmpty);
  assert.is(choice.do, "use");
  assert.is("path" in choice && choice.path, "/dev/vdb");
});

test("two marked disks are in doubt: RAM", () => {
  const ours = stateDisk();
  const choice = chooseDisk([ours, { ...ours, path: "/dev/vdb" }], findEmpty);
  assert.is(choice.do, "ram");
  assert.match(choice.reason, /both carry this host's mark/);
  assert.is(choice.do === "ram" && choice.warn, true, "which somebody has to look into");
});

test("a label alone marks nothing: another file system, or a partition of that name, is left alone", () => {
  for (const fake of [
    disk({ signature: "xfs", label: "flynn-state" }),
    disk({ signature: "ext4", label: "flynn-state", uuid: UUID }),
    stateDisk({ type: "part" }),
    stateDisk({ mounted: true }),
  ])
    assert.is(chooseDisk([fake], findEmpty).do, "ram");
});

test("a named disk must fit every given name, and be one", () => {
  const by = (policy: Partial<DiskPolicy>) =>
    chooseDisk([empty, disk({ path: "/dev/vdb", serial: "S2" })], { name: "p", mode: "named", ...policy });
  assert.is(doing(by({ serial: "S2" })), "verify");
  assert.is(by({ serial: "S2", path: "/dev/vda" }).do, "ram");
  assert.is(by({ wwn: "0x5000" }).do, "ram", "two disks have it");
  assert.match(by({ serial: "S9" }).reason, /no disk has the name/);
  assert.match(by({}).reason, /no disk is named/);
});

test("a disk smaller than the policy wants is left alone", () => {
  assert.is(chooseDisk([disk({ sizeBytes: GIB - 1 })], findEmpty).do, "ram");
  assert.is(chooseDisk([empty], { ...findEmpty, minSizeBytes: 21 * GIB }).do, "ram");
  assert.is(doing(chooseDisk([disk({ sizeBytes: 1000 })], { ...findEmpty, minSizeBytes: 100 })), "verify");
});

test("what we began is finished before another disk is begun; what a person gave up is erased again", () => {
  const begun = disk({ path: "/dev/vdb", sizeBytes: 2 * GIB, mark: markOf({ state: "formatting" }), zeroEnds: false });
  assert.is(doing(chooseDisk([empty, begun], findEmpty)), "finish");
  assert.is(doing(chooseDisk([empty, { ...begun, mark: "torn" }], findEmpty)), "finish");
  const erasing = { ...begun, mark: markOf({ state: "erasing", orderId: "w_0" }), holders: ["vdb1"], signature: "gpt" };
  const choice = chooseDisk([empty, erasing], findEmpty);
  assert.is(doing(choice), "erase");
  assert.is("orderId" in choice && choice.orderId, "w_0");
});

test("what this boot looked into and refused is not chosen again", () => {
  const refused = new Map([["/dev/vda", "holds data at 100 MiB (byte 104857600); nothing was written"]]);
  assert.is(doing(chooseDisk([empty, disk({ path: "/dev/vdb" })], findEmpty, { refused })), "verify");
  const choice = chooseDisk([empty], findEmpty, { refused });
  assert.is(choice.do, "ram");
  assert.match(choice.reason, /vda holds data at 100 MiB .*flynn machine wipe node-1 \/dev\/vda/);
});

test("without a disk people are warned when one was refused or carries a mark, and not of disks that are plainly in use", () => {
  const warns = (disks: Disk[], refused: [path: string, why: string][] = []): boolean | undefined => {
    const choice = chooseDisk(disks, findEmpty, { refused: new Map(refused) });
    return choice.do === "ram" ? choice.warn === true : undefined;
  };
  const inUse = disk({ path: "/dev/vdb", signature: "xfs", zeroEnds: false });
  assert.is(warns([inUse]), false);
  assert.is(warns([inUse, empty], [[empty.path, "holds data"]]), true);
  assert.is(warns([inUse, stateDisk({ mark: markOf({ machineId: "m_2" }) })]), true);
});

test("an order to wipe takes the one disk with that fingerprint, serial, WWN and size, under any policy but ram", () => {
  const full = disk({ path: "/dev/vdb", signature: "xfs", zeroEnds: false, holders: ["vdb1"] });
  for (const policy of [findEmpty, { name: "p", mode: "named", path: "/dev/vdb" }] satisfies DiskPolicy[])
    assert.is(doing(chooseDisk([full], policy, { order })), "erase", policy.mode);
  assert.is(chooseDisk([full], { name: "p", mode: "ram" }, { order }).do, "ram");
  assert.is(chooseDisk([full], { name: "p", mode: "named", serial: "S9" }, { order }).do, "ram");
  const theirs = stateDisk({ mark: markOf({ cluster: "cd".repeat(32) }) });
  assert.is(doing(chooseDisk([theirs], findEmpty, { order })), "erase", "another cluster's disk may be given up too");
});

const NOT_ORDERED: [what: string, disk: Disk, why: RegExp][] = [
  ["what is on the disk changed", disk({ fingerprint: "2".repeat(64) }), /another fingerprint now, 222222222222/],
  ["another disk with the same content", disk({ serial: "S2" }), /no disk here has the fingerprint/],
  ["the disk grew", disk({ sizeBytes: 21 * GIB }), /no disk here has the fingerprint/],
  ["it is mounted", disk({ mounted: true }), /is mounted/],
  ["a volume group is on it", disk({ builtOn: ["vg0-root"] }), /is used by vg0-root/],
  ["it is a stick now", disk({ removable: true }), /is removable/],
];
for (const [what, found, why] of NOT_ORDERED)
  test(`an order to wipe is refused in words when ${what}`, () => {
    const result = ordered([{ ...found, signature: "xfs" }], order, owner);
    assert.is(result.path, undefined);
    assert.match(result.why, why);
    assert.is(chooseDisk([{ ...found, signature: "xfs" }], findEmpty, { order }).do, "ram");
  });

test("an order that was carried out wipes nothing again", () => {
  const given = stateDisk({ mark: markOf({ orderId: "w_1" }) });
  assert.is(ordered([given], order, owner).done, true);
  assert.is(chooseDisk([given], findEmpty, { order }).do, "use");
});

test("a person is shown what is on each disk", () => {
  assert.is(diskHolds(stateDisk(), owner), "is this host's state disk");
  assert.is(diskHolds(disk({ mark: markOf({ state: "formatting" }) }), owner), "was begun as this host's state disk");
  assert.is(diskHolds(disk({ signature: "ext4", label: "backup" }), owner), "holds ext4 (label backup)");
  assert.is(diskHolds(empty, owner), "shows nothing but zeros at both ends");
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
      transport: "sata",
      readOnly: false,
      removable: false,
      mounted: true,
      holders: ["sda1", "vg-root"],
      builtOn: ["vg-root"],
    },
    {
      path: "/dev/sdb",
      type: "disk",
      sizeBytes: 5,
      wwn: "0x1",
      transport: "usb",
      readOnly: true,
      removable: true,
      mounted: false,
      holders: [],
      builtOn: [],
    },
  ]);
});

test("blkid's words become a signature, a partition table too, and an unknown one is one", () => {
  assert.equal(parseBlkid("DEVNAME=/dev/vda\nLABEL=flynn-state\nUUID=u-1\nTYPE=ext4\nUSAGE=filesystem\n"), {
    signature: "ext4",
    label: "flynn-state",
    uuid: "u-1",
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
