// The lab's LAN: a network namespace holding a bridge, which is also where the appliance lives, and namespaces hung on it
// by veth pairs as hosts, or taps for virtual machines. There is no way out of it: no uplink, no route, no NAT.
import { type ExecOptions, type ExecResult, exec } from "#lib/exec.ts";
import { type Running, type SpawnOptions, start } from "./process.ts";
import { advertiseIpv6 } from "./router-advertisement.ts";
import type { Scope } from "./scope.ts";

export interface Namespace {
  /** As `ip netns` knows it. */
  readonly namespace: string;
  readonly ip: string;
  /** argv that runs the given one inside; mounts, cgroups and pids are the machine's own. */
  argv(argv: readonly string[]): string[];
  exec(argv: readonly string[], options?: ExecOptions): Promise<ExecResult>;
  spawn(argv: readonly string[], options?: SpawnOptions): Promise<Running>;
}

export interface Port {
  /** Bridge port of this machine; down = cable pulled, addresses and routes behind it stay. */
  cut(): Promise<void>;
  heal(): Promise<void>;
}

export interface LanHost extends Namespace, Port {
  readonly name: string;
  readonly mac: string;
  /** Power gone: the namespace with every address, route and rule in it disappears. */
  remove(): Promise<void>;
  /** The namespace again, with address and default route and nothing else. */
  restore(): Promise<void>;
  /** Another address from now on, or from the next start on when it is off; its card stays. */
  readdress(ip: string): Promise<void>;
}

export interface Lan extends Namespace {
  readonly prefix: number;
  readonly bridge: string;
  host(name: string, ip: string): Promise<LanHost>;
  /** A tap on the bridge for a virtual machine; its device name is `tap.device`. The first one makes the LAN advertise IPv6, unless it is not to. */
  tap(name: string): Promise<Port & { device: string }>;
}

export interface LanOptions {
  ip?: string;
  prefix?: number;
  /** False: no IPv6 router answers here, as on most networks where machines boot. */
  ipv6?: boolean;
}

const BRIDGE = "br0";

export async function openLan(scope: Scope, options: LanOptions = {}): Promise<Lan> {
  const { ip = "10.77.0.1", prefix = 24, ipv6 = true } = options;
  const inside = await addNamespace(scope, `${scope.id}-lan`, ip);
  const ipIn = (...args: string[]) => exec(["ip", "-n", inside.namespace, ...args]);
  // With an address of its own: else the bridge takes the lowest of its ports', another one when a port comes or goes, and for
  // some ten seconds nobody who knew the old one gets through.
  await ipIn("link", "add", BRIDGE, "address", macOf(ip), "type", "bridge", "mcast_snooping", "0");
  await ipIn("addr", "add", `${ip}/${prefix}`, "dev", BRIDGE);
  await ipIn("link", "set", BRIDGE, "up");
  await setSysctl(inside, "net/ipv4/ip_forward", "1");
  // Where br_netfilter is loaded, bridged frames would pass the appliance's iptables: a switch has none.
  await setSysctl(inside, "net/bridge/bridge-nf-call-iptables", "0", { optional: true });
  const port = (device: string): Port => ({
    cut: async () => void (await ipIn("link", "set", device, "down")),
    heal: async () => void (await ipIn("link", "set", device, "up")),
  });
  let advertised: Promise<unknown> | undefined;
  const devices = new Set<string>();
  const device = (name: string) => {
    const short = `p-${name}`.slice(0, 15);
    if (!/^[a-z0-9-]+$/.test(name) || devices.has(short)) throw new Error(`"${name}" is taken or no name for a port`);
    devices.add(short);
    return short;
  };
  const lan: Lan = {
    ...inside,
    prefix,
    bridge: BRIDGE,
    async host(name, hostIp) {
      const veth = device(name);
      const namespace = `${scope.id}-${name}`;
      const mac = macOf(hostIp);
      const n = ["-n", namespace];
      let address = hostIp;
      let isOn = true;
      const number = async () => {
        await exec(["ip", ...n, "addr", "add", `${address}/${prefix}`, "dev", "eth0"]);
        await exec(["ip", ...n, "link", "set", "eth0", "up"]);
        await exec(["ip", ...n, "route", "add", "default", "via", ip]);
      };
      const plug = async () => {
        await ipIn("link", "add", veth, "type", "veth", "peer", "name", "eth0", "address", mac, "netns", namespace);
        await ipIn("link", "set", veth, "master", BRIDGE, "up");
        await number();
      };
      const host = await addNamespace(scope, namespace, hostIp);
      await plug();
      return {
        ...host,
        ...port(veth),
        name,
        mac,
        async remove() {
          isOn = false;
          await ipIn("link", "delete", veth);
          await exec(["ip", "netns", "delete", namespace]);
        },
        async restore() {
          await createNamespace(namespace);
          await plug();
          isOn = true;
        },
        async readdress(next) {
          if (isOn) await exec(["ip", ...n, "addr", "del", `${address}/${prefix}`, "dev", "eth0"]);
          address = next;
          if (isOn) await number();
        },
      };
    },
    async tap(name) {
      const tap = device(name);
      await ipIn("tuntap", "add", "dev", tap, "mode", "tap");
      await ipIn("link", "set", tap, "master", BRIDGE, "up");
      if (ipv6) advertised ??= advertiseIpv6(lan, scope.folder);
      await advertised;
      return { ...port(tap), device: tap };
    },
  };
  return lan;
}

/** A locally administered address that follows from the IP: the same host keeps it over a power cut. */
export function macOf(ip: string): string {
  return ["02", "fc", ...ip.split(".").map((part) => Number(part).toString(16).padStart(2, "0"))].join(":");
}

async function addNamespace(scope: Scope, namespace: string, ip: string): Promise<Namespace> {
  scope.keep({ kind: "netns", name: namespace });
  await createNamespace(namespace);
  // Not `ip netns exec`: it mounts /sys anew and hides the cgroups from Docker.
  const wrapper = ["nsenter", `--net=/run/netns/${namespace}`, "--"];
  return {
    namespace,
    ip,
    argv: (argv) => [...wrapper, ...argv],
    exec: (argv, options) => exec([...wrapper, ...argv], { signal: scope.signal, ...options }),
    spawn: (argv, options) => start(scope, argv, options, { argv: wrapper, forks: false }),
  };
}

async function createNamespace(namespace: string): Promise<void> {
  await exec(["ip", "netns", "add", namespace]);
  await exec(["ip", "-n", namespace, "link", "set", "lo", "up"]);
}

async function setSysctl(
  where: Namespace,
  name: string,
  value: string,
  options: { optional?: boolean } = {},
): Promise<void> {
  const write = where.exec(["tee", `/proc/sys/${name}`], { input: value });
  await (options.optional ? write.catch(() => undefined) : write);
}
