// Jobs, targets and containers for hostd's tests, each with only what the test is about.
import type { HostTarget } from "#api/host-agents.ts";
import { DEFAULT_HEALTH, type JobSpec } from "#api/jobs.ts";
import { type Container, LABELS } from "../../hostd/engine/engine.ts";
import { containerName, specHash } from "../../hostd/job-container.ts";

export const IMAGE = `127.0.0.1:5000/hello@sha256:${"ab".repeat(32)}`;

export function job(fields: Partial<JobSpec> = {}): JobSpec {
  return {
    id: "j1",
    app: "hello",
    appId: "app-1",
    releaseId: "rel-1",
    version: 1,
    process: "web",
    desired: "run",
    image: IMAGE,
    env: { COLOUR: "blue" },
    port: 8080,
    cpuMillis: 100,
    memoryBytes: 512 * 1024 ** 2,
    pids: 64,
    health: { ...DEFAULT_HEALTH, type: "none" },
    stopTimeoutMs: 5_000,
    ...fields,
  };
}

export function target(jobs: JobSpec[], fields: Partial<HostTarget> = {}): HostTarget {
  return {
    term: 1,
    seq: 1,
    hostId: "host-1",
    subnet: "100.64.7.0/24",
    clusterRange: "100.64.0.0/16",
    peers: [],
    registry: "127.0.0.1:5000",
    jobs,
    ...fields,
  };
}

export function container(of: JobSpec, fields: Partial<Container> = {}): Container {
  return {
    id: `c-${of.id}`,
    name: containerName(of.id),
    status: "running",
    image: of.image,
    labels: {
      [LABELS.job]: of.id,
      [LABELS.app]: of.app,
      [LABELS.appId]: of.appId,
      [LABELS.process]: of.process,
      [LABELS.spec]: specHash(of),
      [LABELS.attempt]: "0",
    },
    address: "100.64.7.2",
    startedAt: "2026-01-01T00:00:00Z",
    ...fields,
  };
}
