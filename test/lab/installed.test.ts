// time limit: 600 s
// A disk that a host installed, on emulated machines: a BIOS and UEFI with Secure Boot start from it, without a network. Images that never
// become ready and damaged slots: soak `slots`. The host itself, from the network to its disk: soak `installed`.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { readState } from "../../hostd/install/write.ts";
import { bootsTo, type InstalledDisk, installedDisk, machineWith, started, VERIFIED } from "./installed-disk.ts";
import { openScope } from "./scope.ts";

const lab = suite<InstalledDisk>("installed");

lab.before(async (context) => {
  context.scope = await openScope();
  Object.assign(context, await installedDisk(context.scope, console.log));
});

lab.after(({ scope }) => scope.close());

for (const [name, firmware] of [
  ["a BIOS", "seabios"],
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
    const { strikes, good } = await readState(disk);
    assert.equal({ strikes, good }, { strikes: 1, good: "a" }, "GRUB counted the boot before it began");
  });

lab.run();
