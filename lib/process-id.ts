// A process told apart from a later one with the same pid by its start time (proc(5), stat field 22).
import { readFile } from "node:fs/promises";
import { readStart } from "./read-start.ts";

const COMMAND_LINE_MOST_BYTES = 128 << 10;

export interface ProcessId {
  pid: number;
  startTicks: number;
}

/** The process with that pid now, or undefined when there is none or it is only a zombie. */
export async function processId(pid: number): Promise<ProcessId | undefined> {
  if (!Number.isSafeInteger(pid) || pid <= 0) return undefined;
  const stat = await readFile(`/proc/${pid}/stat`, "latin1").catch(gone);
  // The name in parentheses may hold anything; the fields after the last one are plain.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const startTicks = Number(fields[19]);
  return stat === "" || fields[0] === "Z" || fields[0] === "X" || !Number.isInteger(startTicks)
    ? undefined
    : { pid, startTicks };
}

/** `""` when the process has ended, before its file was opened (ENOENT) or while it was read (ESRCH). */
function gone(error: NodeJS.ErrnoException): string {
  if (error.code === "ENOENT" || error.code === "ESRCH") return "";
  throw error;
}

/** Its command line, words joined by blanks, or the beginning of a very long one; "" when it has ended. */
export async function commandLine(pid: number): Promise<string> {
  return (await readStart(`/proc/${pid}/cmdline`, COMMAND_LINE_MOST_BYTES).catch(gone)).replaceAll("\0", " ").trim();
}

export async function isAlive(process: ProcessId): Promise<boolean> {
  return (await processId(process.pid))?.startTicks === process.startTicks;
}

/** Signals exactly that process, never a later one with its pid. */
export async function signalProcess(target: ProcessId, signalName: NodeJS.Signals): Promise<void> {
  if (!(await isAlive(target))) return;
  try {
    process.kill(target.pid, signalName);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}
