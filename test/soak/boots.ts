// Emulated machines of several kinds, each switched on for the first time: from power to a ready host over the network, with every step of
// it on one timeline. npm test boots one kind.
import { cp } from "node:fs/promises";
import { join } from "node:path";
import type { Host } from "#api/hosts.ts";
import type { Machine as MachineRecord, TimelineEvent } from "#api/machines.ts";
import { until } from "#lib/time.ts";
import { fetchLoaders } from "../../images/loaders.ts";
import { type BootImageOptions, bootImage, CACHE, trustImage } from "../e2e/boot-image.ts";
import { type Appliance, startAppliance } from "../lab/appliance.ts";
import { addMachine, type Machine, type MachineOptions } from "../lab/qemu.ts";
import { openScope, type Scope } from "../lab/scope.ts";
import type { Soak } from "./soaks.ts";

const BOOTS = 12;
const KINDS: Record<string, Partial<MachineOptions>> = {
  "BIOS, virtio": {},
  "UEFI, virtio": { firmware: "ovmf" },
  "BIOS, e1000e, IDE disk": { nic: "e1000e", disk: "ide-hd" },
  "UEFI, no disk": { firmware: "ovmf", diskGiB: 0 },
  "BIOS, no disk": { diskGiB: 0 },
  "UEFI, IDE disk": { firmware: "ovmf", disk: "ide-hd" },
};
const BOOT_MS = 480_000;
/** Steps that every boot has on its timeline; a card whose ROM is iPXE fetches none by TFTP. */
const STAGES = ["discover", "script", "kernel", "ready"];

export const boots: Soak = {
  what: `${BOOTS} first boots of emulated machines: ${Object.keys(KINDS).join("; ")}`,
  covers: ["bootstrap", "images", "test/soak/boots.ts", "test/lab/qemu.ts"],
  async run({ resumed, timeUp, signal, say }) {
    let done = Number(resumed?.["boots"] ?? 0);
    const scope = await openScope({ signals: false });
    const stop = () => void scope.close().catch(() => undefined);
    signal.addEventListener("abort", stop, { once: true });
    const seconds: Record<string, number> = { ...(resumed as Record<string, number> | undefined) };
    try {
      const appliance = await booting(scope, say);
      const kinds = Object.entries(KINDS);
      for (; done < BOOTS && !timeUp.aborted; done++) {
        const [kind, options] = kinds[done % kinds.length]!;
        const took = await firstBoot(scope, appliance, { ...options, name: `boot${done}` });
        seconds[`${kind}: s`] = Math.round(took / 1_000);
        say(`${done + 1} of ${BOOTS}: ${kind}, ready after ${Math.round(took / 1_000)} s`);
      }
      return { done: done >= BOOTS, figures: { ...seconds, boots: done } };
    } finally {
      signal.removeEventListener("abort", stop);
      await scope.close();
    }
  },
};

/** An appliance in full mode with a boot image of this kind. */
export async function booting(
  scope: Scope,
  say: (line: string) => void,
  kind: Pick<BootImageOptions, "architecture" | "uki"> = {},
): Promise<Appliance> {
  const image = await bootImage({ say, signal: scope.signal, fast: true, ...kind });
  const stateDir = join(scope.folder, "state");
  await trustImage(image, stateDir);
  if (kind.architecture === "arm64") {
    // Debian 12 has no iPXE for it; `flynn image build` fetches what these are.
    const directory = join(CACHE, "loaders");
    await fetchLoaders({ directory, workDirectory: scope.folder, say, signal: scope.signal });
    await cp(directory, join(stateDir, "loaders"), { recursive: true });
  }
  const net = ["--interface", "br0", "--dhcp", "full", "--dhcp-range", "10.77.0.100-10.77.0.200"];
  const appliance = await startAppliance(scope, {
    stateDir,
    flags: [...net, "--disk-policy", "find-empty", "--images", image.imagesDir],
  });
  const body = { manifest: image.manifest, signature: image.signature };
  const { status } = await appliance.api("POST", "/v1/boot-images", body);
  if (status !== 201) throw new Error(`the boot image was not registered: ${status}`);
  return appliance;
}

/** A host that became ready, before its machine is switched off. */
export interface Ready {
  machine: Machine;
  host: Host;
  stages: string[];
}

/** From power to a ready host, in milliseconds; the machine is switched off and forgotten then. */
export async function firstBoot(
  scope: Scope,
  appliance: Appliance,
  options: MachineOptions,
  {
    bootMs = BOOT_MS,
    stages: needed = STAGES,
    look,
  }: { bootMs?: number; stages?: readonly string[]; look?: (ready: Ready) => Promise<void> } = {},
): Promise<number> {
  const machine = await addMachine(scope, appliance.lan, options);
  const eventually = <T>(what: string, timeoutMs: number, probe: () => Promise<T>): Promise<NonNullable<T>> =>
    until(probe, { what, timeoutMs, everyMs: 500, signal: scope.signal }).catch((cause: unknown) => {
      const console = machine.consoleTail(12).join(" | ");
      throw new Error(`${options.name}: ${what}; its console ends: ${console}`, { cause });
    });
  const list = async <T>(path: string) => (await appliance.api<{ items: T[] }>("GET", path)).body.items;
  const found = async () =>
    (await list<MachineRecord>("/v1/machines")).find(({ identity }) => identity.mac === machine.mac);
  const startedMs = performance.now();
  await machine.powerOn();
  const { id, name } = await eventually("the machine being discovered", 120_000, found);
  await appliance.flynn(["machine", "approve", name]);
  const host = await eventually("a ready host", bootMs, async () =>
    (await list<Host>("/v1/hosts")).find(({ machineId, state }) => machineId === id && state === "ready"),
  );
  const tookMs = performance.now() - startedMs;
  const stages = (await list<TimelineEvent>(`/v1/machines/${id}/timeline`)).map(({ stage }) => stage as string);
  const missing = needed.filter((stage) => !stages.includes(stage));
  if (missing.length > 0) throw new Error(`${options.name} booted without ${missing.join(", ")} on its timeline`);
  await look?.({ machine, host, stages });
  await machine.kill();
  for (const path of [`/v1/hosts/${host.id}`, `/v1/machines/${id}`]) await appliance.api("DELETE", path);
  return tookMs;
}
