// An emulated machine that nobody approved: it boots the host image without a secret, says what it is made of, shows six words on its
// console that are those of the appliance, and becomes a host once it was approved; another one is rejected and switches off.
import { match, ok, strictEqual as same } from "node:assert/strict";
import { join } from "node:path";
import type { Host } from "#api/hosts.ts";
import type { MachineInventory } from "#api/inventory.ts";
import type { Machine as MachineRecord, TimelineEvent } from "#api/machines.ts";
import { until } from "#lib/time.ts";
import { bootImage, trustImage } from "../e2e/boot-image.ts";
import { type Appliance, startAppliance } from "../lab/appliance.ts";
import { addMachine, type Machine } from "../lab/qemu.ts";
import { openScope, type Scope } from "../lab/scope.ts";
import type { Soak } from "./soaks.ts";

/** One alone takes two minutes. */
const BOOT_MS = 900_000;
const WORDS = /waits for approval\. Its six words are\s+([a-z]+(?: [a-z]+){5})\s/g;

export const inventory: Soak = {
  what: "an emulated machine reports what it is made of before approval, and its words are those of the appliance",
  covers: [
    "hostd/inventory",
    "bootstrap/http",
    "bootstrap/identity",
    "control/inventory",
    "images/host",
    "test/soak/inventory.ts",
  ],
  async run({ signal, say }) {
    const scope = await openScope({ signals: false });
    const stop = () => void scope.close().catch(() => undefined);
    signal.addEventListener("abort", stop, { once: true });
    try {
      return { done: true, figures: await run(scope, say) };
    } finally {
      signal.removeEventListener("abort", stop);
      await scope.close();
    }
  },
};

async function run(scope: Scope, say: (line: string) => void): Promise<Record<string, number>> {
  const image = await bootImage({ say, signal: scope.signal, fast: true });
  const stateDir = join(scope.folder, "state");
  await trustImage(image, stateDir);
  const net = ["--interface", "br0", "--dhcp", "full", "--dhcp-range", "10.77.0.100-10.77.0.200"];
  const appliance = await startAppliance(scope, {
    stateDir,
    flags: [...net, "--unknown-machines", "inventory", "--require-tpm", "--no-host", "--images", image.imagesDir],
  });
  const { manifest, signature } = image;
  same((await appliance.api("POST", "/v1/boot-images", { manifest, signature })).status, 201);
  const metal = await addMachine(scope, appliance.lan, { name: "unknown1", tpm: true });
  const begunMs = performance.now();
  await metal.powerOn();
  const machine = await seen(appliance, metal, begunMs, say);
  const inventoryMs = performance.now() - begunMs;

  const { name, id } = machine;
  const wrong = await appliance.tryFlynn([
    "machine",
    "approve",
    name,
    "--words",
    "acorn acorn acorn acorn acorn acorn",
  ]);
  ok(wrong.code !== 0 && /nothing was decided/.test(wrong.stderr), wrong.stderr);
  await appliance.flynn(["machine", "approve", name, "--words", machine.check!.words]);
  await metal.waitForConsole(/Flynn: approved\. The machine restarts/, 60_000);
  const ready = async () =>
    (await appliance.api<{ items: Host[] }>("GET", "/v1/hosts")).body.items.find(({ state }) => state === "ready");
  const host = await eventually(scope, metal, "the machine being a ready host", BOOT_MS, ready);
  same(host.machineId, id);
  const hostMs = performance.now() - begunMs;
  const own = await eventually(scope, metal, "the host's own inventory", 180_000, async () => {
    const { body } = await appliance.api<MachineInventory>("GET", `/v1/machines/${id}/inventory`);
    return body.takenBy === "host" ? body : undefined;
  });
  same(own.report.nics[0]?.mac, metal.mac);
  same((await record(appliance))?.check, undefined, "an approved machine shows no words any more");
  say(`inventory after ${Math.round(inventoryMs / 1_000)} s, a host after ${Math.round(hostMs / 1_000)} s`);
  match(own.report.tpm?.id ?? "none", /^[0-9a-f]{64}$/);
  same((await record(appliance))?.tpm, own.report.tpm?.id, "it is bound to its TPM");
  await askedOnce(scope, appliance, { metal, machine });
  await metal.kill();
  const cloneMs = await clone(scope, appliance, { metal, machine });
  say(`a clone with another TPM was refused after ${Math.round(cloneMs / 1_000)} s`);

  const other = await addMachine(scope, appliance.lan, { name: "unknown2", diskGiB: 0 });
  await other.powerOn();
  const stranger = await eventually(scope, other, "the other's inventory", BOOT_MS, async () => {
    const found = await record(appliance, other.mac);
    return found?.check?.by === "key" ? found : undefined;
  });
  await appliance.flynn(["machine", "reject", stranger.name]);
  await other.waitForConsole(/a person rejected this machine/, 60_000);
  await eventually(scope, other, "the rejected machine switching off", 120_000, async () => !other.isOn());
  return {
    "inventory: s": Math.round(inventoryMs / 1_000),
    "host: s": Math.round(hostMs / 1_000),
    "clone refused: s": Math.round(cloneMs / 1_000),
  };
}

