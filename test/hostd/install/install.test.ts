// Install to disk, up to the firmware: how the disk is divided, what GRUB is told, which slot boots, and what lies where on the disk.
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { exec } from "#lib/exec.ts";
import { readContents } from "../../../hostd/disk-contents/contents.ts";
import { writeArchive } from "../../../hostd/install/archive.ts";
import { biosBoot } from "../../../hostd/install/bios.ts";
import { divideDisk } from "../../../hostd/install/divide.ts";
import { makeFat } from "../../../hostd/install/fat.ts";
import { diskUuidOf, firstSector } from "../../../hostd/install/gpt.ts";
import { grubConfig, slotConfig } from "../../../hostd/install/grub-config.ts";
import { layoutOn } from "../../../hostd/install/installed.ts";
import { diskIdOf, layoutFrom, layoutOf, partsOf, uuidOf } from "../../../hostd/install/layout.ts";
import {
  afterReady,
  afterUpdate,
  beforeUpdate,
  decodeState,
  encodeState,
  isFallback,
  nextBoot,
  otherSlot,
  type Slot,
  type SlotState,
  TRIES,
} from "../../../hostd/install/slots.ts";
import {
  installDisk,
  installedState,
  partitionPath,
  readState,
  stateAt,
  type Target,
  updateDisk,
  writeState,
} from "../../../hostd/install/write.ts";
import { GIB, look, MIB, makeDisk, owner, signal, take, withFolder } from "../state-disk/fixture.ts";

const FRESH: SlotState = { good: "a", left: 0, strikes: 0, images: { a: "one" } };
const imageId = fc.stringMatching(/^[a-z0-9-]{1,20}$/);
const states = fc.record<SlotState>(
  {
    good: fc.constantFrom<Slot>("a", "b"),
    trying: fc.constantFrom<Slot>("a", "b"),
    left: fc.integer({ min: 0, max: TRIES }),
    strikes: fc.integer({ min: 0, max: 2 * TRIES - 1 }),
    images: fc.record({ a: imageId, b: imageId }, { requiredKeys: [], noNullPrototype: true }),
  },
  { requiredKeys: ["good", "left", "strikes", "images"], noNullPrototype: true },
) as fc.Arbitrary<SlotState>;

/** The next boots, none of which becomes ready. */
function bootsOf(from: SlotState, count: number): { slots: string; state: SlotState } {
  let [slots, state] = ["", from];
  for (let n = 0; n < count; n++) {
    const next = nextBoot(state);
    slots += next.slot;
    state = next.state;
  }
  return { slots, state };
}

test("a new image is tried so often, and then the good one boots again by itself", () => {
  const { slots, state } = bootsOf(afterUpdate(FRESH, "two"), TRIES + 2);
  assert.is(slots, "bbbaa");
  assert.ok(isFallback(state, "a"));
  const settled = afterReady(state, "a");
  assert.is(settled.good, "a", "the old image's host is ready, which makes the new one no better");
  assert.is(bootsOf(settled, 1).slots, "a", "nor is it tried again by itself");
});

test("a new image whose host is ready once is the good one from then on", () => {
  const tried = nextBoot(afterUpdate(FRESH, "two"));
  const state = afterReady(tried.state, tried.slot);
  assert.equal(state, { good: "b", left: 0, strikes: 0, images: { a: "one", b: "two" } });
  assert.is(nextBoot(state).slot, "b");
});

test("a good image that does not become ready any more leaves the other slot its turn, if there is an image in it", () => {
  assert.is(bootsOf({ ...FRESH, images: { a: "one", b: "two" } }, 8).slots, "aaabbbaa");
  assert.is(bootsOf(FRESH, 8).slots, "aaaaaaaa");
  const { state } = bootsOf({ ...FRESH, images: { a: "one", b: "two" } }, 4);
  assert.is(bootsOf(afterReady(state, "b"), 9).slots, "bbbaaabbb", "the one that became ready is the good one");
});

test("a slot is not booted while it is written", () => {
  const whole = { ...FRESH, images: { a: "one", b: "two" } };
  assert.is(bootsOf(beforeUpdate(whole), 8).slots, "aaaaaaaa");
  assert.is(bootsOf(beforeUpdate(afterUpdate(whole, "three")), 8).slots, "aaaaaaaa");
});

