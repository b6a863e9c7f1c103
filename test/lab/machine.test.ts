// time limit: 240 s
// The lab's virtual bare-metal machine: firmware, boot ROM, network and console are real, the boot server is busybox.
import { mkdir, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Lan, openLan } from "./network.ts";
import { addMachine, type Machine } from "./qemu.ts";
import { plainText } from "./qmp.ts";
import { openScope, type Scope } from "./scope.ts";

interface Context {
  scope: Scope;
  lan: Lan;
  machine: Machine;
}

const lab = suite<Context>("machine");
// The firmware console wraps at 80 columns: what is looked for fits in one line. A console is read as it comes, also
// half a line: what is looked for says how long it is (RFC 9562 for the UUID, six octets of a MAC).
const SCRIPT_TEXT = /lab LAB-METAL ([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}) ([0-9a-f]{2}(?::[0-9a-f]{2}){5})/;
const BOOT_MS = 60_000;

lab.before(async (context) => {
  context.scope = await openScope();
  context.lan = await openLan(context.scope, { ip: "10.79.0.1" });
  context.machine = await addMachine(context.scope, context.lan, { name: "metal", memoryMiB: 512, diskGiB: 4 });
  const { scope, lan } = context;
  const www = join(scope.folder, "www");
  await mkdir(www);
  await writeFile(
    join(www, "boot.ipxe"),
    [
      "#!ipxe",
      `echo lab ${["serial", "uuid", "net0/mac"].map((name) => `$\{${name}}`).join(" ")}`,
      "sleep 1000",
      "",
    ].join("\n"),
  );
  await lan.spawn(["busybox", "httpd", "-f", "-p", "10.79.0.1:7780", "-h", www]);
  const dhcp = join(scope.folder, "udhcpd.conf");
  await writeFile(
    dhcp,
    `start 10.79.0.50\nend 10.79.0.60\ninterface br0\nlease_file ${scope.folder}/leases\npidfile ${scope.folder}/udhcpd.pid\noption subnet 255.255.255.0\nboot_file http://10.79.0.1:7780/boot.ipxe\n`,
  );
  await writeFile(join(scope.folder, "leases"), "");
  await lan.spawn(["busybox", "udhcpd", "-f", "-S", dhcp]);
});

lab.after(async (context) => {
  await context.scope.close();
});

const shown = (machine: Machine) => [...machine.console().matchAll(new RegExp(SCRIPT_TEXT, "g"))];

lab(
  "with an empty disk and no kernel given it boots what the LAN serves, as SeaBIOS and iPXE do",
  async ({ machine }) => {
    const startedMs = performance.now();
    await machine.powerOn();
    await machine.waitForConsole(/SeaBIOS/, BOOT_MS);
    await machine.waitForConsole(SCRIPT_TEXT, BOOT_MS);
    console.log(`power to script in ${Math.round(performance.now() - startedMs)} ms`);
    assert.equal(shown(machine)[0]?.slice(1), [machine.uuid, machine.mac]);
  },
);

lab("after a power cycle it is the same machine, boots again, and its disk is the same file", async ({ machine }) => {
  const before = await stat(machine.diskFile!);
  await machine.powerCycle();
  await machine.waitForConsole(new RegExp(`(${SCRIPT_TEXT.source}[\\s\\S]*){2}`), BOOT_MS);
  assert.equal(shown(machine)[1]?.slice(1), [machine.uuid, machine.mac]);
  assert.is((await stat(machine.diskFile!)).ino, before.ino);
  assert.is(before.size, 4 * 1024 ** 3);
  assert.ok(before.blocks * 512 < 1 << 20, "the disk is not sparse");
});

lab("the reset button starts it over without a new emulator", async ({ machine }) => {
  const starts = () => machine.console().split("SeaBIOS (version").length - 1;
  const before = starts();
  await machine.reset();
  await machine.waitForConsole(new RegExp(`(SeaBIOS \\(version[\\s\\S]*){${before + 1}}`), BOOT_MS);
});

lab("with its cable pulled it gets nothing from the LAN", async ({ machine }) => {
  await machine.cut();
  await machine.powerCycle();
  await machine.waitForConsole(
    /No configuration methods succeeded|Link:down|Down|Connection timed out|No bootable/,
    BOOT_MS,
  );
  assert.is(shown(machine).length, 2);
  await machine.heal();
});

lab("killed, it is off and says so", async ({ machine }) => {
  await machine.kill();
  assert.not.ok(machine.isOn());
  await machine.waitForConsole(/never printed/, 5_000).then(
    () => assert.unreachable(),
    (error: Error) => assert.match(error.message, "went off"),
  );
});

lab("console text has no escape codes", () => {
  assert.is(
    plainText("\x1bc\x1b[?7l\x1b[2J\x1b[1;1HBoot\x1b[0m\r\n\x1b]0;title\x07[  OK  ] Started\x00"),
    "Boot\n[  OK  ] Started",
  );
});

lab.run();
