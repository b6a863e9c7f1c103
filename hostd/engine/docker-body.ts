// What hostd's words are in Docker's API 1.41, both ways.
import { dirname } from "node:path";
import {
  type BridgeNetwork,
  type Container,
  type ContainerDisk,
  type ContainerSpec,
  type ContainerStatus,
  LABELS,
} from "./engine.ts";

/** The part of GET /containers/:id/json that is read. */
export interface DockerContainer {
  Id: string;
  Name: string;
  Config: { Image: string; Entrypoint?: string[] | null; Labels?: Record<string, string> | null };
  State: {
    Status: string;
    StartedAt: string;
    ExitCode: number;
    OOMKilled: boolean;
    Error: string;
    Pid?: number;
  };
  GraphDriver?: { Name: string; Data?: { UpperDir?: string } | null };
  Mounts?: { Type: string; Name?: string; Source: string }[] | null;
  LogPath?: string;
  HostnamePath?: string;
  HostsPath?: string;
  ResolvConfPath?: string;
  HostConfig?: { StorageOpt?: { size?: string } | null };
  NetworkSettings?: {
    Networks?: Record<string, { IPAddress?: string; IPAMConfig?: { IPv4Address?: string } | null }> | null;
  };
}

export function readContainer(found: DockerContainer): Container {
  const status = readStatus(found.State.Status);
  const network = Object.values(found.NetworkSettings?.Networks ?? {})[0];
  // One that was never started has the address it was made for.
  const address = network?.IPAddress || (status === "created" ? network?.IPAMConfig?.IPv4Address : undefined);
  const ended = status === "exited" || status === "dead";
  const disk = readDisk(found);
  return {
    id: found.Id,
    name: found.Name.replace(/^\//, ""),
    status,
    labels: ownLabels(found.Config.Labels ?? {}),
    image: found.Config.Image,
    ...(address ? { address } : {}),
    ...(found.State.Pid ? { pid: found.State.Pid } : {}),
    ...(found.Config.Entrypoint?.length ? { entrypoint: found.Config.Entrypoint } : {}),
    ...(found.State.StartedAt.startsWith("0001-") ? {} : { startedAt: found.State.StartedAt }),
    ...(ended ? { exitCode: found.State.ExitCode, oomKilled: found.State.OOMKilled } : {}),
    ...(disk === undefined ? {} : { disk }),
    ...(found.State.Error ? { error: found.State.Error } : {}),
  };
}

/** A volume that an image declared and nobody named. */
export const isAnonymous = ({ Type: type, Name = "" }: { Type: string; Name?: string }): boolean =>
  type === "volume" && /^[0-9a-f]{64}$/.test(Name);

/** Undefined with a storage driver that does not say where it writes. */
export function readDisk(found: DockerContainer): ContainerDisk | undefined {
  const upper = found.GraphDriver?.Data?.UpperDir;
  if (upper === undefined || upper === "") return undefined;
  const volumes = (found.Mounts ?? []).filter(isAnonymous).map(({ Source }) => Source);
  const own = ownDirectory(found);
  return {
    paths: [upper, ...volumes, ...(own === undefined ? [] : [own])],
    ...(own === undefined ? {} : { own }),
    quota: found.HostConfig?.StorageOpt?.size !== undefined,
  };
}

/** Where Docker keeps what is the container's and no layer's. Each of the four may be missing: a log that is not kept, a network without names. */
export function ownDirectory({ LogPath, HostnamePath, HostsPath, ResolvConfPath }: DockerContainer) {
  const file = LogPath || HostnamePath || HostsPath || ResolvConfPath;
  return file ? dirname(file) : undefined;
}

/** Ours alone: those of an image may be of any number and size, and would be kept with each container. */
function ownLabels(labels: Readonly<Record<string, string>>): Record<string, string> {
  const own = Object.values(LABELS).filter((name) => Object.hasOwn(labels, name));
  return Object.fromEntries(own.map((name) => [name, labels[name]!.slice(0, 256)]));
}

/** `paused` and `restarting` still hold a process; hostd never asks for either. */
function readStatus(status: string): ContainerStatus {
  if (status === "created" || status === "exited" || status === "removing" || status === "dead") return status;
  return "running";
}

/** What the engine has to offer beside what every one has. */
export interface EngineParts {
  init: boolean;
  /** Its storage holds a container's writable layer to a size. */
  quota: boolean;
}

/** As bytes: what Docker writes as JSON has lost each character that it cut at 16 KiB. */
export const KEPT_OUTPUT = {
  Type: "local",
  Config: { "max-size": "10m", "max-file": "2", compress: "false" },
} as const;

export function specBody(spec: ContainerSpec, has: EngineParts): object {
  return {
    Image: spec.image,
    Hostname: spec.hostname,
    Labels: spec.labels,
    Env: Object.entries(spec.env).map(([name, value]) => `${name}=${value}`),
    ...(spec.command ? { Cmd: spec.command } : {}),
    ...(spec.entrypoint ? { Entrypoint: spec.entrypoint } : {}),
    ...(spec.interactive
      ? { OpenStdin: true, StdinOnce: true, AttachStdin: true, AttachStdout: true, AttachStderr: true }
      : {}),
    ...(spec.interactive?.tty ? { Tty: true } : {}),
    ...(spec.macAddress ? { MacAddress: spec.macAddress } : {}),
    ...(spec.address
      ? { NetworkingConfig: { EndpointsConfig: { [spec.network]: { IPAMConfig: { IPv4Address: spec.address } } } } }
      : {}),
    HostConfig: {
      NetworkMode: spec.network,
      Dns: spec.dns,
      Memory: spec.memoryBytes,
      MemorySwap: spec.memoryBytes,
      // A share of the machine under load, not a ceiling: an idle core is anyone's.
      CpuShares: Math.max(2, Math.round((spec.cpuMillis * 1024) / 1000)),
      PidsLimit: spec.pids,
      CapDrop: ["ALL"],
      SecurityOpt: ["no-new-privileges"],
      ...(has.quota && spec.diskBytes ? { StorageOpt: { size: String(spec.diskBytes) } } : {}),
      Init: has.init,
      RestartPolicy: { Name: "no" },
      LogConfig: spec.interactive ? { Type: "none" } : KEPT_OUTPUT,
    },
  };
}

export function networkBody(network: BridgeNetwork): object {
  return {
    Name: network.name,
    Driver: "bridge",
    CheckDuplicate: true,
    IPAM: { Config: [{ Subnet: network.subnet, Gateway: network.gateway }] },
    // Docker's own masquerading would hide which container talks to another host.
    Options: {
      "com.docker.network.bridge.name": network.bridge,
      "com.docker.network.bridge.enable_ip_masquerade": "false",
    },
  };
}
