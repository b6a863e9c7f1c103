// The network interfaces of this machine as `ip` has them. Not os.networkInterfaces(): that leaves out every interface
// without a carrier, and a boot server starts before the first machine on its switch is on.
import { exec } from "#lib/exec.ts";

export interface Interface {
  name: string;
  mac: string;
  /** IPv4 addresses with their prefix length, `10.77.0.1/24`. */
  cidrs: string[];
}

export async function listInterfaces(): Promise<Interface[]> {
  const { stdout } = await exec(["ip", "-json", "address", "show"], { timeoutMs: 10_000 });
  return parseInterfaces(stdout);
}

export function parseInterfaces(json: string): Interface[] {
  const links = JSON.parse(json) as {
    ifname?: string;
    address?: string;
    addr_info?: { family: string; local: string; prefixlen: number }[];
  }[];
  return links
    .filter((link) => link.ifname !== undefined)
    .map((link) => ({
      name: link.ifname!,
      mac: (link.address ?? "").toLowerCase(),
      cidrs: (link.addr_info ?? [])
        .filter((one) => one.family === "inet")
        .map((one) => `${one.local}/${one.prefixlen}`),
    }));
}
