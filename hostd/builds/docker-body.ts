// What a build's container, its network and Docker's own build are in Docker's API 1.41.
import { KEPT_OUTPUT } from "../engine/docker-body.ts";
import {
  BRIDGES,
  BUILD_NETWORK,
  type BuildContainer,
  type BuildShare,
  type DockerBuild,
  STEP_NETWORK,
} from "./engine.ts";

/** Beside apps' 1024 per core: a busy host gives builds the rest. */
const CPU_SHARES = 128;
/** The kernel's default is 500; smallest is 10. */
const BLKIO_WEIGHT = 50;
const NO_CORES = [{ Name: "core", Soft: 0, Hard: 0 }];
const CPU_PERIOD_US = 100_000;

const quotaUs = ({ cpuMillis }: BuildShare): number => Math.max(1_000, Math.round((cpuMillis * CPU_PERIOD_US) / 1_000));

export function buildContainerBody(spec: BuildContainer): object {
  const { limits } = spec;
  return {
    Image: spec.image,
    ...(spec.user === undefined ? {} : { User: spec.user }),
    Labels: spec.labels,
    Entrypoint: [],
    Cmd: spec.command,
    ...(spec.env === undefined ? {} : { Env: Object.entries(spec.env).map(([name, value]) => `${name}=${value}`) }),
    Hostname: "build",
    HostConfig: {
      NetworkMode: spec.network ?? BUILD_NETWORK,
      Dns: spec.dns,
      Memory: limits.memoryBytes,
      MemorySwap: limits.memoryBytes,
      CpuShares: CPU_SHARES,
      CpuPeriod: CPU_PERIOD_US,
      CpuQuota: quotaUs(limits),
      BlkioWeight: BLKIO_WEIGHT,
      PidsLimit: limits.pids,
      CapDrop: ["ALL"],
      SecurityOpt: ["no-new-privileges"],
      OomScoreAdj: 500,
      Init: true,
      Ulimits: NO_CORES,
      RestartPolicy: { Name: "no" },
      LogConfig: KEPT_OUTPUT,
      Mounts: spec.volumes.map(({ volume, path }) => ({ Type: "volume", Source: volume, Target: path })),
    },
  };
}

export function buildNetworkBody(name: string): object {
  return {
    Name: name,
    Driver: "bridge",
    CheckDuplicate: true,
    EnableIPv6: false,
    Options: {
      "com.docker.network.bridge.name": BRIDGES[name],
      "com.docker.network.bridge.enable_icc": "false",
      "com.docker.network.bridge.enable_ip_masquerade": "true",
    },
  };
}

export function dockerBuildQuery({ dockerfile, target, args, labels, limits }: DockerBuild): Record<string, string> {
  return {
    dockerfile,
    ...(target === undefined ? {} : { target }),
    buildargs: JSON.stringify(args),
    labels: JSON.stringify(labels),
    networkmode: STEP_NETWORK,
    memory: String(limits.memoryBytes),
    memswap: String(limits.memoryBytes),
    cpushares: String(CPU_SHARES),
    cpuperiod: String(CPU_PERIOD_US),
    cpuquota: String(quotaUs(limits)),
    ulimits: JSON.stringify(NO_CORES),
    rm: "1",
    forcerm: "1",
  };
}
