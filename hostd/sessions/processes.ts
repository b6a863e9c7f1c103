// Processes that a command in a container has started, found by /proc on the host: Docker ends a container's processes with the
// container, but a command's (exec) only when they end themselves. What a process says of itself (its environment) may be of any
// size, so one file is read at a time and never more of it than a mark can be in.
import { open, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";

/** In the environment of everything that a command starts: who began it, so that it is found again after a restart too. */
export const MARK = "FLYNN_EXEC";

/** A release's whole environment is 12 KiB; what an image adds beyond this hides the mark, and the session is left to go by. */
export const ENVIRON_MOST_BYTES = 128 << 10;
const CHUNK_BYTES = 16 << 10;
const MARK_MOST_BYTES = 256;

export interface ProcessView {
  pid: number;
  /** The session it belongs to: the pid of the command's first process, unless it made one of its own. */
  session: number;
  /** Value of the mark in its environment. */
  mark?: string;
}

export interface Started {
  /** The command's first process, while it runs. */
  pid?: number;
  mark: string;
  /** Only processes of this container; every container's when undefined. */
  containerId?: string;
}

/** Pure: of these processes, those of the command. */
export function belonging(processes: readonly ProcessView[], { pid, mark }: Started): number[] {
  return processes
    .filter(
      ({ pid: own, session, mark: found }) =>
        own === pid || (pid !== undefined && session === pid) || found?.startsWith(mark),
    )
    .map(({ pid: own }) => own);
}

/** Sends the signal to all that the command started; returns to how many. */
export async function signalAll(of: Started, signal: NodeJS.Signals): Promise<number> {
  const pids = belonging(await containerProcesses(of), of);
  for (const pid of pids) {
    try {
      process.kill(pid, signal);
    } catch {
      // ended meanwhile
    }
  }
  return pids.length;
}

/** Every process that is in a container: nothing of the host itself is ever looked at further, or signalled. */
export async function containerProcesses(
  of: Pick<Started, "pid" | "containerId">,
  proc = "/proc",
): Promise<ProcessView[]> {
  const own = await readFile(join(proc, "self/cgroup"), "utf8").catch(() => "");
  const found: ProcessView[] = [];
  for (const name of await readdir(proc)) {
    if (!/^\d+$/.test(name)) continue;
    const seen = await view(join(proc, name), Number(name), { ...of, own });
    if (seen !== undefined) found.push(seen);
  }
  return found;
}

async function view(
  directory: string,
  pid: number,
  { own, pid: first, containerId }: Pick<Started, "pid" | "containerId"> & { own: string },
): Promise<ProcessView | undefined> {
  try {
    const cgroup = await readFile(join(directory, "cgroup"), "utf8");
    if (cgroup === own || !/[/-][0-9a-f]{64}/.test(cgroup)) return undefined;
    if (containerId !== undefined && !cgroup.includes(containerId)) return undefined;
    const stat = await readFile(join(directory, "stat"), "utf8");
    // After the name in parentheses, which may hold anything: state, ppid, pgrp, session.
    const session = Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[3]);
    if (first !== undefined && (pid === first || session === first)) return { pid, session };
    return { pid, session, mark: await markIn(join(directory, "environ")) };
  } catch {
    return undefined; // ended meanwhile
  }
}

/** The mark in a file like /proc/PID/environ, of which no more than a bounded part is read, in bounded pieces. */
export async function markIn(path: string, mostBytes = ENVIRON_MOST_BYTES): Promise<string | undefined> {
  const assigned = `\0${MARK}=`;
  const file = await open(path, "r");
  try {
    const chunk = Buffer.alloc(CHUNK_BYTES);
    // What may be the beginning of the mark stays for the next piece; the file begins as if after an end.
    let rest = "\0";
    for (let at = 0; at < mostBytes; ) {
      const { bytesRead } = await file.read(chunk, 0, Math.min(CHUNK_BYTES, mostBytes - at), at);
      at += bytesRead;
      const text = rest + chunk.toString("latin1", 0, bytesRead);
      const begin = text.indexOf(assigned);
      const end = begin < 0 ? -1 : text.indexOf("\0", begin + assigned.length);
      if (begin >= 0 && (end >= 0 || bytesRead === 0))
        return text.slice(begin + assigned.length, end < 0 ? undefined : end).slice(0, MARK_MOST_BYTES);
      if (bytesRead === 0) return undefined;
      rest = begin >= 0 ? text.slice(begin, begin + assigned.length + MARK_MOST_BYTES) : text.slice(-assigned.length);
    }
    return undefined;
  } finally {
    await file.close();
  }
}
