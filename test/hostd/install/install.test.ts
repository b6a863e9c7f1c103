// Install to disk, up to the firmware: how the disk is divided, what GRUB is told, which slot boots, and what lies where on the disk.
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { exec } from "#lib/exec.ts";
import { readContents } from "../../../hostd/disk-contents/contents.ts";
import { installCommand } from "../../../hostd/install/command.ts";
import { makeFat } from "../../../hostd/install/fat.ts";
import { grubConfig, slotConfig } from "../../../hostd/install/grub-config.ts";
import { layoutFrom, layoutOf } from "../../../hostd/install/layout.ts";
import {
  afterReady,
  afterUpdate,
  decodeState,
  encodeState,
  isFallback,
  nextBoot,
  type SlotState,
  TRIES,
} from "../../../hostd/install/slots.ts";
import { installDisk, readState, updateDisk, writeState } from "../../../hostd/install/write.ts";
import { GIB, look, MIB, makeDisk, signal, take, withFolder } from "../state-disk/fixture.ts";

const states = fc.record<SlotState>(
  { good: fc.constantFrom("a", "b"), trying: fc.constantFrom("a", "b"), left: fc.integer({ min: 0, max: TRIES }) },
  { requiredKeys: ["good", "left"], noNullPrototype: true },
);

test("a new image is tried so often, and then the good one boots again by itself", () => {
  let state = afterUpdate({ good: "a", left: 0 });
  const booted: string[] = [];
  for (let n = 0; n < TRIES + 2; n++) {
    const next = nextBoot(state);
    booted.push(next.slot);
    state = next.state;
  }
  assert.equal(booted, ["b", "b", "b", "a", "a"]);
  assert.ok(isFallback(state, "a"));
  assert.equal(afterReady(state, "a"), state, "the old image's host is ready, which makes the new one no better");
});

test("a new image whose host is ready once is the good one from then on", () => {
  const tried = nextBoot(afterUpdate({ good: "a", left: 0 }));
  const state = afterReady(tried.state, tried.slot);
  assert.equal(state, { good: "b", left: 0 });
  assert.is(nextBoot(state).slot, "b");
});

