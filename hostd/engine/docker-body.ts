// What hostd's words are in Docker's API 1.41, both ways.
import type { BridgeNetwork, Container, ContainerSpec, ContainerStatus } from "./engine.ts";

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
  NetworkSettings?: { Networks?: Record<string, { IPAddress?: string }> | null };
}

export function readContainer(found: DockerContainer): Container {
  const status = readStatus(found.State.Status);
  const address = Object.values(found.NetworkSettings?.Networks ?? {})[0]?.IPAddress;
  const ended = status === "exited" || status === "dead";
  return {
    id: found.Id,
    name: found.Name.replace(/^\//, ""),
    status,
    labels: found.Config.Labels ?? {},
    image: found.Config.Image,
    ...(address ? { address } : {}),
    ...(found.State.Pid ? { pid: found.State.Pid } : {}),
    ...(found.Config.Entrypoint?.length ? { entrypoint: found.Config.Entrypoint } : {}),
    ...(found.State.StartedAt.startsWith("0001-") ? {} : { startedAt: found.State.StartedAt }),
    ...(ended ? { exitCode: found.State.ExitCode, oomKilled: found.State.OOMKilled } : {}),
    ...(found.State.Error ? { error: found.State.Error } : {}),
  };
}

/** `paused` and `restarting` still hold a process; hostd never asks for either. */
function readStatus(status: string): ContainerStatus {
  if (status === "created" || status === "exited" || status === "removing" || status === "dead") return status;
  return "running";
}

export function specBody(spec: ContainerSpec, hasInit: boolean): object {
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
      Init: hasInit,
      RestartPolicy: { Name: "no" },
      LogConfig: spec.interactive
        ? { Type: "none" }
        : { Type: "json-file", Config: { "max-size": "10m", "max-file": "2" } },
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
