// What a job record means to the scheduler: whether it counts towards its formation, whether it holds room on its host.
import type { ProcessType } from "#api/apps.ts";
import { DEFAULT_LIMITS, isEnded, isOver, type Job } from "#api/jobs.ts";
import type { Resources as Need } from "#api/schema.ts";
import type { Resources } from "./resources.ts";

const MIB = 1024 ** 2;

/** How a job is to end: asked to, or told that it has. */
export type Ending = { job: Job; to: "drain" | "stop" } | { job: Job; to: "down" | "lost" };

/** One of the jobs a formation counts. Draining and stopping ones no longer do. */
export function isWanted(job: Job): boolean {
  return job.desired === "run" && !isEnded(job);
}

export function waitsForHost(job: Job): boolean {
  return isWanted(job) && job.hostId === undefined;
}

/** Holds room until its host has said that it ended, so a container that cannot be killed stays charged; so does one that may return. */
export function holdsRoom(job: Job): boolean {
  return job.hostId !== undefined && !isOver(job);
}

/** The name its spread is counted under: a one-off in the guise of web is not one of the web jobs. */
export function spreadName(job: Job): string {
  return job.task === undefined ? job.process : `${job.process} once`;
}

export function needOf(process: ProcessType): Need {
  return {
    cpuMillis: process.cpuMillis ?? DEFAULT_LIMITS.cpuMillis,
    memoryBytes: process.memoryBytes ?? DEFAULT_LIMITS.memoryBytes,
    // The default is a limit and no reservation: most jobs write next to nothing, and a host short of disk gets no new ones.
    diskBytes: process.diskBytes ?? 0,
  };
}

/** From the contract's bytes to the fleet's MiB. */
export function toFleet({ cpuMillis, memoryBytes, diskBytes }: Need): Resources {
  return { cpuMillis, memoryMiB: memoryBytes / MIB, diskMiB: diskBytes / MIB };
}
