// What this machine has left of disk and memory, and whether it is under pressure: then control places nothing new here. It begins
// when the reserve is touched and ends when half as much again is free, so that it does not come and go.
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import type { HostReport } from "#api/host-agents.ts";
import type { Log } from "#lib/log.ts";
import { every } from "#lib/time.ts";
import { shortOfInodes } from "./rules.ts";
import { type DiskSpace, diskSpace } from "./use.ts";

export type Space = NonNullable<HostReport["space"]>;
export type Pressure = Space["pressure"][number];

const GIB = 1024 ** 3;
const ENDS_AT = 1.5;

/** Kept for hostd, Docker and logs: a twentieth, 1 GiB at most. */
export const reserveOf = (sizeBytes: number): number => Math.min(GIB, Math.round(sizeBytes / 20));

/** Pure: what is short now, given what was before. */
export function pressureAfter(
  before: readonly Pressure[],
  { disk, memory }: Pick<Space, "disk" | "memory">,
): Pressure[] {
  const isShort = (kind: Pressure, room: Space["disk"]): boolean => {
    const share = before.includes(kind) ? ENDS_AT : 1;
    return room.freeBytes < room.reserveBytes * share || shortOfInodes(room, share);
  };
  return [
    ...(isShort("disk", disk) ? ["disk" as const] : []),
    ...(isShort("memory", memory) ? ["memory" as const] : []),
  ];
}

/** From /proc/meminfo: all of it, and what can be had without swapping (proc(5), MemAvailable). */
export function readMemory(meminfo: string): DiskSpace {
  const kib = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(meminfo)?.[1] ?? 0);
  return { sizeBytes: kib("MemTotal") * 1024, freeBytes: kib("MemAvailable") * 1024 };
}

/** Of the memory that the engine keeps containers' own directories in (secrets-in-ram.ts); undefined where they lie on its disk. */
export async function ownSpace(dockerDir: string): Promise<DiskSpace | undefined> {
  const containers = join(dockerDir, "containers");
  const [all, own] = await Promise.all([stat(dockerDir), stat(containers)]).catch(() => []);
  return all === undefined || own === undefined || all.dev === own.dev ? undefined : diskSpace(containers);
}

export interface SpaceOptions {
  /** Where the engine keeps its files; where hostd keeps its own when that is not there. */
  places: readonly string[];
  diskReserveBytes?: number;
  meminfo?: () => Promise<string>;
}

export interface SpaceWatch {
  disk(): Promise<DiskSpace>;
  reserveBytes(sizeBytes: number): number;
  /** As it is now; what cannot be read is left out of the report. */
  look(): Promise<Space | undefined>;
  last(): Space | undefined;
}

const readMeminfo = (): Promise<string> => readFile("/proc/meminfo", "utf8");

export function watchSpace({ places, diskReserveBytes, meminfo = readMeminfo }: SpaceOptions): SpaceWatch {
  const reserveBytes = (sizeBytes: number): number => diskReserveBytes ?? reserveOf(sizeBytes);
  let found: Space | undefined;
  const disk = async (): Promise<DiskSpace> => {
    for (const place of places.slice(0, -1)) {
      const space = await diskSpace(place).catch(() => undefined);
      if (space !== undefined) return space;
    }
    return diskSpace(places.at(-1)!);
  };
  return {
    disk,
    reserveBytes,
    last: () => found,
    async look() {
      const [onDisk, inMemory] = await Promise.all([disk(), meminfo().then(readMemory)]);
      const sizes = {
        disk: { ...onDisk, reserveBytes: reserveBytes(onDisk.sizeBytes) },
        memory: { ...inMemory, reserveBytes: Math.min(GIB / 4, Math.round(inMemory.sizeBytes / 20)) },
      };
      found = { ...sizes, pressure: pressureAfter(found?.pressure ?? [], sizes) };
      return found;
    },
  };
}

const EVERY_MS = 2_000;

/** Looks again and again; a change of what is short is told. */
export async function watchPressure(
  space: Pick<SpaceWatch, "look" | "last">,
  { onChange, log, signal }: { onChange: () => void; log: Log; signal: AbortSignal },
): Promise<void> {
  for await (const _ of every(EVERY_MS, signal)) {
    const before = space.last()?.pressure.join() ?? "";
    const found = await space.look().catch((error: unknown) => void log.warn({ err: error }, "space is not known"));
    if (found === undefined || found.pressure.join() === before) continue;
    log.warn({ ...found }, found.pressure.length > 0 ? "host is under pressure" : "pressure has ended");
    onChange();
  }
}
