// A machine that cannot always boot from the network: it boots from it once, installs itself, and is the same host from its own disk with
// network boot off; goes to another image, comes back by itself from a slot that is damaged and from an image that never becomes ready.
import { ok, strictEqual as same } from "node:assert/strict";
import { open, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Host } from "#api/hosts.ts";
import type { MachineOrder } from "#api/machine-orders.ts";
import type { Machine as MachineRecord, TimelineEvent } from "#api/machines.ts";
import { until } from "#lib/time.ts";
import { bootImage, trustImage } from "../e2e/boot-image.ts";
import { variantOf } from "../e2e/image-variants.ts";
import { type Appliance, startAppliance } from "../lab/appliance.ts";
import type { FirmwareName } from "../lab/firmware/firmwares.ts";
import { addMachine, type Machine } from "../lab/qemu.ts";
import { openScope, type Scope } from "../lab/scope.ts";
import type { Soak } from "./soaks.ts";

const BOOT_MS = 1_200_000;
/** Three boots that come to nothing, and one that does not. */
const BACK_MS = 1_800_000;
const MIB = 1 << 20;
/** The slots of a disk of this size (hostd/install/layout.ts). */
const SLOT_B_AT = (1 + 64 + 1024) * MIB;
/** Somewhere in the root image. */
const DAMAGE_AT = SLOT_B_AT + 300 * MIB;

type Say = (line: string) => void;

export const installed: Soak = {
  what: "emulated machines install themselves and boot from their own disk: UEFI through an update and two fallbacks, and a BIOS",
  covers: ["hostd/install", "hostd/state-disk", "images/host", "test/soak/installed.ts", "test/lab/qemu.ts"],
  async run({ resumed, timeUp, signal, say }) {
    const figures: Record<string, number> = { ...(resumed as Record<string, number> | undefined) };
    const kinds: [string, (scope: Scope) => Promise<Record<string, number>>][] = [
      ["UEFI", (scope) => wholeLife(scope, say)],
      ["BIOS", (scope) => installs(scope, "seabios", say).then(({ figures: seen }) => seen)],
    ];
    for (const [name, work] of kinds) {
      if (figures[`${name}: from its disk, s`] !== undefined) continue;
      if (timeUp.aborted) return { done: false, figures };
      const scope = await openScope({ signals: false });
      const stop = () => void scope.close().catch(() => undefined);
      signal.addEventListener("abort", stop, { once: true });
      try {
        for (const [what, seconds] of Object.entries(await work(scope))) figures[`${name}: ${what}`] = seconds;
      } finally {
        signal.removeEventListener("abort", stop);
        await scope.close();
      }
    }
    return { done: true, figures };
  },
};

interface Installed {
  appliance: Appliance;
  machine: Machine;
  record: MachineRecord;
  host: Host;
  images: { first: string; second: string; broken: string };
  eventually: <T>(what: string, timeoutMs: number, probe: () => Promise<T>) => Promise<NonNullable<T>>;
  timeline: () => Promise<TimelineEvent[]>;
  figures: Record<string, number>;
}

/** From the network, to its disk, and from there with network boot off: the same host. */
async function installs(scope: Scope, firmware: FirmwareName, say: Say): Promise<Installed> {
  const built = await bootImage({ say, signal: scope.signal, fast: true });
  const imagesDir = join(scope.folder, "images");
  const images = {
    first: (await variantOf(built, imagesDir, [])).id,
    second: (await variantOf(built, imagesDir, ["flynn.second"])).id,
    // Its kernel finds nothing to run, long before there is an agent.
    broken: (await variantOf(built, imagesDir, ["rdinit=/nothing", "panic=1"])).id,
  };
  const stateDir = join(scope.folder, "state");
  await trustImage(built, stateDir);
  const net = ["--interface", "br0", "--dhcp", "full", "--dhcp-range", "10.77.0.100-10.77.0.200"];
  const appliance = await startAppliance(scope, { stateDir, flags: [...net, "--no-host", "--images", imagesDir] });
  for (const id of Object.values(images)) {
    const text = (name: string) => readFile(join(imagesDir, id, name), "utf8");
    const body = { manifest: await text("manifest.json"), signature: await text("manifest.sig") };
    same((await appliance.api("POST", "/v1/boot-images", body)).status, 201);
  }
  const refused = await appliance.tryFlynn(["profile", "set", "default", "--disk", "ram", "--install", "disk"]);
  ok(refused.code !== 0 && /needs a disk policy that names a disk/.test(refused.stderr), refused.stderr);
  await appliance.flynn(["profile", "set", "default", "--disk", "find-empty", "--install", "disk"]);

  const machine = await addMachine(scope, appliance.lan, { name: "metal", firmware, diskGiB: 6 });
  const list = async <T>(path: string) => (await appliance.api<{ items: T[] }>("GET", path)).body.items;
  const eventually: Installed["eventually"] = (what, timeoutMs, probe) =>
    until(probe, { what, timeoutMs, everyMs: 1_000, signal: scope.signal }).catch(async (cause: unknown) => {
      const console = machine.consoleTail(25).join(" | ");
      throw new Error(`${what}; its console ends: ${console}`, { cause });
    });
  const hosts = () => list<Host>("/v1/hosts");
  const begunMs = performance.now();
  const sinceS = (fromMs: number) => Math.round((performance.now() - fromMs) / 1_000);
  await machine.powerOn();
  const found = await eventually("the machine being discovered", 180_000, async () =>
    (await list<MachineRecord>("/v1/machines")).find(({ identity }) => identity.mac === machine.mac),
  );
  await appliance.flynn(["machine", "approve", found.name]);
  const host = await eventually("a ready host", BOOT_MS, async () =>
    (await hosts()).find(({ machineId, state }) => machineId === found.id && state === "ready"),
  );
  const timeline = () => list<TimelineEvent>(`/v1/machines/${found.id}/timeline?limit=500`);
  await eventually("the installation on its timeline", BOOT_MS, async () =>
    (await timeline()).find(({ stage, message }) => stage === "install" && /^installed to disk/.test(message)),
  );
  const figures: Record<string, number> = { "installed, s": sinceS(begunMs) };
  say(`${firmware}: installed ${figures["installed, s"]} s after it was switched on for the first time`);

  await machine.kill();
  machine.bootFrom("disk");
  const fromMs = performance.now();
  await machine.powerOn();
  await eventually("the host back from its own disk", BOOT_MS, async () =>
    (await timeline()).find(({ stage, message }) => stage === "join" && /own disk, slot A/.test(message)),
  );
  await eventually("the host ready from its own disk", BOOT_MS, async () =>
    (await timeline()).some(({ stage }, n, all) => stage === "ready" && all.slice(0, n).some(isBack)),
  );
  figures["from its disk, s"] = sinceS(fromMs);
  const [now, ...others] = await hosts();
  same(others.length, 0, "it came back as another host");
  same(now?.id, host.id);
  same(now?.state, "ready");
  const record = (await appliance.api<MachineRecord>("GET", `/v1/machines/${found.id}`)).body;
  same(record.imageId, images.first);
  ok(/Flynn: starting slot a of this disk/.test(machine.console()), "GRUB's words are not on its console");
  say(`${firmware}: the same host ${figures["from its disk, s"]} s after power-on, from its own disk`);
  return { appliance, machine, record, host, images, eventually, timeline, figures };
}

