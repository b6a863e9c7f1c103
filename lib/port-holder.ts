// Who holds a port of this machine: the kernel's socket tables joined with the open files of each process (proc(5)).
// Answers undefined when nobody does, or when the holder belongs to another user and may not be looked at.
import { readdir, readFile, readlink } from "node:fs/promises";
import { basename } from "node:path";

export interface PortHolder {
  pid: number;
  command: string;
}

const TCP_LISTEN = "0A";
const UDP_UNCONNECTED = "07";

export async function portHolder(protocol: "tcp" | "udp", port: number): Promise<PortHolder | undefined> {
  const tables = await Promise.all(
    [protocol, `${protocol}6`].map((name) => readFile(`/proc/net/${name}`, "utf8").catch(() => "")),
  );
  const inodes = new Set(tables.flatMap((table) => socketInodes(table, protocol, port)));
  if (inodes.size === 0) return undefined;
  for (const pid of (await readdir("/proc")).filter((name) => /^\d+$/.test(name))) {
    if (await holdsSocket(pid, inodes)) return { pid: Number(pid), command: await commandOf(pid) };
  }
  return undefined;
}

/** `tcp port 80 is taken by nginx (pid 12)`, for the error of a server that could not bind. */
export async function portTaken(protocol: "tcp" | "udp", port: number): Promise<string> {
  const holder = await portHolder(protocol, port);
  return `${protocol} port ${port} is taken by ${holder ? `${holder.command} (pid ${holder.pid})` : "another program"}`;
}

/** Inodes of the sockets that wait on `port`, from the text of /proc/net/{tcp,udp}[6]. */
export function socketInodes(table: string, protocol: "tcp" | "udp", port: number): string[] {
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  const state = protocol === "tcp" ? TCP_LISTEN : UDP_UNCONNECTED;
  return table
    .split("\n")
    .slice(1)
    .map((line) => line.trim().split(/\s+/))
    .filter((fields) => fields[1]?.endsWith(suffix) && fields[3] === state && fields[9] !== undefined)
    .map((fields) => fields[9]!);
}

async function holdsSocket(pid: string, inodes: ReadonlySet<string>): Promise<boolean> {
  const files = await readdir(`/proc/${pid}/fd`).catch(() => []);
  for (const file of files) {
    const target = await readlink(`/proc/${pid}/fd/${file}`).catch(() => "");
    const inode = /^socket:\[(\d+)\]$/.exec(target)?.[1];
    if (inode !== undefined && inodes.has(inode)) return true;
  }
  return false;
}

/** Node names its processes after a thread: of those it is the program's name. */
async function commandOf(pid: string): Promise<string> {
  const name = (await readFile(`/proc/${pid}/comm`, "utf8").catch(() => "?")).trim();
  if (name !== "MainThread") return name;
  const [program = ""] = (await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "")).split("\0");
  return basename(program) || name;
}