test("no order of boots, updates and hosts that are ready ends without a slot that was once good", () => {
  const acts = fc.array(fc.constantFrom("boot", "ready", "update"), { maxLength: 40 });
  fc.assert(
    fc.property(acts, (steps) => {
      let state: SlotState = { good: "a", left: 0 };
      const proven = new Set(["a"]);
      let running = "a" as "a" | "b";
      for (const step of steps) {
        if (step === "boot") ({ slot: running, state } = nextBoot(state));
        else if (step === "update") {
          if (running !== state.good) continue; // an update goes to the slot that is not in use
          state = afterUpdate(state);
          proven.delete(state.trying!);
        } else {
          state = afterReady(state, running);
          proven.add(running);
        }
        assert.ok(proven.has(state.good), JSON.stringify({ steps, state }));
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
  const grub = "# GRUB Environment Block\nleft=2\ngood=a\ntrying=b\n".padEnd(1024, "#");
  assert.equal(decodeState(Buffer.from(grub)), { good: "a", trying: "b", left: 2 });
});

test("parts of a disk lie in order, on whole MiB, within it; one that is too small is refused in words", () => {
  fc.assert(
    fc.property(fc.integer({ min: 4 * 1024, max: 4 << 20 }), fc.integer({ min: 1, max: 700 }), (sizeMiB, imageMiB) => {
      const sizeBytes = sizeMiB * MIB + 512 * (sizeMiB % 7);
      const { esp, slots, state } = layoutOf({ sizeBytes, imageBytes: imageMiB * MIB, diskId: "x" });
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
  assert.not.match(text, /left=-1/);
  assert.ok(text.indexOf("save_env") < text.indexOf("start $slot"));
  assert.throws(() => slotConfig(['x="; reboot'], "AAAA"), /no word for a kernel/);
});

/** A disk with small files for an image, installed. */
async function installed(folder: string) {
  const disk = await makeDisk(join(folder, "disk"), { sizeBytes: 4 * GIB });
  const imageOf = async (version: string) => {
    const image = { cmdline: ["boot=live", `version=${version}`] } as never as Parameters<
      typeof installDisk
    >[0]["image"];
    for (const [name, of] of [
      ["vmlinuz", "kernel"],
      ["initrd", "initrd"],
      ["root.squashfs", "squashfs"],
    ] as const) {
      const content = Buffer.alloc(3 * MIB, `${name} ${version} `);
      await writeFile(join(folder, name), content);
      image[of] = { sha256: createHash("sha256").update(content).digest("hex"), sizeBytes: content.length } as never;
    }
    return { image, imageDir: folder };
  };
  const layout = layoutOf({
    sizeBytes: disk.sizeBytes,
    imageBytes: 9 * MIB,
    diskId: JSON.stringify(["S1", "", disk.sizeBytes]),
  });
  const target = { path: disk.path, layout, directory: folder, signal };
  const boot = { shim: Buffer.from("shim"), grub: Buffer.from("grub"), keyManager: Buffer.from("mm") };
  await installDisk({
    ...target,
    ...(await imageOf("1")),
    boot,
    sizeBytes: disk.sizeBytes,
    diskUuid: "11111111-2222-4333-8444-555555555555",
  });
  return { disk, target, imageOf, layout };
}

test("an installed disk has a table, two slots and a state, and no policy takes it for an empty one", () =>
  withFolder(async (folder) => {
    const { disk, target } = await installed(folder);
    const words = (await readContents(disk.path, disk.sizeBytes)).join("\n");
    assert.match(words, /^a GPT with 4 partitions\npartition 1 "FLYNN-ESP" \(64 MiB\): FAT32 labelled FLYNN-ESP\n/);
    assert.match(words, /partition 2 "FLYNN-A" \(1 GiB\): ext4 labelled FLYNN-A, /);
    assert.match(words, /partition 3 "FLYNN-B" \(1 GiB\): nothing that is known/);
    assert.equal(await readState(target), { good: "a", left: 0 });
    const command = { disk: disk.path, read: async () => [await look(disk)], signal };
    assert.match(await installCommand({ ...command, ready: "a" }), /slot a is good/);
    const again = await installCommand({ ...command, imageDir: folder }).catch((error: Error) => error.message);
    assert.match(again, /holds gpt; nothing was written/);
    assert.equal(layoutFrom([], "x"), undefined);
    // util-linux checks the sums of both tables before it believes one.
    const { stdout } = await exec(["blkid", "-p", "-o", "export", disk.path]);
    assert.match(stdout, /^PTUUID=11111111-2222-4333-8444-555555555555$/m);
    assert.is((await take([disk], { folder })).taken.choice.do, "ram");
  }));

test("a new image goes into the other slot, is read back, and the one that runs is left to its last byte", () =>
  withFolder(async (folder) => {
    const { disk, target, imageOf, layout } = await installed(folder);
    const { at, sizeBytes } = layout.slots.a;
    const slotA = async () => {
      const hash = createHash("sha256");
      for await (const chunk of createReadStream(disk.path, { start: at, end: at + sizeBytes - 1 })) hash.update(chunk);
      return hash.digest("hex");
    };
    const before = await slotA();
    const next = await imageOf("2");
    assert.equal(await updateDisk({ ...target, ...next }), { good: "a", trying: "b", left: TRIES });
    assert.is(await slotA(), before);
    await writeState(target, afterReady(nextBoot(await readState(target)).state, "b"));
    assert.equal(await readState(target), { good: "b", left: 0 });
    // What is not the image is never tried.
    await writeFile(join(folder, "vmlinuz"), "something else");
    const why = await updateDisk({ ...target, ...next }).catch((error: Error) => error.message);
    assert.match(String(why), /vmlinuz in slot a of .* is not what the image has/);
    assert.equal(await readState(target), { good: "b", left: 0 });
  }));

test("where no state of two slots is, none is written", () =>
  withFolder(async (folder) => {
    const disk = await makeDisk(join(folder, "disk"), { sizeBytes: 4 * GIB });
    const layout = layoutOf({ sizeBytes: disk.sizeBytes, imageBytes: MIB, diskId: "S1" });
    const why = await writeState({ path: disk.path, layout }, { good: "a", left: 0 }).catch(
      (error: Error) => error.message,
    );
    assert.match(String(why), /carries no state of two slots/);
  }));

test("names that no firmware looks for, and files that do not fit, are no file system", () => {
  const files = new Map([["boot/grub.cfg", Buffer.from("x")]]);
  assert.throws(() => makeFat({ sizeBytes: 64 * MIB, label: "X", hiddenSectors: 0, files }), /is no 8.3 name/);
  const large = new Map([["BIG", Buffer.alloc(65 * MIB)]]);
  assert.throws(() => makeFat({ sizeBytes: 64 * MIB, label: "X", hiddenSectors: 0, files: large }), /do not fit/);
});

test.run();