const isBack = ({ stage, message }: TimelineEvent): boolean => stage === "join" && /own disk/.test(message);

async function wholeLife(scope: Scope, say: Say): Promise<Record<string, number>> {
  const { appliance, machine, record, host, images, eventually, timeline, figures } = await installs(
    scope,
    "ovmf",
    say,
  );
  const { name, id } = record;
  const machineNow = async () => (await appliance.api<MachineRecord>("GET", `/v1/machines/${id}`)).body;
  const isReadyWith = async (imageId: string, from: number) => {
    const since = (await timeline()).filter(({ seq }) => seq > from);
    const ready = since.findLastIndex(({ stage }) => stage === "ready");
    return ready >= 0 && since.slice(0, ready).some(isBack) && (await machineNow()).imageId === imageId;
  };
  const lastSeq = async () => (await timeline()).at(-1)!.seq;
  const told = (stage: string, pattern: RegExp, from: number) => async () =>
    (await timeline()).find((event) => event.seq > from && event.stage === stage && pattern.test(event.message));
  const timed = async (what: string, work: () => Promise<void>): Promise<void> => {
    const fromMs = performance.now();
    await work();
    figures[what] = Math.round((performance.now() - fromMs) / 1_000);
    say(`${what.replace(/, s$/, "")}: ${figures[what]} s`);
  };
  const anew = async (imageId: string): Promise<MachineOrder> => {
    await appliance.flynn(["profile", "set", "default", "--image", imageId]);
    const { body } = await appliance.api<MachineOrder>("POST", `/v1/machines/${id}/reprovision`, {});
    return body;
  };

  await timed("another image in slot B, s", async () => {
    const from = await lastSeq();
    await anew(images.second);
    await eventually("the new image in slot B", BOOT_MS, told("install", /is written to slot B/, from));
    await eventually("ready with the new image", BOOT_MS, () => isReadyWith(images.second, from));
    await eventually("slot B being kept", 60_000, told("install", /slot B .* is booted from now on/, from));
  });

  await timed("back from a damaged slot, s", async () => {
    const from = await lastSeq();
    await machine.kill();
    const file = await open(machine.diskFile!, "r+");
    try {
      await file.write(Buffer.alloc(MIB, 0x5a), 0, MIB, DAMAGE_AT);
    } finally {
      await file.close();
    }
    await machine.powerOn();
    await machine.waitForConsole(/the root image on this disk is damaged/, BOOT_MS);
    await eventually("ready with the image of slot A", BACK_MS, () => isReadyWith(images.first, from));
    await eventually("the damage on its timeline", 60_000, told("fallback", /slot B .* could not be booted/, from));
  });

  await timed("back from an image that never becomes ready, s", async () => {
    const from = await lastSeq();
    await anew(images.broken);
    await eventually("the broken image in slot B", BOOT_MS, told("install", /is written to slot B/, from));
    await eventually("ready with the image before", BACK_MS, () => isReadyWith(images.first, from));
    await eventually("the fallback on its timeline", 60_000, told("fallback", /never ready; slot A/, from));
  });
  const { body } = await appliance.api<{ items: Host[] }>("GET", "/v1/hosts");
  same(body.items.length, 1, `${name} was one host all the while`);
  same(body.items[0]!.id, host.id);
  return figures;
}