/** `flynn machine boot-once NAME inventory`: it says once what it is made of, and the boot after is one of a host. */
async function askedOnce(
  scope: Scope,
  appliance: Appliance,
  { metal, machine: { id, name } }: { metal: Machine; machine: MachineRecord },
): Promise<void> {
  await appliance.flynn(["machine", "boot-once", name, "inventory"]);
  await metal.powerCycle();
  await eventually(scope, metal, "its word that it was told", BOOT_MS, async () =>
    metal.console().includes("Flynn: it was told. The machine restarts and boots as before."),
  );
  const text = await eventually(scope, metal, "the inventory that was ordered", 60_000, async () => {
    const shown = await appliance.flynn(["machine", "inventory", name]);
    return shown.includes("by its agent, as ordered") ? shown : undefined;
  });
  ok(text.includes(metal.mac), text);
  match(await appliance.flynn(["machine", "orders", name]), /boot-once +done/);
  await eventually(scope, metal, "a boot of its own again", 180_000, async () => {
    const { items } = (await appliance.api<{ items: TimelineEvent[] }>("GET", `/v1/machines/${id}/timeline`)).body;
    const [told, given] = [items.findLast(({ stage }) => stage === "inventory"), items.findLast(isOwnScript)];
    return told !== undefined && given !== undefined && given.seq > told.seq;
  });
}

const isOwnScript = ({ stage, bootId }: TimelineEvent): boolean => stage === "script" && bootId !== undefined;

/** The machine's card, UUID and serial, and another mainboard: it boots, and its agent is no host, for a reason that a person reads. */
async function clone(
  scope: Scope,
  appliance: Appliance,
  { metal: { mac, uuid, serial }, machine: { id, name } }: { metal: Machine; machine: MachineRecord },
): Promise<number> {
  const begunMs = performance.now();
  const metal = await addMachine(scope, appliance.lan, { name: "clone1", mac, uuid, serial, tpm: true, diskGiB: 0 });
  await metal.powerOn();
  await eventually(scope, metal, "the clone being refused", BOOT_MS, async () => {
    const steps = await appliance.api<{ items: TimelineEvent[] }>("GET", `/v1/machines/${id}/timeline`);
    return steps.body.items.find(({ detail }) => detail?.["code"] === "join-tpm");
  });
  const tookMs = performance.now() - begunMs;
  const explained = await appliance.flynn(["machine", "explain", name]);
  match(explained, /asks to join as machine .*, which was approved with TPM .*: a clone, or a new mainboard/);
  match(explained, /a clone: switch it off/);
  const { items } = (await appliance.api<{ items: Host[] }>("GET", "/v1/hosts")).body;
  same(items.map(({ state }) => state).join(" "), "lost", "the clone is no host");
  await metal.kill();
  return tookMs;
}

async function record(appliance: Appliance, mac?: string): Promise<MachineRecord | undefined> {
  const { items } = (await appliance.api<{ items: MachineRecord[] }>("GET", "/v1/machines")).body;
  return items.find((one) => mac === undefined || one.macs.includes(mac));
}

/** The machine once its inventory has come in: what is on its console, and what the appliance shows of it. */
async function seen(
  appliance: Appliance,
  metal: Machine,
  begunMs: number,
  say: (line: string) => void,
): Promise<MachineRecord> {
  const scope = { signal: AbortSignal.timeout(2 * BOOT_MS) };
  await eventually(scope, metal, "six words on its console", BOOT_MS, async () =>
    new RegExp(WORDS).test(metal.console()),
  );
  say(`six words are on its console after ${Math.round((performance.now() - begunMs) / 1_000)} s`);
  const machine = await eventually(scope, metal, "its inventory", BOOT_MS, async () => {
    const found = await record(appliance);
    return found?.check?.by === "key" ? found : undefined;
  });
  const shown = [...metal.console().matchAll(WORDS)].map(([, words]) => words);
  ok(shown.length > 0 && shown.every((words) => words === machine.check!.words), `${shown} ${machine.check!.words}`);
  same(machine.state, "discovered");
  const text = await appliance.flynn(["machine", "inventory", machine.name]);
  say(text);
  ok(text.includes(machine.check!.words) && text.includes(metal.mac) && text.includes("/dev/vda"), text);
  const { report } = JSON.parse(
    await appliance.flynn(["machine", "inventory", machine.name, "--json"]),
  ) as MachineInventory;
  same(report.uuid, metal.uuid);
  same(report.serial, metal.serial);
  same(report.disks[0]?.holds, "zeros at both ends");
  match(report.tpm?.id ?? "none", /^[0-9a-f]{64}$/);
  same(report.tpm?.version, "2.0");
  const list = await appliance.flynn(["machine", "list"]);
  ok(list.includes(machine.check!.words), list);
  const steps = await appliance.api<{ items: TimelineEvent[] }>("GET", `/v1/machines/${machine.id}/timeline`);
  const stages = steps.body.items.map(({ stage }) => stage);
  for (const stage of ["script", "kernel", "initrd", "squashfs", "inventory"] as const)
    ok(stages.includes(stage), `${stage} is not on its timeline: ${stages.join(" ")}`);
  for (const stage of ["seed", "join", "cloud-init"] as const)
    ok(!stages.includes(stage), `${stage} is on the timeline of a machine that nobody approved`);
  return machine;
}

/** The console's end goes into the failure: where a boot stops, it usually says why. */
async function eventually<T>(
  { signal }: { signal: AbortSignal },
  metal: Machine,
  what: string,
  timeoutMs: number,
  probe: () => Promise<T>,
): Promise<NonNullable<T>> {
  return await until(probe, { what, timeoutMs, everyMs: 1_000, signal }).catch((cause: unknown) => {
    throw new Error(`${what}; the machine's console ends: ${metal.consoleTail(12).join(" | ")}`, { cause });
  });
}