test("no order of boots, updates, cut updates and hosts that are ready ends without a slot that was once good", () => {
  const acts = fc.array(fc.constantFrom("boot", "ready", "update", "cut"), { maxLength: 60 });
  fc.assert(
    fc.property(acts, (steps) => {
      let state = FRESH;
      const proven = new Set<Slot>(["a"]);
      let running: Slot = "a";
      for (const step of steps) {
        if (step === "boot") ({ slot: running, state } = nextBoot(state));
        else if (step === "ready") {
          state = afterReady(state, running);
          proven.add(running);
        } else if (running === state.good) {
          state = beforeUpdate(state);
          proven.delete(otherSlot(state.good));
          if (step === "update") state = afterUpdate(state, "next");
        }
        assert.ok(proven.has(state.good), JSON.stringify({ steps, state }));
        // Whatever happens from here, a boot of the good slot comes.
        assert.ok(bootsOf(state, 2 * TRIES + 1).slots.includes(state.good));
      }
    }),
  );
});

test("GRUB's block of state is read as it was written, and nothing else is taken for one", () => {
  fc.assert(
    fc.property(states, (state) => {
      const block = encodeState(state);
      assert.is(block.length, 1024);
      assert.equal(decodeState(block), state);
    }),
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 1100 }), (bytes) => {
      assert.is(decodeState(Buffer.from(bytes)), undefined);
    }),
  );
  // As GRUB writes it: variables in its own order, # up to the end.
  const grub = "# GRUB Environment Block\nleft=2\ngood=a\nimage_b=i-2\ntrying=b\n".padEnd(1024, "#");
  const read = { good: "a", trying: "b", left: 2, strikes: 0, images: { b: "i-2" } };
  assert.equal(decodeState(Buffer.from(grub)), read);
});

test("parts of a disk lie in order, on whole MiB, within it; one that is too small is refused in words", () => {
  fc.assert(
    fc.property(fc.integer({ min: 4 * 1024, max: 4 << 20 }), fc.integer({ min: 1, max: 700 }), (sizeMiB, imageMiB) => {
      const sizeBytes = sizeMiB * MIB + 512 * (sizeMiB % 7);
      const { esp, slots, state, bios } = layoutOf({ sizeBytes, imageBytes: imageMiB * MIB, diskId: "x" });
      assert.ok(bios.at >= 34 * 512 && bios.at + bios.sizeBytes === MIB, "between the table and the first part");
      let end = MIB;
      for (const part of [esp, slots.a, slots.b, state]) {
        assert.is(part.at, end);
        assert.is(part.at % MIB, 0);
        end = part.at + part.sizeBytes;
      }
      assert.ok(end <= sizeBytes - MIB && state.sizeBytes >= GIB && slots.a.sizeBytes >= 2 * imageMiB * MIB);
    }),
  );
  assert.throws(
    () => layoutOf({ sizeBytes: 2 * GIB, imageBytes: MIB, diskId: "x" }),
    /2 GiB is too small .* are needed/,
  );
});

