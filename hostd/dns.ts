// Name servers of containers, always told explicitly: left alone, Docker falls back to public ones.
import { readFile } from "node:fs/promises";
import { isIPv4 } from "node:net";
import type { HostTarget } from "#api/hosts.ts";
import { firstAddress } from "./network.ts";

/** The host's own behind a local stub first, then the plain file. */
const RESOLV_CONF = ["/run/systemd/resolve/resolv.conf", "/etc/resolv.conf"] as const;

export async function containerDns(
  configured: readonly string[],
  files: readonly string[] = RESOLV_CONF,
): Promise<(target: Pick<HostTarget, "subnet">) => string[]> {
  if (configured.length > 0) return () => [...configured];
  const texts = await Promise.all(files.map((file) => readFile(file, "utf8").catch(() => "")));
  const found = texts.map(nameServers).find((servers) => servers.length > 0);
  return found ? () => found : ({ subnet }) => [firstAddress(subnet)];
}

/** A loopback server is the host's own and not reachable from a container. */
export function nameServers(resolvConf: string): string[] {
  return [...resolvConf.matchAll(/^\s*nameserver\s+(\S+)/gm)]
    .map(([, address]) => address!)
    .filter((address) => isIPv4(address) && !address.startsWith("127."))
    .slice(0, 3);
}
