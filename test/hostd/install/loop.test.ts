// What the agent does with an installed disk, on a file: the first image once the host is ready, the next before a reboot, and what the boots
// of its slots come to.
import { createHash } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { InstallImage } from "#api/host-agents.ts";
import { silentLog } from "#lib/log.ts";
import { until } from "#lib/time.ts";
import { divideDisk } from "../../../hostd/install/divide.ts";
import { firstSector } from "../../../hostd/install/gpt.ts";
import { type Installs, openInstalls } from "../../../hostd/install/loop.ts";
import { nextBoot, type SlotState } from "../../../hostd/install/slots.ts";
import { installedState, readState, writeAt, writeState } from "../../../hostd/install/write.ts";
import { writeOutcome } from "../../../hostd/state-disk/outcome.ts";
import { GIB, look, MIB, makeDisk, owner, signal, withFolder } from "../state-disk/fixture.ts";

interface World {
  /** As the agent of a boot. */
  boot(cmdline: string): Promise<Installs>;
  /** By the disk's own rule. */
  bootsItself(): Promise<{ installs: Installs; slot: string }>;
  image(version: string): InstallImage;
  state(): Promise<SlotState>;
  /** As a power cut leaves the disk before the last write of its first installation. */
  cutOff(): Promise<void>;
  told: string[];
  asked: string[];
}

