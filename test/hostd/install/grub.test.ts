// time limit: 120 s
// GRUB itself, as Debian builds it for a process (grub-emu), reads an installed disk: it starts the slot that the rule says, and writes down
// what the rule says, whatever the state it finds.

import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { exec } from "#lib/exec.ts";
import { divideDisk } from "../../../hostd/install/divide.ts";
import { nextBoot, type SlotState } from "../../../hostd/install/slots.ts";
import { readState, writeBoot, writeState } from "../../../hostd/install/write.ts";
import { GIB, look, MIB, makeDisk, owner, signal, withFolder } from "../state-disk/fixture.ts";

const images = { a: "one", b: "two" };
const STATES: readonly SlotState[] = [
  { good: "a", left: 0, strikes: 0, images: { a: "one" } },
  { good: "a", left: 0, strikes: 3, images: { a: "one" } },
  { good: "a", left: 0, strikes: 2, images },
  { good: "a", left: 0, strikes: 3, images },
  { good: "b", left: 0, strikes: 5, images },
  { good: "b", left: 0, strikes: 4, images: { b: "two" } },
  { good: "a", trying: "b", left: 3, strikes: 0, images },
  { good: "a", trying: "b", left: 1, strikes: 0, images },
  { good: "b", trying: "a", left: 2, strikes: 1, images },
  { good: "a", trying: "b", left: 0, strikes: 0, images },
  { good: "b", trying: "a", left: 0, strikes: 3, images },
];

test("GRUB starts the slot that the rule says, and has written down before what the rule says", () =>
  withFolder(async (folder) => {
    const disk = await makeDisk(join(folder, "disk"), { sizeBytes: 4 * GIB });
    const how = { owner, imageBytes: MIB, verify: "ends" as const, signal };
    const { layout } = await divideDisk({ ...how, disk: await look(disk) });
    const target = { path: disk.path, sizeBytes: disk.sizeBytes, layout: layout! };
    const none = Buffer.alloc(0);
    const bios = { boot: Buffer.alloc(512), core: Buffer.alloc(1024) };
    await writeBoot(target, { shim: none, grub: none, keyManager: none, bios }, STATES[0]!);
    const map = join(folder, "device.map");
    await writeFile(map, `(hd0) ${disk.path}\n`);
    for (const state of STATES) {
      await writeState(target, state);
      const { stdout } = await exec(["grub-emu", "-m", map, "-r", "hd0,gpt1"], {
        // Escape: nobody reads the last words for ten seconds.
        input: "set root=hd0,gpt1\rconfigfile /EFI/DEBIAN/GRUB.CFG\r\u001b",
        timeoutMs: 60_000,
      });
      const next = nextBoot(state);
      const words = JSON.stringify(state);
      assert.is(/Flynn: starting slot ([ab]) of this disk/.exec(stdout)?.[1], next.slot, words);
      assert.equal(await readState(target), next.state, words);
      // Nothing is in the slots here: both are looked at, and firmware goes on with what comes next.
      assert.match(stdout, /that slot cannot be read; starting slot [ab][\s\S]*neither slot of this disk can be read/);
    }
  }));

test.run();
