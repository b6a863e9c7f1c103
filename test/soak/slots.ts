// An installed disk whose boots come to nothing, on an emulated machine: GRUB counts them and goes back by itself. Without a host in it: what
// firmware, GRUB and the initrd make of a disk.
import { ok, deepStrictEqual as same } from "node:assert/strict";
import { open } from "node:fs/promises";
import { TRIES } from "../../hostd/install/slots.ts";
import { readState, updateDisk, writeState } from "../../hostd/install/write.ts";
import { MIB } from "../hostd/state-disk/fixture.ts";
import {
  bootsTo,
  contentOf,
  type InstalledDisk,
  installedDisk,
  machineWith,
  started,
  VERIFIED,
} from "../lab/installed-disk.ts";
import { openScope } from "../lab/scope.ts";
import type { Soak } from "./soaks.ts";

/** Some boots one after the other, on a machine that others use too. */
const BOOTS = { withinMs: 1_200_000 };
const countOf = (text: string, pattern: RegExp): number => text.match(pattern)?.length ?? 0;

const CASES: Record<string, (disk: InstalledDisk) => Promise<void>> = {
  async "an image that never becomes ready"(context) {
    const { machine, disk } = await machineWith(context, "broken", "seabios");
    await updateDisk({ ...disk, ...contentOf({ ...context, words: ["rdinit=/nothing", "panic=1"] }) });
    await machine.powerOn();
    await bootsTo(machine, VERIFIED, BOOTS);
    same([countOf(machine.console(), started("b")), countOf(machine.console(), started("a"))], [TRIES, 1]);
    await machine.kill();
    const { good, trying, left } = await readState(disk);
    same({ good, trying, left }, { good: "a", trying: "b", left: 0 });
  },
  async "a damaged root image"(context) {
    const { machine, disk } = await machineWith(context, "damaged", "seabios");
    await updateDisk({ ...disk, ...contentOf(context) });
    await writeState(disk, { ...(await readState(disk)), good: "b", left: 0, trying: "b" });
    await overwrite(disk.path, disk.layout.slots.b.at + 300 * MIB);
    await machine.powerOn();
    await bootsTo(machine, VERIFIED, BOOTS);
    same(countOf(machine.console(), started("b")), TRIES);
    ok(countOf(machine.console(), /root image on this disk is damaged/g) > 0, "it was not seen to be damaged");
    await machine.kill();
  },
  async "a file system that is gone"(context) {
    const { machine, disk } = await machineWith(context, "gone", "ovmf");
    await updateDisk({ ...disk, ...contentOf(context) });
    await overwrite(disk.path, disk.layout.slots.b.at);
    await machine.powerOn();
    await bootsTo(machine, /that slot cannot be read; starting slot a/, BOOTS);
    await bootsTo(machine, VERIFIED, BOOTS);
    same(countOf(machine.console(), started("b")), 1);
    await machine.kill();
  },
};

export const slots: Soak = {
  what: `an installed disk goes back to its other slot by itself: ${Object.keys(CASES).join("; ")}`,
  covers: ["hostd/install", "images/host", "test/soak/slots.ts", "test/lab/installed-disk.ts", "test/lab/qemu.ts"],
  async run({ resumed, timeUp, signal, say, keep }) {
    const figures: Record<string, number | string> = { ...resumed };
    const scope = await openScope({ signals: false });
    const stop = () => void scope.close().catch(() => undefined);
    signal.addEventListener("abort", stop, { once: true });
    try {
      const disk = await installedDisk(scope, say);
      for (const [name, work] of Object.entries(CASES)) {
        if (figures[`${name}: s`] !== undefined) continue;
        if (timeUp.aborted) return { done: false, figures };
        const fromMs = performance.now();
        await work(disk);
        figures[`${name}: s`] = Math.round((performance.now() - fromMs) / 1_000);
        say(`${name}: back in the other slot after ${figures[`${name}: s`]} s`);
        await keep(figures);
      }
      return { done: true, figures };
    } finally {
      signal.removeEventListener("abort", stop);
      await scope.close();
    }
  },
};

async function overwrite(path: string, at: number): Promise<void> {
  const file = await open(path, "r+");
  try {
    await file.write(Buffer.alloc(MIB, 0x5a), 0, MIB, at);
  } finally {
    await file.close();
  }
}
