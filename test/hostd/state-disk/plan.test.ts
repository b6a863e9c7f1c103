// What `machine disks` says a policy would do is what the host would do.
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { DiskPolicy } from "#api/boot.ts";
import { planDisks } from "#api/disk-plan.ts";
import { chooseDisk, type Disk } from "../../../hostd/state-disk/disk.ts";
import type { Mark } from "../../../hostd/state-disk/mark.ts";
import { shownDisks } from "../../../hostd/state-disk/take.ts";
import { GIB, owner } from "./fixture.ts";

const UUID = "11111111-2222-8333-8444-555555555555";
const empty: Disk = {
  path: "/dev/sda",
  type: "disk",
  sizeBytes: 20 * GIB,
  serial: "S1",
  wwn: "0x1",
  links: ["/dev/disk/by-id/ata-S1"],
  transport: "sata",
  media: "hdd",
  readOnly: false,
  removable: false,
  mounted: false,
  holders: [],
  builtOn: [],
  zeroEnds: true,
  fingerprint: "1".repeat(64),
};
const mark = (state: Mark["state"]): Mark => ({ ...owner, state, fileSystem: UUID, sizeBytes: 20 * GIB, orderId: "" });
const nvme: Disk = {
  ...empty,
  path: "/dev/nvme0n1",
  serial: "N1",
  wwn: "0x2",
  links: [],
  transport: "nvme",
  media: "ssd",
  sizeBytes: 4 * GIB,
  fingerprint: "2".repeat(64),
};
const tiny: Disk = {
  ...nvme,
  path: "/dev/nvme1n1",
  serial: "N2",
  wwn: "0x3",
  sizeBytes: GIB / 2,
  fingerprint: "3".repeat(64),
};
const full: Disk = {
  ...empty,
  path: "/dev/sdb",
  serial: "S2",
  wwn: "0x4",
  links: [],
  signature: "ext4",
  zeroEnds: false,
  fingerprint: "4".repeat(64),
};
const state = (path: string): Disk => ({
  ...empty,
  path,
  links: [],
  signature: "ext4",
  uuid: UUID,
  zeroEnds: false,
  mark: mark("ready"),
  fingerprint: path.padEnd(64, "5"),
});
const begun: Disk = { ...nvme, path: "/dev/sdd", serial: "S4", mark: mark("formatting"), fingerprint: "6".repeat(64) };
const mounted: Disk = { ...empty, path: "/dev/sde", serial: "S5", mounted: true, fingerprint: "7".repeat(64) };
const all = [empty, nvme, tiny, full, state("/dev/sdf"), state("/dev/sdg"), begun, mounted];

const policies = fc.record<DiskPolicy>(
  {
    name: fc.constant("p"),
    mode: fc.constantFrom("ram", "find-empty", "named"),
    serial: fc.constantFrom("S1", "N1", "S2", "none"),
    wwn: fc.constantFrom("0x1", "0x2"),
    path: fc.constantFrom("/dev/sda", "/dev/disk/by-id/ata-S1", "/dev/nvme0n1", "/dev/sdf"),
    minSizeBytes: fc.constantFrom(0, GIB, 10 * GIB),
    maxSizeBytes: fc.constantFrom(GIB, 10 * GIB, 1 << 40),
    transport: fc.constantFrom("nvme", "sata", "usb"),
    media: fc.constantFrom("ssd", "hdd"),
    prefer: fc.constantFrom("largest", "smallest"),
  },
  { requiredKeys: ["name", "mode"] },
);

test("the plan names the disk that the host would use, finish or take, and no other", () => {
  fc.assert(
    fc.property(fc.shuffledSubarray(all), policies, (disks, policy) => {
      const choice = chooseDisk(disks, policy, { owner });
      const plan = planDisks(shownDisks(disks, owner), policy);
      const chosen = plan.disks.filter(({ will }) => will !== "leave");
      assert.is(plan.disks.length, disks.length);
      assert.equal(
        chosen.map(({ path }) => path),
        choice.do === "ram" ? [] : [choice.path],
        `${choice.reason} / ${plan.summary}`,
      );
      if (choice.do === "use") assert.is(chosen[0]!.will, "use");
      if (choice.do === "take") assert.is(chosen[0]!.will, choice.begin === "verify" ? "take" : "finish");
      for (const { why } of plan.disks) assert.ok(why.length > 0 && why.length <= 400);
    }),
    { numRuns: 2_000 },
  );
});

test("a policy names a disk by size, transport, kind and place in the row, never one with anything on it", () => {
  const took = (policy: Partial<DiskPolicy>, disks = [empty, nvme, full]): string => {
    const choice = chooseDisk(disks, { name: "p", mode: "find-empty", ...policy }, { owner });
    return choice.do === "take" ? choice.path : choice.reason;
  };
  assert.is(took({}), "/dev/sda");
  assert.is(took({ prefer: "smallest" }), "/dev/nvme0n1");
  assert.is(took({ maxSizeBytes: 10 * GIB }), "/dev/nvme0n1");
  assert.is(took({ transport: "nvme" }), "/dev/nvme0n1");
  assert.is(took({ media: "hdd", minSizeBytes: 8 * GIB }), "/dev/sda");
  assert.is(took({ mode: "named", path: "/dev/disk/by-id/ata-S1" }), "/dev/sda");
  assert.match(took({ transport: "sas" }), /\/dev\/sda is attached by sata, not sas, .*\/dev\/sdb holds ext4/);
  assert.match(took({ mode: "named", serial: "S2" }), /\/dev\/sdb holds ext4/);
  assert.match(took({ mode: "named", serial: "S1", media: "ssd" }), /is an hdd, not an ssd/);
});

test("why each other disk is left is said", () => {
  const plan = planDisks(shownDisks([empty, nvme, full, tiny, mounted], owner), { name: "p", mode: "find-empty" });
  assert.is(plan.summary, "the state goes to /dev/sda (20 GiB) if every byte of it is read as zero (policy p)");
  assert.equal(
    plan.disks.map(({ will, why }) => `${will}: ${why}`),
    [
      "take: shows nothing but zeros at both ends; it is read before, and left alone should anything be on it",
      "leave: /dev/sda comes first; it shows nothing but zeros at both ends",
      "leave: holds ext4",
      "leave: is smaller than 1 GiB (policy p)",
      "leave: is mounted",
    ],
  );
});

test.run();
