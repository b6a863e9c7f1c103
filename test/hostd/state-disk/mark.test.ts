// The mark: what it says comes back, half of one is known, and nothing else passes for either.
import { createHash, randomBytes } from "node:crypto";
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import {
  decodeMark,
  diskOwner,
  encodeMark,
  fileSystemOf,
  isTornMark,
  type Mark,
} from "../../../hostd/state-disk/mark.ts";
import { testCa } from "../fake-control.ts";

const owner = { cluster: "ab".repeat(32), machineId: "m_1", machineName: "node-1" };
const mark: Mark = {
  ...owner,
  state: "formatting",
  fileSystem: "11111111-2222-8333-8444-555555555555",
  sizeBytes: 18 * 2 ** 40,
  orderId: "w_1",
};
const possible: Mark[] = (["erasing", "formatting", "ready"] as const).map((state) => ({ ...mark, state }));

test("a mark says what was written into it, in one sector that is no partition table", () => {
  for (const one of possible) {
    const sector = encodeMark(one);
    assert.is(sector.length, 512);
    assert.equal(decodeMark(sector), one);
    assert.is.not(sector.readUInt16LE(510), 0xaa55);
    assert.ok(sector.subarray(446, 448).equals(Buffer.alloc(2)));
  }
});

test("each part of a mark lies where its layout has it", () => {
  const full = { ...mark, machineId: "m".repeat(63), machineName: "n".repeat(63), orderId: "o".repeat(63) };
  const sector = encodeMark(full);
  assert.equal(decodeMark(sector), full);
  const at = (from: number, to: number) => sector.subarray(from, to).toString("latin1");
  assert.equal([at(0, 17), sector.readUInt32LE(32), sector.readUInt32LE(36)], ["FLYNN STATE DISK\n", 1, 2]);
  assert.is(sector.subarray(40, 72).toString("hex"), "ab".repeat(32));
  assert.equal(
    [at(72, 136), at(136, 200), at(224, 288)],
    [full.machineId, full.machineName, full.orderId].map((text) => `${text}\0`),
  );
  assert.is(sector.subarray(200, 216).toString("hex"), "11111111222283338444555555555555");
  assert.is(sector.readBigUInt64LE(216), BigInt(18 * 2 ** 40));
  assert.ok(sector.subarray(288, 448).every((byte) => byte === 0));
  const cut = encodeMark({ ...mark, machineId: "m".repeat(99), machineName: "n".repeat(99), orderId: "o".repeat(99) });
  assert.equal(cut, sector, "what is too long is cut and hides nothing after it");
});

test("a text that a terminal would act on is shown without that", () => {
  assert.is((decodeMark(encodeMark({ ...mark, machineName: "a\u001b[2Jb" })) as Mark).machineName, "a?[2Jb");
});

test("a whole mark of another version, or in a state that this one does not know, is never taken for one that may be used", () => {
  const written = (at: number, value: number) => {
    const sector = encodeMark(mark);
    sector.writeUInt32LE(value, at);
    createHash("sha256").update(sector.subarray(0, 448)).digest().copy(sector, 448);
    return decodeMark(sector);
  };
  assert.equal(
    [written(32, 1), written(36, 3), written(36, 4), written(36, 5)],
    [mark, { ...mark, state: "ready" }, { ...mark, state: "wiping" }, { ...mark, state: "dividing" }],
    "as this version writes it",
  );
  for (const version of [0, 2, 0xffffffff]) assert.is(written(32, version), "damaged", `version ${version}`);
  for (const state of [0, 6, 0xffffffff]) assert.is(written(36, state), "damaged", `state ${state}`);
});

test("any byte of a mark that is changed is seen", () => {
  const sector = encodeMark(mark);
  for (let at = 0; at < 512; at++) {
    const changed = Buffer.from(sector);
    changed[at]! ^= 1;
    assert.is(decodeMark(changed), "damaged", `byte ${at}`);
    if (at < 448 && at !== 36) assert.is(isTornMark(changed, possible), changed[at] === 0, `byte ${at}`);
  }
});

test("half of a mark, from either end, is half of ours; of another machine's or disk's it is not", () => {
  const others = [
    { ...mark, machineId: "m_2" },
    { ...mark, cluster: "cd".repeat(32) },
    { ...mark, fileSystem: mark.fileSystem.replace("1", "2") },
  ];
  for (let length = 32; length < 512; length++) {
    const sector = encodeMark(mark).fill(0, length);
    assert.is(isTornMark(sector, possible), length < 480 || decodeMark(sector) === "damaged", `${length} bytes`);
  }
  for (let length = 32; length <= 300; length++)
    assert.is(isTornMark(encodeMark(mark).fill(0, 0, length), possible), true, `but the first ${length} bytes`);
  for (const other of others) assert.is(isTornMark(encodeMark(other).fill(0, 400), possible), false);
});

test("no other data is a mark or half of one", () => {
  assert.is(decodeMark(Buffer.alloc(512)), undefined);
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 512, maxLength: 512 }), (bytes) => {
      assert.is(decodeMark(Buffer.from(bytes)), undefined);
      assert.is(isTornMark(Buffer.from(bytes), possible), false);
    }),
  );
  for (let length = 0; length < 32; length++) assert.is(isTornMark(encodeMark(mark).fill(0, length), possible), false);
  for (let n = 0; n < 50; n++) {
    const sector = encodeMark(mark);
    randomBytes(64).copy(sector, 60 + n);
    assert.is(isTornMark(sector, possible), false);
  }
});

test("a disk's file system has the same UUID each time, and another one in another machine or cluster", () => {
  const disk = { serial: "S1", wwn: "0x5", sizeBytes: 1 << 30 };
  assert.match(fileSystemOf(owner, disk), /^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  const all = [
    [owner, disk],
    [{ ...owner, machineId: "m_2" }, disk],
    [{ ...owner, cluster: "cd".repeat(32) }, disk],
    [owner, { ...disk, serial: "S2" }],
    [owner, { ...disk, sizeBytes: 1 << 29 }],
  ] as const;
  assert.is(new Set(all.map(([who, of]) => fileSystemOf(who, of))).size, all.length);
  assert.is(fileSystemOf({ ...owner, machineName: "renamed" }, disk), fileSystemOf(owner, disk));
});

test("the UUID of a disk is the one that earlier versions gave it, or a format that was cut off is not known again", () => {
  const disk = { serial: "S1", wwn: "0x5", sizeBytes: 1 << 30 };
  assert.is(fileSystemOf(owner, disk), "9c4b7e88-1461-848a-af6c-3758a47df5f2");
  assert.is(fileSystemOf(owner, { sizeBytes: 1 << 30 }), "44e8c13e-1ce6-807d-9d93-63fcfc21be64");
});

test("the cluster is its CA's key", async () => {
  const [one, two] = [await testCa(), await testCa()];
  const seed = { machineId: "m_1", hostname: "node-1" };
  assert.equal(diskOwner({ ...seed, caPem: one.caPem }), diskOwner({ ...seed, caPem: one.caPem }));
  assert.match(diskOwner({ ...seed, caPem: one.caPem }).cluster, /^[0-9a-f]{64}$/);
  assert.is.not(diskOwner({ ...seed, caPem: one.caPem }).cluster, diskOwner({ ...seed, caPem: two.caPem }).cluster);
});

test.run();
