// What other programs print of disks, cards and the BMC. Pure: text in, facts out; what is not as expected is left out.
import { isIPv4 } from "node:net";
import type { InventoryReport } from "#api/inventory.ts";
import { field, natural, told } from "./text.ts";

type Disk = InventoryReport["disks"][number];

/** `smartctl --json -a`: undefined for a disk that has no health to tell. */
export function parseSmart(text: string): Disk["smart"] {
  const said = objectOf(text);
  const passed = at(said, "smart_status", "passed");
  if (typeof passed !== "boolean") return undefined;
  const temperature = at(said, "temperature", "current");
  const table = at(said, "ata_smart_attributes", "table");
  const raw = (id: number) => {
    const row = Array.isArray(table) ? table.find((one) => at(one, "id") === id) : undefined;
    return natural(at(row, "raw", "value"));
  };
  const isTemperature = Number.isInteger(temperature) && Math.abs(temperature as number) <= 100;
  return {
    healthy: passed,
    ...field("temperatureC", isTemperature ? (temperature as number) : undefined),
    ...field("powerOnHours", natural(at(said, "power_on_time", "hours"))),
    ...field("wearPercent", natural(at(said, "nvme_smart_health_information_log", "percentage_used"))),
    ...field("reallocated", raw(5)),
    ...field("mediaErrors", natural(at(said, "nvme_smart_health_information_log", "media_errors"))),
  };
}

/** `lsblk -J -o PATH,ROTA,TRAN,FSTYPE,LABEL`, for what the state disk's own reading does not need. */
export function parseLsblkMore(
  text: string,
): Map<string, Pick<Disk, "rotational" | "transport"> & { parts: readonly string[] }> {
  const rows = at(objectOf(text), "blockdevices");
  const named = (row: unknown): string | undefined => {
    const type = told(textAt(row, "fstype"), 32);
    const label = told(textAt(row, "label"), 32);
    return type === undefined ? undefined : `${type}${label === undefined ? "" : ` (${label})`}`;
  };
  const below = (row: unknown, depth = 0): unknown[] => {
    const children = at(row, "children");
    if (!Array.isArray(children) || depth > 8) return [];
    return children.slice(0, 128).flatMap((child) => [child, ...below(child, depth + 1)]);
  };
  return new Map(
    (Array.isArray(rows) ? rows.slice(0, 256) : []).flatMap((row) => {
      const path = textAt(row, "path");
      if (path === undefined) return [];
      const rota = at(row, "rota");
      const parts = below(row).flatMap((child) => named(child) ?? []);
      return [
        [
          path,
          {
            ...field("rotational", typeof rota === "boolean" ? rota : undefined),
            ...field("transport", told(textAt(row, "tran"), 16)),
            parts: [...new Set(parts)],
          },
        ] as const,
      ];
    }),
  );
}

/** `ethtool -i`: the card's firmware. */
export function parseEthtool(text: string): string | undefined {
  return told(/^firmware-version:[ \t]*(.*)$/m.exec(text.slice(0, 4096))?.[1], 64);
}

/** `ipmitool lan print`; undefined when it names neither card nor address. */
export function parseLanPrint(text: string): InventoryReport["bmc"] {
  const value = (name: string) => new RegExp(`^${name}\\s*:\\s*(\\S+)\\s*$`, "m").exec(text.slice(0, 16_384))?.[1];
  const mac = value("MAC Address")?.toLowerCase();
  const address = value("IP Address");
  const usable = address !== undefined && isIPv4(address) && address !== "0.0.0.0";
  const card = mac !== undefined && /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/.test(mac) && mac !== "00:00:00:00:00:00";
  if (!usable && !card) return undefined;
  return { ...field("mac", card ? mac : undefined), ...field("address", usable ? address : undefined) };
}

/** `ipmitool mc info` */
export const parseMcInfo = (text: string): string | undefined =>
  told(/^Firmware Revision[ \t]*:[ \t]*(.*)$/m.exec(text.slice(0, 16_384))?.[1], 32);

function objectOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function at(value: unknown, ...names: string[]): unknown {
  let found = value;
  for (const name of names) {
    if (typeof found !== "object" || found === null || !Object.hasOwn(found, name)) return undefined;
    found = (found as Record<string, unknown>)[name];
  }
  return found;
}

function textAt(value: unknown, name: string): string | undefined {
  const found = at(value, name);
  return typeof found === "string" ? found : undefined;
}
