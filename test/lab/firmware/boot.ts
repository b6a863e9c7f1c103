// One emulated machine with one firmware, switched on beside the real boot server: how far it comes, and when. The image's kernel is none,
// unless a real image is given: what is seen ends where it would start.
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import type { BootEvent, BootImageManifest } from "#api/boot.ts";
import { until } from "#lib/time.ts";
import { bootMachine, bootTarget, writeImage } from "../../bootstrap/image-fixture.ts";
import type { ServeOptions } from "../../bootstrap/serve.ts";
import { openLan } from "../network.ts";
import { addMachine, type Machine, type MachineOptions } from "../qemu.ts";
import type { Scope } from "../scope.ts";
import { startDhcp } from "./office-dhcp.ts";

export interface FirmwareBoot extends Omit<MachineOptions, "name"> {
  mode: "full" | "proxy";
  /** Somebody else's DHCP server on the LAN, for proxy mode. */
  beside?: "dnsmasq" | "isc";
  /** True: an IPv6 router answers, so that the iPXE of Debian 12 does not wait for one. */
  ipv6?: boolean;
  /** More of the boot server's configuration. */
  config?: Record<string, unknown>;
  /** A real image, whose kernel starts. */
  image?: { imagesDir: string; keyFile: string; manifest: BootImageManifest };
  /** True once it came as far as it is to come. */
  isReached: (events: readonly BootEvent[], console: string) => boolean;
  timeoutMs: number;
}

export interface FirmwareBooted {
  events: BootEvent[];
  console: string;
  /** From power-on to the boot script, by the server's own clock. */
  scriptMs: number;
}

const SERVE = fileURLToPath(new URL("../../bootstrap/serve.ts", import.meta.url));

export async function bootFirmware(scope: Scope, options: FirmwareBoot): Promise<FirmwareBooted> {
  const { mode, beside, ipv6 = false, config = {}, isReached, timeoutMs, image, ...machineOptions } = options;
  const lan = await openLan(scope, { ipv6 });
  const machine = await addMachine(scope, lan, {
    ...{ name: "metal", memoryMiB: 512, cpus: 1, diskGiB: 0 },
    ...machineOptions,
  });
  const served = image ?? (await writeImage(scope.folder));
  const [stateDir, targetFile] = [join(scope.folder, "state"), join(scope.folder, "target.json")];
  await mkdir(stateDir);
  await writeFile(targetFile, JSON.stringify(bootTarget([bootMachine(machine.mac)], served.manifest)));
  const own = { interface: lan.bridge, mode, stateDir, caFile: "", controlUrls: ["https://10.77.0.1:7777"] };
  const paths = { imagesDir: served.imagesDir, imageKeyFile: served.keyFile };
  const serve: ServeOptions = { targetFile, config: { ...own, ...paths, ...config } };
  const server = await lan.spawn([process.execPath, SERVE, JSON.stringify(serve)], { name: "boot" });
  await server.waitFor(/ready/, 20_000);
  if (beside !== undefined) await startDhcp(scope, lan, beside);
  const events = () =>
    [...server.output().matchAll(/^event (.*)\n/gm)].map((line) => JSON.parse(line[1]!) as BootEvent);
  const startedMs = Date.now();
  await machine.powerOn();
  await until(() => isReached(events(), machine.console()), {
    ...{ what: "the stage", timeoutMs, everyMs: 250, signal: scope.signal },
  }).catch((cause: unknown) => {
    const told = events().map(({ stage, message }) => `${stage}: ${message}`);
    throw new Error(`only ${told.join("; ")}; console: ${tail(machine)}`, { cause });
  });
  const script = events().find(({ stage }) => stage === "script" || stage === "wait-approval");
  return {
    events: events(),
    console: machine.console(),
    scriptMs: script === undefined ? Number.NaN : Date.parse(script.at) - startedMs,
  };
}

const tail = (machine: Machine) => machine.consoleTail(15).join(" | ");
