// How many client connections this machine can have at once: by its memory, and by the files that HAProxy may open.
import { readFile } from "node:fs/promises";
import { totalmem } from "node:os";

/** What HAProxy holds for a connection whose both ends stand still in the middle of something (measured: 145 KB). */
const CONNECTION_BYTES = 150_000;

export interface Possible {
  count: number;
  bound: "this machine's memory" | "the limit of open files";
}

/** Half of the memory; two files per request, with a fifth left for checks, pipes and sockets. */
export function connectionsWithin(memoryBytes: number, limits: string): Possible {
  const hard = /^Max open files\s+\S+\s+(\S+)/m.exec(limits)?.[1];
  const byFiles =
    hard === undefined || hard === "unlimited" ? Number.POSITIVE_INFINITY : Math.floor(Number(hard) * 0.4);
  const byMemory = Math.floor(memoryBytes / 2 / CONNECTION_BYTES);
  const bound = byFiles < byMemory ? "the limit of open files" : "this machine's memory";
  return { count: Math.max(10, Math.min(byFiles, byMemory)), bound };
}

export const possibleConnections = async (): Promise<Possible> =>
  connectionsWithin(totalmem(), await readFile("/proc/self/limits", "utf8"));
