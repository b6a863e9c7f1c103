// Memory in use of running containers, as their cgroups count it (v1 or v2), without asking the engine: two small files each.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Container } from "./engine/engine.ts";

export interface MemoryPlaces {
  proc: string;
  cgroups: string;
}

const PLACES: MemoryPlaces = { proc: "/proc", cgroups: "/sys/fs/cgroup" };

/** Undefined for one that has just ended, or is not a process of this machine. */
export async function memoryInUse(
  { id, pid }: Pick<Container, "id" | "pid">,
  { proc, cgroups }: MemoryPlaces = PLACES,
): Promise<number | undefined> {
  if (pid === undefined) return undefined;
  try {
    const place = memoryPlace(await readFile(join(proc, String(pid), "cgroup"), "utf8"));
    // The number may be another process's by now.
    if (!place?.path.includes(id)) return undefined;
    const directory = join(cgroups, place.v1 ? "memory" : "", place.path);
    const [usage, stat] = await Promise.all([
      readFile(join(directory, place.v1 ? "memory.usage_in_bytes" : "memory.current"), "utf8"),
      readFile(join(directory, "memory.stat"), "utf8"),
    ]);
    return inUse(Number(usage), stat);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ESRCH" || code === "ENODEV") return undefined;
    throw error;
  }
}

/** The line of /proc/PID/cgroup that says where its memory is counted. */
export function memoryPlace(text: string): { v1: boolean; path: string } | undefined {
  const lines = text.split("\n").map((line) => /^\d+:([^:]*):(\/.*)$/.exec(line) ?? []);
  const v1 = lines.find(([, controllers]) => controllers?.split(",").includes("memory"));
  const [, , path] = v1 ?? lines.find(([, controllers]) => controllers === "") ?? [];
  return path === undefined ? undefined : { v1: v1 !== undefined, path };
}

/** Without file pages that nobody has touched for a while: the kernel takes them back before anything is out of memory. */
export function inUse(usageBytes: number, stat: string): number | undefined {
  const inactive = /^total_inactive_file (\d+)$/m.exec(stat) ?? /^inactive_file (\d+)$/m.exec(stat);
  return Number.isFinite(usageBytes) ? Math.max(0, usageBytes - Number(inactive?.[1] ?? 0)) : undefined;
}
