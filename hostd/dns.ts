// Name servers of containers, always told explicitly: left alone, Docker falls back to public ones.
import { readFileSync } from "node:fs";
import { isIPv4 } from "node:net";
import type { HostTarget } from "#api/host-agents.ts";
import { firstAddress } from "./network.ts";

/** The host's own behind a local stub first, then the plain file. */
const RESOLV_CONF = ["/run/systemd/resolve/resolv.conf", "/etc/resolv.conf"] as const;

export interface ContainerDns {
  /** For a container that is made now: the files are read anew, since a lease may bring others. */
  of(target: Pick<HostTarget, "subnet">): string[];
  /** Those that containers here may ask: the ones before too, for a container keeps what it was made with. */
  open(target: Pick<HostTarget, "subnet">): string[];
}

const OPEN_MOST = 8;

export function containerDns(configured: readonly string[], files: readonly string[] = RESOLV_CONF): ContainerDns {
  let given: string[] = [];
  const of = ({ subnet }: Pick<HostTarget, "subnet">): string[] => {
    if (configured.length > 0) return [...configured];
    const found = files.map(readServers).find((servers) => servers.length > 0) ?? [firstAddress(subnet)];
    given = [...found, ...given.filter((server) => !found.includes(server))].slice(0, OPEN_MOST);
    return found;
  };
  return {
    of,
    open(target) {
      const now = of(target);
      return configured.length > 0 ? now : [...given];
    },
  };
}

/** Two small files, in a turn that needs them now. */
function readServers(file: string): string[] {
  try {
    return nameServers(readFileSync(file, "utf8"));
  } catch {
    return [];
  }
}

/** A loopback server is the host's own and not reachable from a container. */
export function nameServers(resolvConf: string): string[] {
  return [...resolvConf.matchAll(/^\s*nameserver\s+(\S+)/gm)]
    .map(([, address]) => address!)
    .filter((address) => isIPv4(address) && !address.startsWith("127."))
    .slice(0, 3);
}
