// A virtual bare-metal machine: SeaBIOS, the network card's own boot ROM (iPXE as Debian ships it for QEMU), an empty disk
// and nothing else. It is never given a kernel: what it runs it got over the lab's LAN. Emulated; KVM is not asked for.

import { readFileSync } from "node:fs";
import { copyFile, open } from "node:fs/promises";
import { createConnection } from "node:net";
import { join } from "node:path";
import { deadline, until } from "#lib/time.ts";
import { type Lan, macOf, type Port } from "./network.ts";
import { once, type Running, start } from "./process.ts";
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
  disk?: "virtio-blk-pci" | "ide-hd";
  /** ovmf: UEFI, of Debian's package ovmf; its variables are the machine's own and survive power cycles. */
  firmware?: "seabios" | "ovmf";
  /** What its clock says at every power-on, `2020-01-01T00:00:00`; the right time without. */
  clock?: string;
}

const OVMF = "/usr/share/OVMF";

export interface Machine extends Port {
  readonly name: string;
  readonly mac: string;
  readonly uuid: string;
  readonly serial: string;
  readonly diskFile: string | undefined;
  readonly consoleFile: string;
  powerOn(): Promise<void>;
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

export async function addMachine(scope: Scope, lan: Lan, options: MachineOptions): Promise<Machine> {
  const { name, memoryMiB = 3072, cpus = 2, diskGiB = 2, nic = "virtio-net-pci", disk = "virtio-blk-pci" } = options;
  const { firmware = "seabios" } = options;
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
  const variables = join(scope.folder, `${name}.vars`);
  if (firmware === "ovmf") await copyFile(`${OVMF}/OVMF_VARS_4M.fd`, variables);
  await (await open(consoleFile, "a")).close();
  // With erms the guest's kernel clears pages byte by byte, and each byte of a page that held code is slow to emulate.
  const argv = [
    "qemu-system-x86_64",
    ...["-name", name, "-nodefaults", "-no-user-config", "-display", "none"],
    ...[
      "-machine",
      "pc,graphics=off",
      "-accel",
      "tcg,thread=multi",
      "-cpu",
      "max,erms=off,fsrm=off",
      "-smp",
      `${cpus}`,
      "-m",
      `${memoryMiB}`,
    ],
    ...(options.clock === undefined ? [] : ["-rtc", `base=${options.clock}`]),
    ...(firmware === "seabios"
      ? []
      : [`readonly=on,file=${OVMF}/OVMF_CODE_4M.fd`, `file=${variables}`].flatMap((flash, unit) => [
          "-drive",
          `if=pflash,format=raw,unit=${unit},${flash}`,
        ])),
    ...["-smbios", `type=1,manufacturer=Flynn,product=Lab,serial=${serial},uuid=${uuid}`, "-uuid", uuid],
    ...["-chardev", `file,id=console,path=${consoleFile},append=on`, "-serial", "chardev:console"],
    ...["-qmp", `unix:${qmpSocket},server=on,wait=off`],
    ...[
      "-netdev",
      `tap,id=lan,ifname=${port.device},script=no,downscript=no`,
      "-device",
      `${nic},netdev=lan,mac=${mac},bootindex=1`,
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
  const state: { emulator?: Running } = {};
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
    async powerOn() {
      if (isOn()) throw new Error(`${name} is on`);
      const emulator = await start(
        scope,
        argv,
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

/** Console text as a person would read it: no escape sequences, no carriage returns, no control characters. */
export function plainText(raw: string): string {
  return raw
    .replace(/\x1b\][^\x07]*\x07|\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[ -~]/g, "")
    .replace(/[\x00-\x09\x0b-\x1f\x7f]/g, "");
}

/** One command on a connection of its own; QEMU serves one client at a time. */
function qmp(socketPath: string, command: string): Promise<void> {
  const socket = createConnection(socketPath);
  const work = new Promise<void>((resolve, reject) => {
    let received = "";
    socket.on("data", (chunk) => {
      received += chunk.toString("utf8");
      for (let end = received.indexOf("\n"); end >= 0; end = received.indexOf("\n")) {
        const message = JSON.parse(received.slice(0, end)) as {
          QMP?: unknown;
          return?: unknown;
          error?: { desc: string };
          id?: string;
        };
        received = received.slice(end + 1);
        if (message.QMP !== undefined) socket.write(`{"execute":"qmp_capabilities","id":"hello"}\n`);
        else if (message.id === "hello") socket.write(`${JSON.stringify({ execute: command, id: "command" })}\n`);
        else if (message.id === "command")
          message.error ? reject(new Error(`${command}: ${message.error.desc}`)) : resolve();
      }
    });
    socket.on("error", reject);
    socket.on("close", () => reject(new Error("QEMU closed its control socket")));
  });
  return deadline(work, 5_000, `QEMU's ${command}`).finally(() => socket.destroy());
}
