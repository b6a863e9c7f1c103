// How a job becomes a container: its name, labels and environment. The labels alone let a fresh hostd adopt what runs.
import { createHash } from "node:crypto";
import type { HostTarget } from "#api/host-agents.ts";
import type { JobSpec } from "#api/jobs.ts";
import { type Container, type ContainerSpec, LABELS } from "./engine/engine.ts";

export const NETWORK = "flynn";
export const BRIDGE = "flynn0";

export const containerName = (jobId: string): string => `flynn-${jobId}`;

/**
 * Labels are claims: a container has those of its image too, and people label images as they like. Names are given here alone, so a
 * container is a job's when its name says the same as its label.
 */
export const isJobContainer = ({ name, labels }: Pick<Container, "name" | "labels">): boolean => {
  const jobId = labels[LABELS.job];
  return jobId !== undefined && name === containerName(jobId);
};

/**
 * Version and hash of all that a running container was made from. The registry's address is left out (it may move), and a
 * hash of another version is never compared: an upgraded hostd restarts nothing.
 */
export function specHash(job: JobSpec): string {
  const { command, entrypoint, env, port, cpuMillis, memoryBytes, pids } = job;
  const image = job.image.slice(job.image.lastIndexOf("@") + 1);
  const parts = JSON.stringify([
    image,
    command,
    entrypoint,
    Object.entries(env).sort(),
    port,
    cpuMillis,
    memoryBytes,
    pids,
  ]);
  return `1:${createHash("sha256").update(parts).digest("hex").slice(0, 16)}`;
}

/** True when the container was certainly made from another spec than this job's. */
export function isOutdated(container: Container, job: JobSpec): boolean {
  const made = container.labels[LABELS.spec] ?? "";
  const wanted = specHash(job);
  return made.split(":")[0] === wanted.split(":")[0] && made !== wanted;
}

export function containerSpec(job: JobSpec, target: HostTarget, dns: string[], attempt: number): ContainerSpec {
  return {
    name: containerName(job.id),
    image: job.image,
    labels: {
      [LABELS.job]: job.id,
      [LABELS.app]: job.app,
      [LABELS.appId]: job.appId,
      [LABELS.process]: job.process,
      [LABELS.host]: target.hostId,
      [LABELS.spec]: specHash(job),
      [LABELS.attempt]: String(attempt),
      // Set in any case: one that is left out would be the image's to set.
      [LABELS.attach]: job.task?.attach ? "1" : "0",
    },
    env: {
      ...job.env,
      ...(job.port === undefined ? {} : { PORT: String(job.port) }),
      HOST_ID: target.hostId,
      FLYNN_APP: job.app,
      FLYNN_RELEASE: job.releaseId,
      FLYNN_JOB: job.id,
      FLYNN_PROCESS: job.process,
    },
    command: job.command,
    entrypoint: job.entrypoint,
    // A host name holds 63 characters; ids are shorter, apps' own names are not secret.
    hostname: job.id.slice(0, 63).replace(/[^a-zA-Z0-9-]/g, "-"),
    network: NETWORK,
    dns,
    memoryBytes: job.memoryBytes,
    ...(job.diskBytes === undefined ? {} : { diskBytes: job.diskBytes }),
    cpuMillis: job.cpuMillis,
    pids: job.pids,
    ...(job.task?.attach ? { interactive: { tty: job.task.tty } } : {}),
  };
}