test("GRUB does as the rule says, and counts before it starts", () => {
  const text = grubConfig({ a: "AAAA", b: "BBBB" });
  assert.match(text, /if \[ "\$left" = "3" \]; then set left=2; set next="\$trying"/);
  assert.match(text, /elif \[ "\$left" = "1" \]; then set left=0; set next="\$trying"/);
  assert.match(text, /elif \[ "\$strikes" = "5" \]; then set strikes=0; set next="\$other"/);
  assert.not.match(text, /left=-1/);
  assert.ok(text.lastIndexOf("save_env") < text.indexOf("start $slot"));
  const file = { sha256: "1".repeat(64), sizeBytes: 1 };
  const image = { id: "i-1", kernel: file, initrd: file, squashfs: file, cmdline: ["boot=live"] };
  const server = "http://10.77.0.1:7780";
  const words = slotConfig(image, server);
  assert.match(words, /^set words="boot=live fetch=disk: flynn.image=i-1 flynn.squashfs=1{64} flynn.server=http:/);
  assert.throws(() => slotConfig({ ...image, cmdline: ['x="; reboot'] }, server), /no word for a kernel/);
});

test("GRUB's boot sector and core are told where they lie, and nothing else of them changes", () => {
  const { bios } = layoutOf({ sizeBytes: 8 * GIB, imageBytes: MIB, diskId: "x" });
  const [boot, core] = [Buffer.alloc(512, 1), Buffer.alloc(5 * 512 + 7, 2)];
  const placed = biosBoot({ boot, core }, bios);
  assert.is(placed.code.length, 440);
  assert.is(placed.code.readBigUInt64LE(0x5c), 128n);
  assert.is(placed.core.readBigUInt64LE(0x1f4), 129n);
  assert.is(placed.core.readUInt16LE(0x1fc), 5);
  assert.equal(placed.core.subarray(512), core.subarray(512));
  assert.throws(() => biosBoot({ boot, core: Buffer.alloc(MIB) }, bios), /too large for its partition/);
  const sector = firstSector(8 * GIB, placed.code);
  assert.equal(sector.subarray(0, 440), placed.code);
  assert.is(sector.readUInt16BE(510), 0x55aa);
  assert.is(firstSector(8 * GIB).toString("hex", 0, 4), "cd180000", "what boots nothing yet hands over to the next");
});

test("the archive is one that cpio reads: root image and seed where the initrd looks for them", () =>
  withFolder(async (folder) => {
    const squashfs = join(folder, "squashfs");
    await writeFile(squashfs, Buffer.alloc(70_001, "root "));
    const path = join(folder, "root.cpio");
    const seed = { "user-data": "#cloud-config\n", "meta-data": "a: b\n" };
    const sha256 = await writeArchive(path, { squashfs, seed });
    const read = await readFile(squashfs);
    assert.is(sha256, createHash("sha256").update(read).digest("hex"));
    const { stdout } = await exec(["busybox", "cpio", "-t", "-F", path]);
    assert.is(
      stdout.trim().replaceAll("\n", " "),
      "flynn-slot flynn-slot/seed flynn-slot/seed/user-data flynn-slot/seed/meta-data flynn-slot/root.squashfs",
    );
    const got = await exec(["busybox", "cpio", "-i", "--to-stdout", "-F", path, "flynn-slot/root.squashfs"]);
    assert.is(got.stdout.length, 70_001);
  }));

const BOOT = {
  shim: Buffer.from("shim"),
  grub: Buffer.from("grub"),
  keyManager: Buffer.from("mm"),
  bios: { boot: Buffer.alloc(512, 1), core: Buffer.alloc(4096, 2) },
};

/** A disk of this machine, divided. */
async function divided(folder: string) {
  const disk = await makeDisk(join(folder, "disk"), { sizeBytes: 4 * GIB });
  const options = { disk: await look(disk), owner, imageBytes: 9 * MIB, verify: "ends" as const, signal };
  const { end, layout } = await divideDisk(options);
  assert.is(end, "ready");
  const target: Target = { path: disk.path, sizeBytes: disk.sizeBytes, layout: layout!, directory: folder, signal };
  const contentOf = async (version: string) => {
    const image = { id: `image-${version}`, cmdline: ["boot=live", `version=${version}`] } as Image;
    const files = {} as Record<"kernel" | "initrd" | "squashfs", string>;
    for (const each of ["kernel", "initrd", "squashfs"] as const) {
      const content = Buffer.alloc(3 * MIB, `${each} ${version} `);
      files[each] = join(folder, each);
      await writeFile(files[each], content);
      image[each] = { sha256: createHash("sha256").update(content).digest("hex"), sizeBytes: content.length };
    }
    return { image, files, server: "http://10.77.0.1:7780", seed: { "user-data": "#cloud-config\n" } };
  };
  return { disk, target, layout: layout!, contentOf };
}
type Image = Parameters<typeof updateDisk>[0]["image"];

async function installed(folder: string) {
  const made = await divided(folder);
  await installDisk({ ...made.target, ...(await made.contentOf("1")), boot: BOOT });
  return made;
}

/** All that an image of this size takes of a slot: metadata and files lie at its beginning. */
const SLOT_USED = 64 * MIB;

async function rangeHash(path: string, at: number, sizeBytes: number): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path, { start: at, end: at + sizeBytes - 1 }))
    hash.update(chunk as Buffer);
  return hash.digest("hex");
}

