// What this machine is, as control is told it: size, addresses, boot id, SMBIOS names. Read from the kernel, never asked of a network.
import { createSocket } from "node:dgram";
import { readdir, readFile, statfs } from "node:fs/promises";
import { isIPv4 } from "node:net";
import { arch, availableParallelism, hostname, networkInterfaces, totalmem } from "node:os";
import type { HostFacts } from "#api/host-agents.ts";
import { exec } from "#lib/exec.ts";
import { deadline } from "#lib/time.ts";

export const AGENT_VERSION = "0.1.0";
/** Kept for the kernel, Docker and hostd itself. */
const RESERVED_MEMORY_BYTES = 256 << 20;

export interface FactsOptions {
  stateDir: string;
  controlUrls: readonly string[];
  address?: string;
  /** Of jobs and builds: their addresses are no way to this machine that others have. */
  bridges?: readonly string[];
  /** Finds the address from which control is reached; the routing table's word unless given. */
  wayTo?: (urls: readonly string[]) => Promise<string | undefined>;
  /** Roots of sysfs and procfs, for tests. */
  sys?: string;
  proc?: string;
}

export async function readFacts({
  stateDir,
  controlUrls,
  address,
  bridges = [],
  wayTo = localAddress,
  sys = "/sys",
  proc = "/proc",
}: FactsOptions): Promise<HostFacts> {
  const dmi = (name: string) => readLine(`${sys}/class/dmi/id/${name}`);
  const [bootId, cmdline = "", uuid, serial, macs, disk, found, addresses] = await Promise.all([
    readLine(`${proc}/sys/kernel/random/boot_id`),
    readLine(`${proc}/cmdline`),
    dmi("product_uuid"),
    dmi("product_serial"),
    readMacs(sys),
    statfs(stateDir),
    address ?? wayTo(controlUrls),
    readAddresses(bridges),
  ]);
  const memory = totalmem();
  return {
    hostname: hostname().slice(0, 63),
    ...(found === undefined ? {} : { address: found }),
    ...(addresses === undefined ? {} : { addresses }),
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
    ...slotOf(cmdline),
  };
}

/** What GRUB of an installed disk told the kernel (install/grub-config.ts). */
export function slotOf(cmdline: string): Pick<HostFacts, "slot"> {
  const words = cmdline.split(/\s+/);
  const word = (name: string) => words.find((one) => one.startsWith(`${name}=`))?.slice(name.length + 1);
  const [slot, imageId] = [word("flynn.slot"), word("flynn.image")];
  return (slot === "a" || slot === "b") && imageId ? { slot: { slot, imageId } } : {};
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
    // Without a route the kernel connects all the same, from nowhere.
    if (address !== undefined && address !== "0.0.0.0") return address;
  }
  return undefined;
}

/** What shows cheaply that this machine's addresses have changed, or the way to control: looked at every few seconds. */
export async function addressMark({
  controlUrls,
  address,
  wayTo = localAddress,
}: Pick<FactsOptions, "controlUrls" | "address" | "wayTo">): Promise<string> {
  const own = Object.values(networkInterfaces()).flatMap((links) => links ?? []);
  const addresses = own.filter(({ family, internal }) => family === "IPv4" && !internal).map(({ cidr }) => cidr);
  return JSON.stringify([address ?? (await wayTo(controlUrls)) ?? null, ...addresses.sort()]);
}

/** By `ip`: os.networkInterfaces() leaves out what has no carrier, whose addresses answer all the same. Undefined: not known now. */
async function readAddresses(bridges: readonly string[]): Promise<string[] | undefined> {
  return exec(["ip", "-j", "-4", "address", "show"], { timeoutMs: 5_000 }).then(
    ({ stdout }) => parseAddresses(stdout, bridges),
    () => undefined,
  );
}

/** Of `ip -j -4 address show`: sorted, without loopback, link-local and the bridges. The first 64: more is no machine of ours. */
export function parseAddresses(json: string, bridges: readonly string[]): string[] {
  const links = JSON.parse(json.trim() || "[]") as { ifname?: string; addr_info?: { local?: string }[] }[];
  const found = links
    .filter(({ ifname = "" }) => !bridges.includes(ifname))
    .flatMap(({ addr_info = [] }) => addr_info.flatMap(({ local }) => local ?? []))
    .filter((address) => isIPv4(address) && !/^(127|169\.254)\./.test(address));
  return [...new Set(found)].sort().slice(0, 64);
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
