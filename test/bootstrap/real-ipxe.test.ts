// time limit: 300 s
// Real firmware against the real boot server: SeaBIOS and the network card's iPXE ROM in an emulated machine, on a LAN of its
// own. The image's kernel is no kernel: what is tested ends where it would start.
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { BootEvent, BootMachine } from "#api/boot.ts";
import { until } from "#lib/time.ts";
import { openLan } from "../lab/network.ts";
import { addMachine } from "../lab/qemu.ts";
import { openScope, withScope } from "../lab/scope.ts";
import { bootMachine, bootTarget, writeImage } from "./image-fixture.ts";
import type { ServeOptions } from "./serve.ts";

const serveProgram = fileURLToPath(new URL("serve.ts", import.meta.url));
const file = await openScope();
test.after(() => file.close());

async function bootOne(
  machinesFor: (mac: string) => BootMachine[],
  isReached: (event: BootEvent) => boolean,
): Promise<{ events: BootEvent[]; console: string }> {
  return await withScope(async (scope) => {
    const lan = await openLan(scope);
    const machine = await addMachine(scope, lan, { name: "metal", memoryMiB: 256, cpus: 1, diskGiB: 0 });
    const fixture = await writeImage(scope.folder);
    const stateDir = join(scope.folder, "state");
    await mkdir(stateDir);
    const targetFile = join(scope.folder, "target.json");
    await writeFile(targetFile, JSON.stringify(bootTarget(machinesFor(machine.mac), fixture.manifest)));
    const paths = {
      stateDir,
      imagesDir: fixture.imagesDir,
      imageKeyFile: fixture.keyFile,
      caFile: "",
      controlUrls: ["https://10.77.0.1:7777"],
    };
    const options: ServeOptions = { targetFile, config: { interface: lan.bridge, mode: "full", ...paths } };
    const server = await lan.spawn([process.execPath, serveProgram, JSON.stringify(options)], { name: "boot" });
    await server.waitFor(/ready/, 20_000);
    await machine.powerOn();
    const events = () =>
      [...server.output().matchAll(/^event (.*)\n/gm)].map((line) => JSON.parse(line[1]!) as BootEvent);
    const reached = () => events().some(isReached);
    await until(reached, { what: "the stage", timeoutMs: 120_000, everyMs: 250 }).catch((cause: unknown) => {
      const stages = events().map((event) => event.stage);
      throw new Error(`only ${stages}; console: ${machine.consoleTail(15).join(" | ")}`, { cause });
    });
    return { events: events(), console: machine.console() };
  });
}

test("an unknown machine's ROM is offered the script, says who it is, and waits", async () => {
  const { events } = await bootOne(
    () => [],
    (event) => event.stage === "wait-approval",
  );
  assert.equal(
    events.map((event) => event.stage),
    ["discover", "offer", "offer", "wait-approval"],
  );
  const { claimed: identity, observed } = events.at(-1)!;
  assert.is(observed.card, identity.mac);
  assert.match(identity.serial!, "LAB-METAL");
  assert.match(identity.uuid!, /^6c616221-/, "the UUID of the script's query and of option 97 are read alike");
  assert.is(identity.firmware, "bios");
  assert.ok(identity.product);
});

test("an approved machine's ROM runs the script: beacon, then kernel and initrd over HTTP", async () => {
  const { events, console: text } = await bootOne(
    (mac) => [bootMachine(mac)],
    (event) => event.stage === "initrd",
  );
  assert.equal(
    events.map((event) => event.stage),
    ["discover", "offer", "offer", "script", "script", "kernel", "initrd"],
  );
  assert.match(text, "serial=LAB-METAL", "iPXE filled in what only it knows");
});

test.run();
