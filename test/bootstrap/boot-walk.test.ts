// The boot server on its real sockets, in a network namespace of its own, and one machine walking through its whole boot.
import { createHash } from "node:crypto";
import { mkdir, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { BootEvent, BootMachine } from "#api/boot.ts";
import { until } from "#lib/time.ts";
import { type Lan, type LanHost, openLan } from "../lab/network.ts";
import type { Running } from "../lab/process.ts";
import { openScope, type Scope, withScope } from "../lab/scope.ts";
import { bootMachine, bootTarget, type ImageFixture, writeImage } from "./image-fixture.ts";
import type { ServeOptions } from "./serve.ts";
import type { Walk } from "./walk.ts";

const here = (name: string) => fileURLToPath(new URL(name, import.meta.url));

interface Rig {
  lan: Lan;
  machine: LanHost;
  fixture: ImageFixture;
  stateDir: string;
  serve(machines: BootMachine[], config?: Record<string, unknown>): Promise<Running>;
  walk(): Promise<Walk>;
}

async function withRig(work: (rig: Rig, scope: Scope) => Promise<void>): Promise<void> {
  await withScope(async (scope) => {
    const lan = await openLan(scope);
    const machine = await lan.host("metal", "10.77.0.200");
    const fixture = await writeImage(scope.folder);
    const stateDir = join(scope.folder, "state");
    await mkdir(stateDir);
    await work(
      {
        lan,
        machine,
        fixture,
        stateDir,
        async serve(machines, config = {}) {
          const targetFile = join(scope.folder, "target.json");
          await writeFile(targetFile, JSON.stringify(bootTarget(machines, fixture.manifest)));
          const common = {
            interface: lan.bridge,
            mode: "full",
            controlUrls: ["https://10.77.0.1:7777"],
            caFile: "",
            stateDir,
            imagesDir: fixture.imagesDir,
            imageKeyFile: fixture.keyFile,
          };
          const options: ServeOptions = {
            targetFile,
            config: { ...common, range: "10.77.0.50-10.77.0.99", ...config },
          };
          return await lan.spawn([process.execPath, here("serve.ts"), JSON.stringify(options)], { name: "boot" });
        },
        async walk() {
          const { stdout } = await machine.exec([process.execPath, here("walk.ts"), machine.mac, lan.ip]);
          return JSON.parse(/^walk (.*)$/m.exec(stdout)![1]!) as Walk;
        },
      },
      scope,
    );
  });
}

const eventsOf = (server: Running) =>
  [...server.output().matchAll(/^event (.*)\n/gm)].map((line) => JSON.parse(line[1]!) as BootEvent);

// Held for the whole file: when a process's last scope closes, its watchdog cleans up whatever bears the process's name.
const file = await openScope();
test.after(() => file.close());

test("an approved machine walks from DISCOVER to its seed, and its timeline tells each step in order", () =>
  withRig(async ({ machine, fixture, serve, walk }) => {
    const server = await serve([bootMachine(machine.mac)]);
    await server.waitFor(/ready/, 15_000);
    const seen = await walk();
    assert.is(new Set(seen.addresses).size, 1, "one address for firmware, iPXE and system");
    assert.is(seen.firmwareFile, "undionly.kpxe");
    assert.is(seen.tftpBytes, (await stat("/usr/lib/ipxe/undionly.kpxe")).size);
    const hash = (content: Buffer) => createHash("sha256").update(content).digest("hex");
    assert.equal(
      seen.artefacts,
      Object.fromEntries(Object.entries(fixture.contents).map(([name, content]) => [name, hash(content)])),
    );
    assert.equal(seen.statuses, {
      beacon: 200,
      "network-config": 404,
      "meta-data": 200,
      "user-data": 200,
      "vendor-data": 200,
      progress: 200,
    });
    assert.is(seen.seed["machineId"], bootMachine(machine.mac).id);
    await until(() => eventsOf(server).some((event) => event.stage === "cloud-init"), {
      what: "cloud-init on the timeline",
      timeoutMs: 30_000,
    });
    const stages = eventsOf(server).map((event) => event.stage);
    const dhcp = ["discover", "offer", "offer"]; // what is offered, and that its address is taken
    assert.equal(
      stages.filter((stage) => !["kernel", "initrd", "squashfs"].includes(stage)),
      [...dhcp, "tftp", ...dhcp, "script", "script", "seed", "cloud-init"],
    );
    assert.equal(stages.filter((stage) => ["kernel", "initrd", "squashfs"].includes(stage)).sort(), [
      "initrd",
      "kernel",
      "squashfs",
    ]);
    assert.ok(eventsOf(server).every((event) => event.claimed.mac === machine.mac));
  }));

test("an unknown machine is given an address, iPXE and a script that waits, and nothing secret", () =>
  withRig(async ({ serve, walk }) => {
    const server = await serve([]);
    await server.waitFor(/ready/, 15_000);
    const seen = await walk();
    assert.ok(seen.waited);
    await until(() => eventsOf(server).some((event) => event.stage === "wait-approval"), {
      what: "wait-approval",
      timeoutMs: 30_000,
    });
  }));

test("killed and started again, the boot server lends the same address to the same machine", () =>
  withRig(async ({ serve, walk }) => {
    const first = await serve([]);
    await first.waitFor(/ready/, 15_000);
    const before = await walk();
    await first.kill("SIGKILL");
    const second = await serve([], { range: "10.77.0.40-10.77.0.99" }); // another range: only the journal knows the address
    await second.waitFor(/ready/, 15_000);
    assert.equal((await walk()).addresses, before.addresses);
  }));

test("a port already taken is an error that names the port and who has it", () =>
  withRig(async ({ lan, serve }) => {
    const squatter = `const s = require("node:dgram").createSocket("udp4"); s.bind(67, "0.0.0.0", () => console.log("bound"))`;
    const other = await lan.spawn([process.execPath, "-e", squatter], { name: "squatter" });
    await other.waitFor(/bound/, 10_000);
    const server = await serve([]);
    assert.is((await server.exited).code, 1);
    assert.match(
      server.output(),
      new RegExp(`DHCP server cannot listen on udp 0\\.0\\.0\\.0:67: .*\\(pid ${other.pid}\\)`),
    );
  }));

test("SIGTERM ends it with 0, ports and all", () =>
  withRig(async ({ serve }) => {
    for (let round = 0; round < 2; round++) {
      const server = await serve([]);
      await server.waitFor(/ready/, 15_000);
      await server.kill("SIGTERM");
      assert.is((await server.exited).code, 0);
    }
  }));

test.run();
