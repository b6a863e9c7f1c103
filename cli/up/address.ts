// The address this machine is reached by: what was asked for, else the boot interface's, else the default route's.
import { readFile } from "node:fs/promises";
import { networkInterfaces } from "node:os";
import { Fault } from "#api/fault.ts";
import type { UpConfig } from "./config.ts";

export async function ownAddress(config: Pick<UpConfig, "address" | "interface">): Promise<string> {
  if (config.address) return config.address;
  const all = networkInterfaces();
  const of = (name: string) => all[name]?.find(({ family }) => family === "IPv4")?.address;
  if (config.interface) {
    if (all[config.interface] === undefined)
      throw new Fault(
        "invalid",
        `there is no interface ${config.interface} with an address; there are ${Object.keys(all).join(", ")}`,
      );
    const address = of(config.interface);
    if (address === undefined) throw new Fault("invalid", `interface ${config.interface} has no IPv4 address`);
    return address;
  }
  const name = defaultRouteInterface(await readFile("/proc/net/route", "utf8").catch(() => ""));
  return (
    (name && of(name)) ||
    Object.values(all)
      .flatMap((list) => list ?? [])
      .find(({ family, internal }) => family === "IPv4" && !internal)?.address ||
    "127.0.0.1"
  );
}

/** Interface of the default route with the lowest metric, from /proc/net/route. */
export function defaultRouteInterface(table: string): string | undefined {
  const rows = table
    .split("\n")
    .slice(1)
    .map((line) => line.split("\t"))
    .filter((row) => row[1] === "00000000" && row[7] === "00000000");
  return rows.sort((a, b) => Number(a[6]) - Number(b[6]))[0]?.[0];
}
