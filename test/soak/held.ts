// All that is held on the machines of a lab's cluster, as lists of names: of each program its open files and threads, of each host its
// containers, networks, links, rules, routes, mounts and files. What stands in one list and not in the other is what leaked.
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { ClusterHost } from "../lab/appliance.ts";
import { openFiles, steady } from "../lab/failure/open-files.ts";
import { type Cluster, haproxy } from "../lab/survival/cluster.ts";

/** Names of things by what they are of; only how many there are counts where names are new each time. */
export type Held = Record<string, readonly string[]>;

/** Connections come and go by as many: pools of clients, followers that connect again. */
const SLACK: Readonly<Record<string, number>> = { "open files": 12, threads: 4 };

/** One line for each that there is more of. */
export function differences(before: Held, after: Held): string[] {
  return Object.entries(after).flatMap(([what, names]) => {
    const were = before[what] ?? [];
    const slack = Object.entries(SLACK).find(([kind]) => what.endsWith(kind))?.[1] ?? 0;
    if (names.length <= were.length + slack) return [];
    return [`${what}: ${were.length}, then ${names.length}; new: ${less(names, were).slice(0, 20).join(", ")}`];
  });
}

/** What is left of the first list when each of the second is taken off once. */
function less(names: readonly string[], others: readonly string[]): string[] {
  const left = Map.groupBy(others, (name) => name);
  return names.filter((name) => left.get(name)?.pop() === undefined);
}

async function programs(cluster: Cluster): Promise<Record<string, number>> {
  const { appliance, hosts } = cluster;
  const found: Record<string, number> = {};
  for (const part of ["control", "router"]) found[part] = await appliance.pidOf(part);
  const { master, workers } = await haproxy(appliance);
  found["haproxy master"] = master;
  // Workers before a reload stay as long as they have connections: the newest is the one that goes on.
  found["haproxy worker"] = workers.at(-1)!;
  for (const host of hosts) {
    found[`${host.name} hostd`] = host.hostd.pid;
    for (const name of ["dockerd", "containerd"]) found[`${host.name} ${name}`] = await pidOn(host, name);
  }
  return found;
}

/** As seen from outside the host. */
async function pidOn({ folder }: ClusterHost, name: string): Promise<number> {
  for (const pid of await readdir("/proc")) {
    if (!/^\d+$/.test(pid)) continue;
    const command = await readFile(`/proc/${pid}/cmdline`, "latin1").catch(() => "");
    const [program = "", ...rest] = command.split("\0");
    if (program.split("/").at(-1) === name && (await isOf(pid, folder, rest.join(" ")))) return Number(pid);
  }
  throw new Error(`no ${name} of ${folder}`);
}

/** By its own arguments, or those of what started it: containerd is given a file under the host's /run. */
async function isOf(pid: string, folder: string, args: string): Promise<boolean> {
  if (args.includes(`${folder}/`)) return true;
  const parent = /^PPid:\s+(\d+)/m.exec(await readFile(`/proc/${pid}/status`, "utf8").catch(() => ""))?.[1];
  const command = await readFile(`/proc/${parent}/cmdline`, "latin1").catch(() => "");
  return /(^|\/)dockerd\0/.test(command) && command.includes(`${folder}/`);
}

/** Resident bytes of each program. */
export async function memoryNow(cluster: Cluster): Promise<Record<string, number>> {
  const found = Object.entries(await programs(cluster)).map(async ([name, pid]) => {
    const status = await readFile(`/proc/${pid}/status`, "utf8").catch(() => "");
    return [name, Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1] ?? 0) * 1_024] as const;
  });
  return Object.fromEntries((await Promise.all(found)).filter(([, bytes]) => bytes > 0));
}

const rows = (text: string): string[] => text.split("\n").filter((line) => line.trim() !== "");

export async function heldNow(cluster: Cluster): Promise<Held> {
  const held: Record<string, readonly string[]> = {};
  for (const [name, pid] of Object.entries(await programs(cluster))) {
    held[`${name}: open files`] = await steady(() => openFiles(pid), { what: `open files of ${name}`, everyMs: 300 });
    held[`${name}: threads`] = await readdir(`/proc/${pid}/task`);
  }
  for (const host of cluster.hosts)
    for (const [what, look] of Object.entries(looks(host)))
      held[`${host.name}: ${what}`] = await steady(look, { what, everyMs: 300 });
  const { stateDir } = cluster.appliance;
  held["appliance: files of the router"] = await filesIn(join(stateDir, "router"), /log/);
  // Databases and blobs are kept by their own rules; here is what lies beside them.
  held["appliance: files of control"] = await filesIn(
    join(stateDir, "control"),
    /(^|\/)(store|log|logs|own-log|git)\//,
  );
  return held;
}

/** Containers, and what each has one of, are compared together: which host has how many is the scheduler's. */
function looks(host: ClusterHost): Record<string, () => Promise<string[]>> {
  const api = async (path: string) => JSON.parse((await host.docker("GET", path)).body) as Record<string, unknown>[];
  const lines = async (...argv: string[]) => rows((await host.exec(argv)).stdout);
  const containers = () => api("/containers/json?all=1");
  /** Beyond one of each container. */
  const beyond = async (names: string[]) => names.slice((await containers()).length);
  return {
    networks: async () => (await api("/networks")).map(({ Name }) => String(Name)),
    volumes: async () => {
      const { Volumes } = JSON.parse((await host.docker("GET", "/volumes")).body) as {
        Volumes: { Name: string }[] | null;
      };
      return (Volumes ?? []).map(({ Name }) => Name);
    },
    images: async () => (await api("/images/json")).map(({ Id }) => String(Id)),
    "links beyond one of each container": async () => beyond(await lines("ip", "-o", "link")),
    routes: () => lines("ip", "route"),
    "rules of iptables": async () => (await lines("iptables-save")).filter((line) => line.startsWith("-A")),
    "chains and sets of nftables": async () =>
      (await lines("nft", "list", "table", "inet", "flynn")).filter((line) => /^\s*(chain|set) /.test(line)),
    "shims beyond one of each container": async () =>
      beyond((await lines("ps", "-eo", "comm=")).filter((name) => name.startsWith("containerd-sh"))),
    "mounts beyond two of each container": async () =>
      beyond(await beyond((await lines("cat", "/proc/self/mounts")).filter((line) => line.includes(host.folder)))),
    "files of hostd": () => filesIn(join(host.folder, "hostd"), /logs\//),
    "folders of Docker's containers beyond one of each": async () =>
      beyond(await readdir(join(host.folder, "docker/containers"))),
  };
}

async function filesIn(directory: string, leaveOut: RegExp): Promise<string[]> {
  const found = await readdir(directory, { recursive: true, withFileTypes: true });
  return found
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(directory.length + 1))
    .filter((name) => !leaveOut.test(name))
    .sort();
}