test("an installed disk has a table, two slots and a state, and no policy takes it for an empty one", () =>
  withFolder(async (folder) => {
    const { disk, target } = await installed(folder);
    const words = (await readContents(disk.path, disk.sizeBytes)).join("\n");
    assert.match(words, /^a GPT with 5 partitions\npartition 1 "FLYNN-ESP" \(64 MiB\): FAT32 labelled FLYNN-ESP\n/);
    assert.match(words, /partition 2 "FLYNN-A" \(1 GiB\): ext4 labelled FLYNN-A, /);
    assert.match(words, /partition 3 "FLYNN-B" \(1 GiB\): nothing that is known/);
    assert.equal(await installedState(target), { good: "a", left: 0, strikes: 0, images: { a: "image-1" } });
    assert.equal(layoutFrom([], "x"), undefined);
    // util-linux checks the sums of both tables before it believes one.
    const { stdout } = await exec(["blkid", "-p", "-o", "export", disk.path]);
    assert.match(stdout, new RegExp(`^PTUUID=${uuidOf(diskIdOf(owner, disk))}$`, "m"));
    assert.is((await take([disk], { folder })).taken.choice.do, "ram");
  }));

test("a disk is this machine's installation by its own name in its table, and nobody else's", () =>
  withFolder(async (folder) => {
    const { disk, layout } = await divided(folder);
    const seen = await look(disk);
    assert.equal(await layoutOn(seen, owner), layout);
    assert.is(await layoutOn(seen, { ...owner, machineId: "m_2" }), undefined);
    assert.is(await layoutOn(seen, { ...owner, cluster: "cd".repeat(32) }), undefined);
    assert.is(await layoutOn({ ...seen, serial: "S2" }, owner), undefined, "a copy on another disk");
    assert.is(diskUuidOf(Buffer.alloc(92)), undefined);
    assert.is(await installedState({ ...disk, layout }), undefined, "it is divided, and nothing is installed yet");
  }));

test("a disk is divided when every byte of it is zero, and left to the last byte when one is not", () =>
  withFolder(async (folder) => {
    const disk = await makeDisk(join(folder, "disk"), { sizeBytes: 4 * GIB, content: [[3 * GIB + 77, "x"]] });
    const before = await rangeHash(disk.path, 0, 64 * MIB);
    const options = { disk: await look(disk), owner, imageBytes: MIB, verify: "all" as const, signal };
    const { end } = await divideDisk(options);
    assert.is(end, "refused");
    assert.is(await rangeHash(disk.path, 0, 64 * MIB), before);
  }));

test("a power cut at any point of dividing leaves a disk that is gone on with, and that boots nothing", () =>
  withFolder(async (folder) => {
    for (const stop of ["mark", "table", "end"]) {
      const disk = await makeDisk(join(folder, `disk-${stop}`), { sizeBytes: 4 * GIB });
      const options = { owner, imageBytes: MIB, verify: "ends" as const, signal };
      const cut = divideDisk({
        ...{ ...options, disk: await look(disk) },
        onStep: (step) => {
          if (step === stop) throw new Error("cut");
        },
      });
      assert.is(await cut.then(String, (error: Error) => error.message), "cut");
      const seen = await look(disk);
      if (stop === "end") assert.ok(await layoutOn(seen, owner));
      else {
        assert.is((await take([disk], { folder })).taken.choice.do, stop === "mark" ? "use" : "ram", stop);
        if (stop === "mark") continue; // nothing was written: it was an empty disk, and has the state now
        assert.is((await divideDisk({ ...options, disk: seen })).end, "ready", stop);
        assert.ok(await layoutOn(await look(disk), owner));
      }
    }
  }));

test("a power cut at any point of the first installation leaves a disk that is installed to anew", () =>
  withFolder(async (folder) => {
    const { target, contentOf } = await divided(folder);
    const content = await contentOf("1");
    for (const stop of ["mkfs", "read back", "core", "esp", "esp-first", "first-sector"]) {
      const cut = installDisk({ ...target, ...content, boot: BOOT, onStep: stopAt(stop) });
      assert.is(await cut.then(String, (error: Error) => error.message), "cut", stop);
      assert.is(await installedState(target), undefined, stop);
    }
    await installDisk({ ...target, ...content, boot: BOOT });
    assert.is((await installedState(target))?.good, "a");
  }));

const stopAt = (stop: string) => (step: string) => {
  if (step === stop) throw new Error("cut");
};

