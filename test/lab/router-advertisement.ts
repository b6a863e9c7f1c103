// An IPv6 router on the lab's LAN, as a company's network has one. iPXE asks for one before it boots and waits 16 s where nobody answers.
// The prefix is a unique local one (RFC 4193) that leads nowhere.
import { join } from "node:path";
import type { Lan } from "./network.ts";
import type { Running } from "./process.ts";

const ADDRESS = "fd77:7a:b::1/64";
const PREFIX = "fd77:7a:b::";

export async function advertiseIpv6(lan: Lan, folder: string): Promise<Running> {
  await lan.exec(["ip", "addr", "add", ADDRESS, "dev", lan.bridge, "nodad"]);
  return lan.spawn([
    "dnsmasq",
    "--keep-in-foreground",
    "--conf-file=/dev/null",
    "--port=0",
    "--user=root",
    "--enable-ra",
    `--dhcp-range=${PREFIX},ra-only,64,1h`,
    `--interface=${lan.bridge}`,
    `--ra-param=${lan.bridge},4,1800`,
    `--pid-file=${join(folder, "dnsmasq.pid")}`,
    `--dhcp-leasefile=${join(folder, "dnsmasq.leases")}`,
  ]);
}
