// A virtual bare-metal machine: firmware (firmware/firmwares.ts; SeaBIOS with the card's iPXE ROM unless it says another), a network
// card, an empty disk and nothing else. It is never given a system: what it runs it got over the lab's LAN. Emulated; KVM is not asked for.

import { readFileSync } from "node:fs";
import { access, mkdir, open, rm } from "node:fs/promises";
import { join } from "node:path";
import { until } from "#lib/time.ts";
import { FIRMWARES, type FirmwareName, flashArgv } from "./firmware/firmwares.ts";
import { type Lan, macOf, type Port } from "./network.ts";
import { once, type Running, start } from "./process.ts";
import { plainText, qmp } from "./qmp.ts";
import type { Scope } from "./scope.ts";

export interface MachineOptions {
  name: string;
  /** Default follows from the name: the same machine after a power cycle, and in the next run. */
  mac?: string;
  uuid?: string;
  serial?: string;
  memoryMiB?: number;
  cpus?: number;
  /** 0: no disk at all. The disk is sparse and survives power cycles. A host that looks for an empty one reads all of it. */
  diskGiB?: number;
  /** virtio is what clouds have and fastest emulated; e1000e is a card found on real boards. */
  nic?: "virtio-net-pci" | "e1000e";
  /** Cards before the one that is on the LAN, with no cable. */
  idleCards?: number;
  disk?: "virtio-blk-pci" | "ide-hd";
  firmware?: FirmwareName;
  /** The card's boot ROM; what QEMU brings for it unless the firmware has its own. */
  romFile?: string;
  /** The image in its CD drive at each power-on, which it boots from then; none without. */
  cdrom?: () => string | undefined;
  /** What its clock says at every power-on, `2020-01-01T00:00:00`; the right time without. */
  clock?: string;
  /** A TPM 2.0 of its own (swtpm), which is the same after a power cycle. */
  tpm?: boolean;
}

// With erms the guest's kernel clears pages byte by byte, and each byte of a page that held code is slow to emulate.
const X86_CPU = "max,erms=off,fsrm=off";

export interface Machine extends Port {
  readonly name: string;
  readonly mac: string;
  readonly uuid: string;
  readonly serial: string;
  readonly diskFile: string | undefined;
  readonly consoleFile: string;
  powerOn(): Promise<void>;
  /** From the next power-on; `disk`: its card boots nothing. The network comes first unless said. */
  bootFrom(what: "network" | "disk"): void;
  /** Power cut: SIGKILL to the emulator. RAM is lost, the disk stays. */
  kill(): Promise<void>;
  /** Cut, then on again. */
  powerCycle(): Promise<void>;
  /** The reset button. */
  reset(): Promise<void>;
  /** The power button, as the ACPI event an operating system may answer. */
  pressPower(): Promise<void>;
  isOn(): boolean;
  /** Everything the machine wrote to its serial console since the lab began, escape codes removed. */
  console(): string;
  consoleTail(lines: number): string[];
  waitForConsole(pattern: RegExp, timeoutMs: number): Promise<RegExpMatchArray>;
}

const cdArgv = (file: string): string[] => [
  ...["-drive", `id=cd,if=none,media=cdrom,readonly=on,format=raw,file=${file}`],
  ...["-device", "ide-cd,drive=cd,bootindex=0"],
];

