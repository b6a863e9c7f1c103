// Processes that a command in a container has started, found by /proc on the host: Docker ends a container's processes with the
// container, but a command's (exec) only when they end themselves.
import { readdir, readFile } from "node:fs/promises";
import process from "node:process";

/** In the environment of everything that a command starts: who began it, so that it is found again after a restart too. */
export const MARK = "FLYNN_EXEC";

export interface ProcessView {
  pid: number;
  /** The session it belongs to: the pid of the command's first process, unless it made one of its own. */
  session: number;
  environ: string;
}

/** Pure: of these processes, those of the command. */
export function belonging(processes: readonly ProcessView[], { pid, mark }: { pid?: number; mark: string }): number[] {
  const assigned = `${MARK}=${mark}`;
  return processes
    .filter(
      ({ pid: own, session, environ }) =>
        own === pid ||
        (pid !== undefined && session === pid) ||
        environ.split("\0").some((each) => each.startsWith(assigned)),
    )
    .map(({ pid: own }) => own);
}

/** Sends the signal to all that the command started; returns to how many. */
export async function signalAll(of: { pid?: number; mark: string }, signal: NodeJS.Signals): Promise<number> {
  const pids = belonging(await containerProcesses(), of);
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
async function containerProcesses(): Promise<ProcessView[]> {
  const own = await readFile("/proc/self/cgroup", "utf8").catch(() => "");
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name)).map(Number);
  const seen = await Promise.all(pids.map((pid) => view(pid, own)));
  return seen.filter((found) => found !== undefined);
}

async function view(pid: number, ownCgroup: string): Promise<ProcessView | undefined> {
  try {
    const cgroup = await readFile(`/proc/${pid}/cgroup`, "utf8");
    if (cgroup === ownCgroup || !/[/-][0-9a-f]{64}/.test(cgroup)) return undefined;
    const stat = await readFile(`/proc/${pid}/stat`, "utf8");
    // After the name in parentheses, which may hold anything: state, ppid, pgrp, session.
    const session = Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[3]);
    return { pid, session, environ: await readFile(`/proc/${pid}/environ`, "utf8") };
  } catch {
    return undefined; // ended meanwhile
  }
}
