// The processes of one container as the kernel has them, without the engine, which may not answer: its cgroup lists them (v1 or v2), /proc
// says the rest. A process says of itself what it likes (name, arguments): that decides about itself alone.
import { readFileSync } from "node:fs";
import { readdir, readFile, readlink } from "node:fs/promises";
import { join } from "node:path";
import { readStart } from "#lib/read-start.ts";
import type { Container } from "../engine/engine.ts";
import { type MemoryPlaces, memoryPlace } from "../memory.ts";
import type { JobProcess } from "./rule.ts";

export const PLACES: MemoryPlaces = { proc: "/proc", cgroups: "/sys/fs/cgroup" };
const SIGTERM_BIT = 1n << 14n;
/** A process may set as many as it likes. */
const ARGV_MOST_BYTES = 4_096;

/** Undefined: they cannot be known here, as of a container that has ended, or of an engine whose processes are not this machine's. */
export async function pidsOf(
  { id, pid }: Pick<Container, "id" | "pid">,
  { proc, cgroups } = PLACES,
): Promise<number[] | undefined> {
  if (pid === undefined) return isEngineId(id) ? foundBy(id, proc) : undefined;
  const found = await readFile(join(proc, String(pid), "cgroup"), "utf8").catch(() => "");
  const place = memoryPlace(found);
  // The number may be another process's by now.
  if (!place?.path.includes(id)) return undefined;
  const list = join(cgroups, place.v1 ? "memory" : "", place.path, "cgroup.procs");
  const text = await readFile(list, "utf8").catch(() => undefined);
  return text
    ?.split("\n")
    .map(Number)
    .filter((one) => one > 0);
}

const isEngineId = (id: string): boolean => /^[0-9a-f]{64}$/.test(id);

/** All that run in a cgroup of the container's name: of one that its engine does not answer for, so that no pid of it is known. */
async function foundBy(id: string, proc: string): Promise<number[]> {
  const pids = (await readdir(proc)).filter((name) => /^\d+$/.test(name));
  const found = await Promise.all(
    pids.map(async (pid) => {
      const cgroup = await readFile(join(proc, pid, "cgroup"), "utf8").catch(() => "");
      if (!cgroup.includes(id)) return [];
      // What has ended stands there until its supervisor asks for it, and one that hangs does not.
      const status = await readFile(join(proc, pid, "status"), "utf8").catch(() => "");
      return /^State:\s+Z/m.test(status) ? [] : [Number(pid)];
    }),
  );
  return found.flat();
}

/** Whether the process is one of the container now: asked right before it is signalled, for its number may be another's by then. */
export function isProcessOf({ id }: Pick<Container, "id">, pid: number, { proc } = PLACES): boolean {
  try {
    return readFileSync(join(proc, String(pid), "cgroup"), "utf8").includes(id);
  } catch {
    return false;
  }
}

const AT_ONCE = 16;

/** What is known of each that still runs. Of one that could not be read within the time only that it is there. */
export async function readProcesses(pids: readonly number[], mostMs: number, { proc } = PLACES): Promise<JobProcess[]> {
  const over = new AbortController();
  const timer = setTimeout(() => over.abort(), mostMs);
  const late = new Promise<"late">((resolve) => over.signal.addEventListener("abort", () => resolve("late")));
  const found: JobProcess[] = [];
  try {
    for (let at = 0; at < pids.length; at += AT_ONCE) {
      const batch = pids.slice(at, at + AT_ONCE);
      if (over.signal.aborted) {
        found.push(...batch.map(unread));
        continue;
      }
      const read = batch.map(async (pid) => {
        const one = readProcess(join(proc, String(pid)), pid).catch(() => undefined); // ended meanwhile
        const said = await Promise.race([one, late]);
        return said === "late" ? unread(pid) : said;
      });
      found.push(...(await Promise.all(read)).filter((one) => one !== undefined));
    }
    return found;
  } finally {
    clearTimeout(timer);
  }
}

/** A process of which nothing is known. */
export const unread = (pid: number): JobProcess => ({
  pid,
  parent: 0,
  name: "",
  argv: [],
  takesTime: true,
  outputs: [],
});

async function readProcess(directory: string, pid: number): Promise<JobProcess | undefined> {
  const status = new Map(
    (await readFile(join(directory, "status"), "utf8"))
      .split("\n")
      .map((line) => line.split(":\t") as [string, string]),
  );
  if (status.get("State")?.startsWith("Z")) return undefined;
  const takesTime = ["SigCgt", "SigIgn"].some(
    (set) => (BigInt(`0x${status.get(set)?.trim() || "0"}`) & SIGTERM_BIT) !== 0n,
  );
  const argv = (await readStart(join(directory, "cmdline"), ARGV_MOST_BYTES).catch(() => "")).split("\0");
  const pipe = (fd: number) =>
    readlink(join(directory, "fd", String(fd))).then(
      (to) => (to.startsWith("pipe:") ? to : undefined),
      () => undefined,
    );
  const [input, output, errors] = await Promise.all([0, 1, 2].map(pipe));
  return {
    pid,
    parent: Number(status.get("PPid")),
    name: status.get("Name") ?? "",
    argv,
    takesTime,
    ...(input === undefined ? {} : { input }),
    outputs: [output, errors].filter((one) => one !== undefined),
  };
}
