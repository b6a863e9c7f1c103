// What a machine is made of, in one line for its timeline. Pure.
import type { InventoryReport } from "#api/inventory.ts";
import { formatSize } from "#lib/units.ts";

const count = (n: number, noun: string): string => `${n} ${noun}${n === 1 ? "" : "s"}`;

export function inventoryLine({ cpu, memory, disks, nics, bmc, tpm }: InventoryReport): string {
  const parts = [
    `${count(cpu.cores, "core")} (${cpu.model.trim() || "unknown processor"})`,
    `${formatSize(memory.totalBytes)} of memory`,
    count(disks.length, "disk"),
    count(nics.length, "network card"),
  ];
  if (bmc?.address) parts.push(`BMC ${bmc.address}`);
  if (tpm) parts.push(`TPM ${tpm.version}`);
  return parts.join(", ");
}

/** What a person should look at before the machine carries anything. */
export function inventoryTroubles({ memory, disks }: InventoryReport): string[] {
  const troubles: string[] = [];
  if (memory.uncorrectedErrors)
    troubles.push(`memory had ${count(memory.uncorrectedErrors, "error")} that ECC could not correct`);
  else if (memory.correctedErrors) troubles.push(`ECC corrected ${count(memory.correctedErrors, "memory error")}`);
  for (const { path, serial, smart } of disks)
    if (smart && !smart.healthy) troubles.push(`disk ${path}${serial ? ` (${serial})` : ""} says that it is failing`);
  return troubles;
}
