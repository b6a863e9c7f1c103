// time limit: 900 s
// A disk that a host installed, on emulated machines: what firmware, GRUB and the initrd make of it, with a BIOS and with UEFI, when a new
// image never becomes ready, and when a slot is damaged. The host itself, from the network to its disk: test/soak/installed.ts.
import { open } from "node:fs/promises";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { exec } from "#lib/exec.ts";
import { divideDisk } from "../../hostd/install/divide.ts";
import { type SlotState, TRIES } from "../../hostd/install/slots.ts";
import { bootFilesIn, installDisk, readState, type Target, updateDisk, writeState } from "../../hostd/install/write.ts";
import { parseManifest } from "../../images/host/manifest.ts";
import { type BuiltImage, bootImage } from "../e2e/boot-image.ts";
import { GIB, look, MIB, owner } from "../hostd/state-disk/fixture.ts";
import type { FirmwareName } from "./firmware/firmwares.ts";
import { type Lan, openLan } from "./network.ts";
import { addMachine, type Machine } from "./qemu.ts";
import { openScope, type Scope } from "./scope.ts";

interface Context {
  scope: Scope;
  lan: Lan;
  built: BuiltImage;
  /** A whole installed disk, to be copied. */
  target: Target;
}

const lab = suite<Context>("installed");
const SIZE = 4 * GIB;
const BOOT_MS = 300_000;
const SEED = { "user-data": "#cloud-config\n{}\n", "meta-data": "instance-id: i-disk\nlocal-hostname: lab\n" };
const started = (slot: string) => new RegExp(`Flynn: starting slot ${slot} of this disk`, "g");
const VERIFIED = /flynn: root image verified/g;

/** The built image for a slot, with more words for its kernel. */
function contentOf({ built, words = [] }: { built: BuiltImage; words?: string[] }) {
  const { id, kernel, initrd, squashfs, cmdline } = parseManifest(built.manifest);
  const at = (name: string) => join(built.imagesDir, built.id, name);
  return {
    image: { id: words.length === 0 ? id : `${id}-other`, kernel, initrd, squashfs, cmdline: [...cmdline, ...words] },
    files: { kernel: at("vmlinuz"), initrd: at("initrd"), squashfs: at("root.squashfs") },
    server: "http://10.79.0.1:7780",
    seed: SEED,
  };
}

lab.before(async (context) => {
  context.scope = await openScope();
  const { scope } = context;
  context.lan = await openLan(scope, { ip: "10.79.0.1" });
  context.built = await bootImage({ say: console.log, signal: scope.signal, fast: true });
  const path = join(scope.folder, "installed");
  const file = await open(path, "w");
  await file.truncate(SIZE);
  await file.close();
  const { signal } = scope;
  const divided = await divideDisk({
    ...{
      disk: await look({ path, sizeBytes: SIZE, serial: "S1" }),
      owner,
      imageBytes: 512 * MIB,
      verify: "ends",
      signal,
    },
  });
  context.target = { path, sizeBytes: SIZE, layout: divided.layout!, directory: scope.folder, signal };
  const files = join(scope.folder, "boot-files");
  const squashfs = join(context.built.imagesDir, context.built.id, "root.squashfs");
  await exec(["unsquashfs", "-quiet", "-no-progress", "-dest", files, squashfs, "usr/lib/flynn/boot"], {
    timeoutMs: 120_000,
  });
  const boot = await bootFilesIn(join(files, "usr/lib/flynn/boot"));
  await installDisk({ ...context.target, ...contentOf(context), boot });
});

lab.after(async ({ scope }) => {
  await scope.close();
});

/** A machine that has a copy of the disk and boots nothing else. */
async function machineWith({ scope, lan, target }: Context, name: string, firmware: FirmwareName) {
  const machine = await addMachine(scope, lan, { name, firmware, memoryMiB: 2_048, diskGiB: 4 });
  machine.bootFrom("disk");
  await exec(["cp", "--sparse=always", target.path, machine.diskFile!], { timeoutMs: 120_000 });
  return { machine, disk: { ...target, path: machine.diskFile! } };
}

const state = (disk: Target): Promise<SlotState> => readState(disk);

async function bootsTo(machine: Machine, pattern: RegExp, times = 1): Promise<void> {
  await machine.waitForConsole(new RegExp(`(?:[\\s\\S]*?${pattern.source}){${times}}`), BOOT_MS);
}

for (const [name, firmware] of [
  ["a BIOS", "seabios"],
  ["UEFI", "ovmf"],
  ["UEFI with Secure Boot", "ovmf-secure"],
] as const)
  lab(`${name} boots the disk, without a network, to the root image that is checked`, async (context) => {
    const { machine, disk } = await machineWith(context, `to-${firmware}`, firmware);
    const fromMs = performance.now();
    await machine.powerOn();
    await bootsTo(machine, started("a"));
    await bootsTo(machine, VERIFIED);
    console.log(`${name}: power to the checked root image in ${Math.round((performance.now() - fromMs) / 1_000)} s`);
    await machine.kill();
    const { strikes, good } = await state(disk);
    assert.equal({ strikes, good }, { strikes: 1, good: "a" }, "GRUB counted the boot before it began");
  });

lab("an image that never becomes ready has its boots, and the one before it comes back by itself", async (context) => {
  const { machine, disk } = await machineWith(context, "broken", "seabios");
  await updateDisk({ ...disk, ...contentOf({ ...context, words: ["rdinit=/nothing", "panic=1"] }) });
  await machine.powerOn();
  await bootsTo(machine, VERIFIED);
  assert.is(machine.console().match(started("b"))?.length, TRIES);
  assert.is(machine.console().match(started("a"))?.length, 1);
  await machine.kill();
  const { good, trying, left } = await state(disk);
  assert.equal({ good, trying, left }, { good: "a", trying: "b", left: 0 });
});

lab(
  "a slot whose root image is damaged leaves the boot to the other one; one that cannot be read, at once",
  async (context) => {
    const { machine, disk } = await machineWith(context, "damaged", "seabios");
    await updateDisk({ ...disk, ...contentOf(context) });
    await writeState(disk, { ...(await state(disk)), good: "b", left: 0, trying: "b" });
    const file = await open(disk.path, "r+");
    const write = (at: number) => file.write(Buffer.alloc(MIB, 0x5a), 0, MIB, at);
    try {
      await write(disk.layout.slots.b.at + 300 * MIB);
      await machine.powerOn();
      await bootsTo(machine, VERIFIED);
      assert.is(machine.console().match(/root image on this disk is damaged/g)?.length, TRIES);
      assert.is(machine.console().match(started("b"))?.length, TRIES);
      await machine.kill();
      // Its file system is gone: nothing is tried.
      await write(disk.layout.slots.b.at);
      await writeState(disk, { ...(await state(disk)), strikes: 0 });
      await machine.powerOn();
      await bootsTo(machine, /that slot cannot be read; starting slot a/);
      await bootsTo(machine, VERIFIED, 2);
    } finally {
      await file.close();
      await machine.kill();
    }
  },
);

lab.run();
