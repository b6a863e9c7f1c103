// What this machine is, as control is told it: size, addresses, boot id, SMBIOS names. Read from the kernel, never asked of a network.
import { createSocket } from "node:dgram";
import { readdir, readFile, statfs } from "node:fs/promises";
import { arch, availableParallelism, hostname, totalmem } from "node:os";
import type { HostFacts } from "#api/hosts.ts";
import { deadline } from "#lib/time.ts";

export const AGENT_VERSION = "0.1.0";
/** Kept for the kernel, Docker and hostd itself. */
const RESERVED_MEMORY_BYTES = 256 << 20;

export interface FactsOptions {
  stateDir: string;
  controlUrls: readonly string[];
  address?: string;
  /** Roots of sysfs and procfs, for tests. */
  sys?: string;
  proc?: string;
}

export async function readFacts({
  stateDir,
  controlUrls,
  address,
  sys = "/sys",
  proc = "/proc",
}: FactsOptions): Promise<HostFacts> {
  const dmi = (name: string) => readLine(`${sys}/class/dmi/id/${name}`);
  const [bootId, uuid, serial, macs, disk, found] = await Promise.all([
    readLine(`${proc}/sys/kernel/random/boot_id`),
    dmi("product_uuid"),
    dmi("product_serial"),
    readMacs(sys),
    statfs(stateDir),
    address ?? localAddress(controlUrls),
  ]);
  const memory = totalmem();
  return {
    hostname: hostname().slice(0, 63),
    ...(found === undefined ? {} : { address: found }),
    capacity: {
      cpuMillis: availableParallelism() * 1000,
      memoryBytes: Math.max(0, memory - Math.max(RESERVED_MEMORY_BYTES, Math.round(memory / 20))),
      diskBytes: disk.bsize * disk.blocks,
    },
    architecture: arch() === "x64" ? "amd64" : arch(),
    bootId: bootId ?? "",
    macs,
    ...(uuid ? { uuid: uuid.toLowerCase().slice(0, 64) } : {}),
    ...(serial ? { serial: serial.slice(0, 64) } : {}),
    agentVersion: AGENT_VERSION,
  };
}

/** The address from which control is reached. Connecting a datagram socket only asks the routing table; nothing is sent. */
export async function localAddress(urls: readonly string[]): Promise<string | undefined> {
  for (const url of urls) {
    const { hostname: host, port } = new URL(url);
    const socket = createSocket("udp4");
    const found = new Promise<string>((resolve, reject) => {
      socket.on("error", reject);
      socket.connect(Number(port || 443), host, () => resolve(socket.address().address));
    });
    const address = await deadline(found, 2_000, "find the way to control").catch(() => undefined);
    socket.close();
    if (address !== undefined) return address;
  }
  return undefined;
}

/** Addresses of real network cards: those that have a device behind them. */
async function readMacs(sys: string): Promise<string[]> {
  const names = await readdir(`${sys}/class/net`).catch(() => []);
  const macs = await Promise.all(
    names.map(async (name) => {
      const real = await readdir(`${sys}/class/net/${name}/device`).then(
        () => true,
        () => false,
      );
      return real ? await readLine(`${sys}/class/net/${name}/address`) : undefined;
    }),
  );
  return macs.filter((mac) => mac !== undefined && /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/.test(mac)) as string[];
}

async function readLine(path: string): Promise<string | undefined> {
  const text = await readFile(path, "utf8").catch(() => undefined);
  return text?.trim() || undefined;
}
