// machine inventory: what a machine is made of, as it last said, in tables.
import { getMachineInventory, type InventoryReport, type MachineInventory } from "#api/inventory.ts";
import { getMachine, type Machine } from "#api/machines.ts";
import { formatSize } from "#lib/units.ts";
import { withCluster } from "../clusters/connect.ts";
import { age, answer } from "../output/answer.ts";
import { printFacts, printTable } from "../output/table.ts";
import type { Cli, Command } from "../parse/command.ts";

export const inventoryCommand: Command = {
  words: "machine inventory",
  summary: "What a machine is made of: processor, memory, disks, cards, switch ports, BMC",
  args: [{ name: "MACHINE", required: true, offers: "machines" }],
  run: (call) =>
    withCluster(call, async (client) => {
      const { cli } = call;
      const { signal } = cli;
      const machine = await client.call(getMachine, { params: { id: call.args[0]! }, signal });
      const inventory = await client.call(getMachineInventory, { params: { id: machine.id }, signal });
      answer(cli, inventory, () => show(cli, machine, inventory));
    }),
};

/** Six words with what they are worth; empty for a machine that waits for nobody. */
export function checkWords({ check, pending }: Pick<Machine, "check" | "pending">): string {
  if (check === undefined) return pending?.words ?? "";
  return check.by === "key" ? check.words : `${check.words} (weak: of its claim alone)`;
}

const TAKEN: Record<MachineInventory["takenBy"], string> = {
  waiting: "its agent, before approval",
  order: "its agent, as ordered",
  host: "its host",
};

function show(cli: Cli, machine: Machine, { report, takenBy, at }: MachineInventory): void {
  const { cpu, memory, system, firmware, bmc, tpm, disks, nics, unread } = report;
  printFacts(cli, [
    ["Machine", `${machine.name} (${machine.state})`],
    ["Taken", `${at} (${age(at)} ago) by ${TAKEN[takenBy]}`],
    ["Six words", checkWords(machine)],
    ["Made by", [system.manufacturer, system.product, report.serial].filter(Boolean).join(" ")],
    ["Board", [system.board, system.boardSerial].filter(Boolean).join(" ")],
    ["UUID", report.uuid],
    ["Runs in", report.virtualisation],
    ["Firmware", firmwareWords(firmware)],
    ["Processor", `${cpu.model || "unknown"}: ${cpu.sockets} sockets, ${cpu.cores} cores, ${cpu.threads} threads`],
    ["Flags", cpu.flags.join(" ")],
    ["Memory", memoryWords(memory)],
    ["BMC", bmc && [bmc.address, bmc.mac, bmc.firmware && `firmware ${bmc.firmware}`].filter(Boolean).join(" ")],
    ["TPM", tpm?.version ?? "none"],
    ["Not read", unread.join("; ")],
  ]);
  const modules = memory.dimms.filter(({ sizeBytes }) => sizeBytes > 0);
  table(cli, ["SLOT", "SIZE", "KIND", "SPEED", "MAKER", "PART", "SERIAL"], modules, (one) => [
    one.slot,
    formatSize(one.sizeBytes),
    one.kind ?? "",
    one.speedMts === undefined ? "" : `${one.speedMts} MT/s`,
    one.manufacturer ?? "",
    one.part ?? "",
    one.serial ?? "",
  ]);
  table(cli, ["DISK", "SIZE", "MODEL", "SERIAL", "WWN", "KIND", "HEALTH", "HOLDS"], disks, (one) => [
    one.path,
    formatSize(one.sizeBytes),
    one.model ?? "",
    one.serial ?? "",
    one.wwn ?? "",
    [one.transport, one.rotational === undefined ? undefined : one.rotational ? "rotating" : "solid"]
      .filter(Boolean)
      .join(" "),
    healthWords(one.smart),
    one.holds,
  ]);
  table(cli, ["CARD", "MAC", "DRIVER", "FIRMWARE", "LINK", "SWITCH", "PORT"], nics, (one) => [
    one.name,
    one.mac ?? "",
    one.driver ?? "",
    one.firmware ?? "",
    one.carrier ? (one.speedMbps === undefined ? "up" : `${one.speedMbps} Mbit/s`) : "no cable",
    one.neighbour?.system ?? one.neighbour?.chassis ?? "",
    [one.neighbour?.port, one.neighbour?.portDescription, one.neighbour?.vlan && `VLAN ${one.neighbour.vlan}`]
      .filter(Boolean)
      .join(", "),
  ]);
}

function table<T>(cli: Cli, titles: readonly string[], rows: readonly T[], row: (one: T) => string[]): void {
  if (rows.length === 0) return;
  cli.print("");
  printTable(cli, titles, rows.map(row));
}

function firmwareWords({ mode, secureBoot, vendor, version, date }: InventoryReport["firmware"]): string {
  const secure = secureBoot === undefined ? "" : `, Secure Boot ${secureBoot ? "on" : "off"}`;
  return [mode === "uefi" ? `UEFI${secure}` : "BIOS", vendor, version, date].filter(Boolean).join(" ");
}

function memoryWords({
  totalBytes,
  correction,
  correctedErrors,
  uncorrectedErrors,
}: InventoryReport["memory"]): string {
  const errors =
    correctedErrors === undefined
      ? "no controller counts errors"
      : `${correctedErrors} corrected and ${uncorrectedErrors ?? 0} uncorrected errors since this boot`;
  return [formatSize(totalBytes), correction && `correction: ${correction}`, errors].filter(Boolean).join(", ");
}

function healthWords(smart: InventoryReport["disks"][number]["smart"]): string {
  if (smart === undefined) return "";
  const { healthy, powerOnHours, wearPercent, reallocated, mediaErrors } = smart;
  return [
    healthy ? "good" : "FAILING",
    powerOnHours === undefined ? undefined : `${powerOnHours} h`,
    wearPercent === undefined ? undefined : `${wearPercent} % worn`,
    reallocated ? `${reallocated} reallocated` : undefined,
    mediaErrors ? `${mediaErrors} media errors` : undefined,
  ]
    .filter(Boolean)
    .join(", ");
}