async function withWorld(body: (world: World) => Promise<void>, did: "use" | "ram" = "use"): Promise<void> {
  await withFolder(async (folder) => {
    const files = new Map<string, Buffer>();
    const asked: string[] = [];
    const server = createServer((request, response) => {
      asked.push(request.url!.replace(/^.*\//, ""));
      const file = files.get(request.url!);
      if (file === undefined) response.writeHead(404).end();
      else response.end(file);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    try {
      const disk = await makeDisk(join(folder, "disk"), { sizeBytes: 4 * GIB });
      const { layout } = await divideDisk({
        ...{ disk: await look(disk), owner, imageBytes: MIB, verify: "ends", signal },
      });
      const place = { path: disk.path, sizeBytes: disk.sizeBytes, layout: layout! };
      const at = (name: string) => join(folder, name);
      await mkdir(at("boot"));
      for (const name of ["shimx64.efi", "grubx64.efi", "mmx64.efi", "core.img"])
        await writeFile(at(`boot/${name}`), Buffer.alloc(1024, name));
      await writeFile(at("boot/boot.img"), Buffer.alloc(512, 1));
      await writeFile(at("seed"), "#cloud-config\n");
      await writeFile(at("root"), Buffer.alloc(MIB, "squashfs 1"));
      const reason = "state in RAM: no empty disk (policy find-empty)";
      await writeOutcome(folder, { at: "", policy: "find-empty", did, reason, warn: false, disks: [] });
      const told: string[] = [];
      const world: World = {
        ...{ told, asked },
        image(version) {
          const file = (name: string, content: Buffer) => {
            const sha256 = createHash("sha256").update(content).digest("hex");
            files.set(`/a/sha256-${sha256}/${name}`, content);
            return { sha256, sizeBytes: content.length };
          };
          return {
            ...{ id: `image-${version}`, cmdline: ["boot=live"] },
            kernel: file("vmlinuz", Buffer.alloc(MIB, `kernel ${version}`)),
            initrd: file("initrd", Buffer.alloc(MIB, `initrd ${version}`)),
            squashfs: file("root.squashfs", Buffer.alloc(MIB, `squashfs ${version}`)),
          };
        },
        async boot(cmdline) {
          await writeFile(at("cmdline"), cmdline);
          return openInstalls({
            ...{ owner: () => owner, name: "node-1", stateDir: folder, runDir: folder, log: silentLog(), signal },
            events: { add: (stage, level, message) => void told.push(`${stage} ${level}: ${message}`) },
            onEvent: () => undefined,
            places: {
              ...{ cmdline: at("cmdline"), rootImage: at("root"), bootFiles: at("boot"), seeds: [at("seed")] },
              read: async () => [await look(disk)],
            },
          });
        },
        async bootsItself() {
          const next = nextBoot(await readState(place));
          await writeState(place, next.state);
          const words = `flynn.server=${base} flynn.slot=${next.slot} flynn.image=${next.state.images[next.slot]}`;
          return { installs: await world.boot(words), slot: next.slot };
        },
        state: async () => (await installedState(place))!,
        cutOff: () => writeAt(place.path, firstSector(place.sizeBytes), 0),
      };
      const { squashfs } = world.image("1");
      const fetched = `fetch=${base}/a/sha256-${squashfs.sha256}/root.squashfs ds=nocloud-net;s=${base}/s/token/`;
      await body({ ...world, boot: (cmdline) => world.boot(cmdline || fetched) });
    } finally {
      server.close();
    }
  });
}

const heard = ({ told }: World, pattern: RegExp) =>
  until(() => told.find((line) => pattern.test(line)), { what: `${pattern}`, timeoutMs: 60_000, everyMs: 20, signal });

/** From the network, and installed. */
async function first(world: World): Promise<void> {
  const installs = await world.boot("");
  installs.setTarget({ install: world.image("1") });
  assert.equal(world.told, [], "not before the host is ready");
  installs.ready();
  await heard(world, /^install info: installed to disk .*, slot A: image image-1;/);
}

test("a ready host writes the image to its disk, the root from its own memory and the rest from the boot server", () =>
  withWorld(async (world) => {
    await first(world);
    assert.equal(world.asked, ["vmlinuz", "initrd"]);
    assert.equal(await world.state(), { good: "a", left: 0, strikes: 0, images: { a: "image-1" } });
  }));

test("before a reboot the next image is in the other slot; ready, it is kept; the same one is not written again", () =>
  withWorld(async (world) => {
    await first(world);
    const { installs } = await world.bootsItself();
    installs.setTarget({ install: world.image("1") });
    installs.ready();
    await installs.beforeReboot(signal);
    assert.is((await world.state()).trying, undefined);
    installs.setTarget({ install: world.image("2") });
    await installs.beforeReboot(signal);
    await heard(world, /^install info: image image-2 is written to slot B of .*; the next boot tries it/);
    const next = await world.bootsItself();
    assert.is(next.slot, "b");
    next.installs.ready();
    await heard(world, /^install info: slot B with image image-2 is ready and is booted from now on/);
    assert.is((await world.state()).good, "b");
  }));

test("an installation that a power cut ended at its last write is finished by the boot from it, and updates go on", () =>
  withWorld(async (world) => {
    await first(world);
    await world.cutOff();
    assert.is(await world.state(), undefined);
    const { installs } = await world.bootsItself();
    installs.ready();
    await heard(world, /^install info: the installation to disk .*, which was cut off, is finished/);
    await world.cutOff();
    installs.setTarget({ install: world.image("2") });
    await installs.beforeReboot(signal);
    await heard(world, /^install info: image image-2 is written to slot B of .*; the next boot tries it/);
    assert.is((await world.state()).trying, "b");
  }));

test("an image that never becomes ready is told of by the one before it, once that is ready", () =>
  withWorld(async (world) => {
    await first(world);
    const { installs } = await world.bootsItself();
    installs.setTarget({ install: world.image("2") });
    await installs.beforeReboot(signal);
    for (const slot of ["b", "b", "b"]) assert.is((await world.bootsItself()).slot, slot);
    const back = await world.bootsItself();
    assert.is(back.slot, "a");
    back.installs.ready();
    await heard(
      world,
      /^fallback warning: slot B with image image-2 was started again and again .*; slot A with image/,
    );
  }));

test("a slot that cannot be booted any more is told of by the other one, which is the good one then", () =>
  withWorld(async (world) => {
    await first(world);
    const { installs } = await world.bootsItself();
    installs.setTarget({ install: world.image("2") });
    await installs.beforeReboot(signal);
    const other = await world.bootsItself();
    other.installs.ready();
    await heard(world, /slot B .* is booted from now on/);
    for (const slot of ["b", "b", "b"]) assert.is((await world.bootsItself()).slot, slot);
    const { installs: back, slot } = await world.bootsItself();
    assert.is(slot, "a");
    back.ready();
    await heard(world, /^fallback warning: slot B with image image-2 could not be booted; slot A with image image-1/);
    assert.is((await world.state()).good, "a");
  }));

test("what cannot be fetched is said, fails the order to reboot for now, and leaves the slots as they are", () =>
  withWorld(async (world) => {
    await first(world);
    const { installs } = await world.bootsItself();
    const image = { ...world.image("2"), kernel: { sha256: "0".repeat(64), sizeBytes: 1 } };
    installs.setTarget({ install: image });
    const before = await world.state();
    const why = await installs.beforeReboot(signal).then(String, (error: Error) => error.message);
    assert.match(why, /the boot server answers 404/);
    await heard(world, /^install warning: the image that it is to boot could not be written to its disk: .*404/);
    assert.equal(await world.state(), before);
  }));

test("with its state in memory nothing is installed, in words: it would come back as nobody", () =>
  withWorld(async (world) => {
    const installs = await world.boot("");
    installs.setTarget({ install: world.image("1") });
    installs.ready();
    await heard(world, /^install warning: not installed to disk: state in RAM: no empty disk \(policy find-empty\)/);
  }, "ram"));

test.run();