export async function addMachine(scope: Scope, lan: Lan, options: MachineOptions): Promise<Machine> {
  const { name, memoryMiB = 3072, cpus = 2, diskGiB = 2, nic = "virtio-net-pci", disk = "virtio-blk-pci" } = options;
  const firmware = FIRMWARES[options.firmware ?? "seabios"];
  const number = [...name].reduce((sum, letter) => (sum * 31 + letter.charCodeAt(0)) % 65_521, 7);
  const mac = options.mac ?? macOf(`77.1.${number >> 8}.${number & 255}`);
  const uuid = options.uuid ?? `6c616221-0000-4000-8000-${mac.replaceAll(":", "")}`;
  const serial = options.serial ?? `LAB-${name.toUpperCase()}`;
  const port = await lan.tap(name);
  const consoleFile = join(scope.folder, `${name}.console`);
  const qmpSocket = join(scope.folder, `${name}.qmp`);
  const diskFile = diskGiB > 0 ? join(scope.folder, `${name}.disk`) : undefined;
  if (diskFile !== undefined) {
    const file = await open(diskFile, "wx");
    await file.truncate(diskGiB * 1024 ** 3);
    await file.close();
  }
  const flash = await flashArgv(firmware, join(scope.folder, name));
  const tpm = options.tpm ? await addTpm(scope, name) : undefined;
  await (await open(consoleFile, "a")).close();
  const romFile = options.romFile ?? firmware.romFile;
  const state: { emulator?: Running; bootFrom: "network" | "disk" } = { bootFrom: "network" };
  const cardBoot = () => {
    if (state.bootFrom === "disk") return ",romfile=";
    const rom = romFile === undefined ? "" : `,romfile=${romFile}`;
    return `${firmware.bootsCard === false ? "" : ",bootindex=1"}${rom}`;
  };
  const argv = () => [
    firmware.emulator ?? "qemu-system-x86_64",
    ...["-name", name, "-nodefaults", "-no-user-config", "-display", "none"],
    ...["-machine", firmware.machine, "-accel", "tcg,thread=multi", "-cpu", firmware.cpu ?? X86_CPU],
    ...["-smp", `${cpus}`, "-m", `${memoryMiB}`],
    ...(options.clock === undefined ? [] : ["-rtc", `base=${options.clock}`]),
    ...flash,
    ...(tpm?.argv ?? []),
    ...(firmware.argv ?? []),
    ...["-smbios", `type=1,manufacturer=Flynn,product=Lab,serial=${serial},uuid=${uuid}`, "-uuid", uuid],
    ...["-chardev", `file,id=console,path=${consoleFile},append=on`, "-serial", "chardev:console"],
    ...["-qmp", `unix:${qmpSocket},server=on,wait=off`],
    ...Array.from({ length: options.idleCards ?? 0 }, (_, n) => [
      ...["-netdev", `hubport,id=idle${n},hubid=${n + 1}`, "-device", `${nic},netdev=idle${n},romfile=`],
    ]).flat(),
    ...[
      "-netdev",
      `tap,id=lan,ifname=${port.device},script=no,downscript=no`,
      "-device",
      `${nic},netdev=lan,mac=${mac}${cardBoot()}`,
    ],
    ...(diskFile === undefined
      ? []
      : [
          "-drive",
          `id=disk,if=none,file=${diskFile},format=raw,discard=unmap`,
          "-device",
          `${disk},drive=disk,bootindex=2`,
        ]),
  ];
  const isOn = () => state.emulator?.isRunning() ?? false;
  const text = () => plainText(readFileSync(consoleFile, "latin1"));
  const machine: Machine = {
    name,
    mac,
    uuid,
    serial,
    diskFile,
    consoleFile,
    cut: port.cut,
    heal: port.heal,
    isOn,
    bootFrom(what) {
      state.bootFrom = what;
    },
    async powerOn() {
      if (isOn()) throw new Error(`${name} is on`);
      await tpm?.powerOn();
      const cd = options.cdrom?.();
      const emulator = await start(
        scope,
        [...argv(), ...(cd === undefined ? [] : cdArgv(cd))],
        { name: `${name}-qemu`, graceMs: 0 },
        { argv: lan.argv([]), forks: false },
      );
      state.emulator = emulator;
      const answers = async () => {
        if (!emulator.isRunning()) return { ended: true };
        await qmp(qmpSocket, "query-status");
        return { ended: false };
      };
      const { ended } = await until(answers, {
        what: `QEMU of ${name}`,
        timeoutMs: 10_000,
        everyMs: 50,
        signal: scope.signal,
      });
      if (ended) throw new Error(`QEMU of ${name} ended: ${emulator.output().slice(-2_000)}`);
    },
    async kill() {
      await state.emulator?.kill("SIGKILL");
    },
    async powerCycle() {
      await machine.kill();
      await machine.powerOn();
    },
    reset: () => qmp(qmpSocket, "system_reset"),
    pressPower: () => qmp(qmpSocket, "system_powerdown"),
    console: text,
    consoleTail: (lines) =>
      text()
        .split("\n")
        .filter((line) => line.trim() !== "")
        .slice(-lines),
    async waitForConsole(pattern, timeoutMs) {
      const probe = () => text().match(once(pattern)) ?? (isOn() ? undefined : { off: true as const });
      const found = await until(probe, {
        what: `${pattern} on the console of ${name}`,
        timeoutMs,
        everyMs: 200,
        signal: scope.signal,
      });
      if ("off" in found) throw new Error(`${name} went off before its console said ${pattern}`);
      return found;
    },
  };
  return machine;
}

/** A TPM lives as long as the emulator that is connected to it; what it is made of stays in its folder. */
async function addTpm(scope: Scope, name: string): Promise<{ argv: string[]; powerOn: () => Promise<void> }> {
  const folder = join(scope.folder, `${name}.tpm`);
  const socket = join(folder, "socket");
  await mkdir(folder);
  let last: Running | undefined;
  return {
    argv: [
      ...["-chardev", `socket,id=tpm,path=${socket}`, "-tpmdev", "emulator,id=tpm0,chardev=tpm"],
      ...["-device", "tpm-tis,tpmdev=tpm0"],
    ],
    async powerOn() {
      await last?.kill("SIGKILL");
      await rm(socket, { force: true });
      const argv = ["--tpmstate", `dir=${folder}`, "--ctrl", `type=unixio,path=${socket}`, "--terminate"];
      last = await start(scope, ["swtpm", "socket", "--tpm2", ...argv], { name: `${name}-swtpm`, graceMs: 0 });
      await until(
        () =>
          access(socket).then(
            () => true,
            () => undefined,
          ),
        {
          what: `the TPM of ${name}`,
          timeoutMs: 10_000,
          everyMs: 50,
          signal: scope.signal,
        },
      );
    },
  };
}