test("a power cut at any point of an update leaves the slot that runs as it is, and it boots", () =>
  withFolder(async (folder) => {
    const { disk, target, layout, contentOf } = await installed(folder);
    const [{ at }, sizeBytes] = [layout.slots.a, SLOT_USED];
    const beforeB = () => rangeHash(disk.path, 0, stateAt(layout));
    const slotA = await rangeHash(disk.path, at, sizeBytes);
    const table = await beforeB();
    const content = await contentOf("2");
    for (const stop of ["forget", "mkfs", "read back", "try"]) {
      const cut = updateDisk({ ...target, ...content, onStep: stopAt(stop) });
      assert.is(await cut.then(String, (error: Error) => error.message), "cut", stop);
      assert.is(bootsOf(await readState(target), 7).slots, "aaaaaaa", stop);
      assert.is(await rangeHash(disk.path, at, sizeBytes), slotA, stop);
      assert.is(await beforeB(), table, stop);
    }
    // The block of state is two sectors, of which the second never changes: half of a write is the old one or the new one.
    const [old, next] = [await readState(target), afterUpdate(await readState(target), "image-2")];
    assert.equal(encodeState(old).subarray(512), encodeState(next).subarray(512));
  }));

test("a new image goes into the other slot, is read back, and the one that runs is left as it is", () =>
  withFolder(async (folder) => {
    const { disk, target, contentOf, layout } = await installed(folder);
    const [{ at }, sizeBytes] = [layout.slots.a, SLOT_USED];
    const before = await rangeHash(disk.path, at, sizeBytes);
    const next = await contentOf("2");
    const state = await updateDisk({ ...target, ...next });
    assert.equal(state, { good: "a", trying: "b", left: TRIES, strikes: 0, images: { a: "image-1", b: "image-2" } });
    assert.is(await rangeHash(disk.path, at, sizeBytes), before);
    await writeState(target, afterReady(nextBoot(await readState(target)).state, "b"));
    assert.is((await readState(target)).good, "b");
    // What is not the image is never tried.
    await writeFile(next.files.kernel, "something else");
    const why = await updateDisk({ ...target, ...next }).catch((error: Error) => error.message);
    assert.match(String(why), /what was fetched is not the kernel of image image-2/);
    await writeFile(next.files.squashfs, "something else");
    const root = await updateDisk({ ...target, ...next }).catch((error: Error) => error.message);
    assert.match(String(root), /what was fetched is not the root image of image image-2/);
    assert.is(bootsOf(await readState(target), 7).slots, "bbbbbbb");
  }));

test("where no state of two slots is, none is written", () =>
  withFolder(async (folder) => {
    const disk = await makeDisk(join(folder, "disk"), { sizeBytes: 4 * GIB });
    const layout = layoutOf({ sizeBytes: disk.sizeBytes, imageBytes: MIB, diskId: "S1" });
    const why = await writeState({ path: disk.path, layout }, FRESH).catch((error: Error) => error.message);
    assert.match(String(why), /carries no state of two slots/);
  }));

test("parts are named as the kernel names them, and a policy that wants a state disk does not find one in them", () => {
  assert.is(partitionPath("/dev/sda", 2), "/dev/sda2");
  assert.is(partitionPath("/dev/nvme0n1", 4), "/dev/nvme0n1p4");
  const parts = partsOf(layoutOf({ sizeBytes: 8 * GIB, imageBytes: MIB, diskId: "x" }));
  assert.equal(
    parts.map(({ number, name }) => `${number} ${name}`),
    ["1 FLYNN-ESP", "2 FLYNN-A", "3 FLYNN-B", "4 FLYNN-STATE", "5 FLYNN-BIOS"],
  );
});

test("names that no firmware looks for, and files that do not fit, are no file system", () => {
  const files = new Map([["boot/grub.cfg", Buffer.from("x")]]);
  assert.throws(() => makeFat({ sizeBytes: 64 * MIB, label: "X", hiddenSectors: 0, files }), /is no 8.3 name/);
  const large = new Map([["BIG", Buffer.alloc(65 * MIB)]]);
  assert.throws(() => makeFat({ sizeBytes: 64 * MIB, label: "X", hiddenSectors: 0, files: large }), /do not fit/);
});

test.run();
