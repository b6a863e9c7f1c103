// An office's DHCP server on the lab's LAN, which knows nothing of booting.
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Lan } from "../network.ts";
import type { Scope } from "../scope.ts";

const LEASES = { first: "10.77.0.100", last: "10.77.0.120", server: "10.77.0.2" };

export async function startDhcp(scope: Scope, lan: Lan, kind: "dnsmasq" | "isc"): Promise<void> {
  const { first, last, server } = LEASES;
  const host = await lan.host("office", server);
  const file = (name: string) => join(scope.folder, name);
  if (kind === "dnsmasq") {
    const office = await host.spawn([
      ...["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--user=root", "--interface=eth0"],
      ...["--bind-interfaces", `--dhcp-range=${first},${last},255.255.255.0,1h`, "--log-facility=-", "--log-dhcp"],
      ...[`--pid-file=${file("office.pid")}`, `--dhcp-leasefile=${file("office.leases")}`],
    ]);
    await office.waitFor(/DHCP, IP range/, 10_000);
    return;
  }
  await writeFile(file("office.leases"), "");
  await writeFile(
    file("office.conf"),
    `authoritative;\ndefault-lease-time 3600;\nsubnet 10.77.0.0 netmask 255.255.255.0 {\n  range ${first} ${last};\n}\n`,
  );
  const files = ["-cf", file("office.conf"), "-lf", file("office.leases"), "-pf", file("office.pid")];
  const office = await host.spawn(["dhcpd", "-4", "-f", "-d", "--no-pid", ...files, "eth0"]);
  await office.waitFor(/Sending on/, 10_000);
}
