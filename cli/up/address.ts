// The address this machine is reached by: what was asked for, else the boot interface's, else the default route's. Asked of
// the kernel through `ip`: Node leaves out interfaces without a carrier, such as a bridge before its first machine is on.
import { readFile } from "node:fs/promises";
import { Fault } from "#api/fault.ts";
import { isContainerLink } from "#lib/address-ranges.ts";
import { exec } from "#lib/exec.ts";
import type { UpConfig } from "./config.ts";

/** A network interface with its IPv4 addresses, as `ip -json` has it. */
export interface Link {
  ifname: string;
  addr_info: { family: string; local: string; prefixlen: number; scope: string }[];
}

export async function ownLinks(): Promise<Link[]> {
  const { stdout } = await exec(["ip", "-json", "-4", "address", "show"], { timeoutMs: 5_000 });
  const links = JSON.parse(stdout || "[]") as Partial<Link>[];
  return links.flatMap(({ ifname, addr_info = [] }) => (ifname === undefined ? [] : [{ ifname, addr_info }]));
}

export async function ownAddress(config: Pick<UpConfig, "address" | "interface">): Promise<string> {
  if (config.address) return config.address;
  const links = await ownLinks();
  if (config.interface) return addressOf(links, config.interface);
  const name = defaultRouteInterface(await readFile("/proc/net/route", "utf8").catch(() => ""));
  const others = links.filter(({ ifname }) => !isContainerLink(ifname));
  const chosen =
    links.find(({ ifname }) => ifname === name) ?? others.find(({ addr_info }) => addr_info.some(isGlobal));
  return chosen?.addr_info.find(isGlobal)?.local ?? "127.0.0.1";
}

const isGlobal = ({ scope }: { scope: string }): boolean => scope === "global";

export function addressOf(links: readonly Link[], name: string): string {
  const address = links.find(({ ifname }) => ifname === name)?.addr_info.find(isGlobal)?.local;
  if (address !== undefined) return address;
  const others = links.filter(({ addr_info }) => addr_info.some(isGlobal)).map(({ ifname }) => ifname);
  throw new Fault(
    "invalid",
    `there is no interface ${name} with an IPv4 address; those with one: ${others.join(", ") || "none"}`,
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
