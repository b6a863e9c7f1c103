// Who holds a port: the answer to "address already in use", read from /proc. Finding the process needs root.
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { Fault } from "#api/fault.ts";

export interface PortHolder {
  pid: number;
  command: string;
}

export function portHolder(protocol: "udp" | "tcp", port: number): PortHolder | undefined {
  const inodes = new Set([...inodesOf(protocol, port), ...inodesOf(`${protocol}6`, port)]);
  if (inodes.size === 0) return undefined;
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    for (const link of openFiles(pid)) {
      const inode = /^socket:\[(\d+)\]$/.exec(link)?.[1];
      if (inode && inodes.has(inode)) return { pid: Number(pid), command: commandOf(pid) };
    }
  }
  return undefined;
}

/** What to throw when listening failed: names the port, and who has it or why it cannot be had. */
export function listenFault(
  protocol: "udp" | "tcp",
  address: string,
  port: number,
  what: string,
  cause: unknown,
): Fault {
  const code = (cause as NodeJS.ErrnoException).code;
  const where = `${what} cannot listen on ${protocol} ${address}:${port}`;
  if (code === "EADDRINUSE") {
    const holder = portHolder(protocol, port);
    const who = holder ? `${holder.command} (pid ${holder.pid}) has the port; stop it` : "another process has the port";
    return new Fault("conflict", `${where}: ${who}`, { details: { port, ...holder } });
  }
  if (code === "EACCES") return new Fault("forbidden", `${where}: ports below 1024 need root or CAP_NET_BIND_SERVICE`);
  if (code === "EADDRNOTAVAIL")
    return new Fault("invalid", `${where}: this machine does not have the address ${address}`);
  return new Fault("unavailable", where, { cause });
}

function inodesOf(table: string, port: number): string[] {
  const hexPort = port.toString(16).toUpperCase().padStart(4, "0");
  const listening = table.startsWith("tcp") ? "0A" : "07";
  try {
    const rows = readFileSync(`/proc/net/${table}`, "latin1").split("\n").slice(1);
    return rows
      .map((row) => row.trim().split(/\s+/))
      .filter((cells) => cells[1]?.endsWith(`:${hexPort}`) && cells[3] === listening)
      .map((cells) => cells[9]!);
  } catch {
    return []; // no IPv6, or no /proc
  }
}

function openFiles(pid: string): string[] {
  try {
    return readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
      try {
        return [readlinkSync(`/proc/${pid}/fd/${fd}`)];
      } catch {
        return []; // closed meanwhile
      }
    });
  } catch {
    return []; // ended meanwhile, or not ours to look at
  }
}

function commandOf(pid: string): string {
  try {
    return (
      readFileSync(`/proc/${pid}/cmdline`, "latin1").split("\0").filter(Boolean).slice(0, 3).join(" ") ||
      `process ${pid}`
    );
  } catch {
    return `process ${pid}`;
  }
}
