// The Docker adapter of the builds' engine port: API 1.41 over the unix socket, classic builder (version 1).
import type { Readable } from "node:stream";
import { dockerHttp } from "#api/docker-http.ts";
import { Fault, isFault } from "#api/fault.ts";
import { type DockerContainer, isAnonymous, ownDirectory, readDisk } from "../engine/docker-body.ts";
import { diskUse, treesBytes } from "../job-disk/use.ts";
import { buildContainerBody, buildNetworkBody, dockerBuildQuery } from "./docker-body.ts";
import { BRIDGES, type BuildEngine, type BuildMessage, type BuildNetwork, STEP_NETWORK } from "./engine.ts";
import { BuildFailure, ownReason } from "./failure.ts";
import { lines } from "./lines.ts";
import { isBuildContainer } from "./run.ts";

const ACT_TIMEOUT_MS = 60_000;
/** Docker prepares a container's or image's archive before the first byte. */
const ARCHIVE_TIMEOUT_MS = 300_000;

const absent = (error: unknown): undefined => {
  if (isFault(error, "not-found")) return undefined;
  throw error;
};
const labelFilter = (label: string): string => JSON.stringify({ label: [label] });

interface NetworkFound {
  IPAM?: { Config?: { Subnet?: string; Gateway?: string }[] };
  EnableIPv6?: boolean;
  Options?: Record<string, string>;
}
interface ContainerFound extends DockerContainer {
  State: DockerContainer["State"] & { Running: boolean };
  HostConfig: NonNullable<DockerContainer["HostConfig"]> & { NetworkMode: string };
  SizeRw?: number;
}
interface ImageFound {
  Id: string;
  Size: number;
  Config?: {
    User?: string;
    Env?: string[] | null;
    Labels?: Record<string, string> | null;
    OnBuild?: string[] | null;
  } | null;
}

/** Its output and three small files lie there; on a host that keeps secrets in memory it is memory. */
const OWN_MOST_BYTES = 128 << 20;

/** What it has written: as of a job, or as Docker says where its storage does not say where that is. */
async function written(found: ContainerFound, sizeRw: () => Promise<number>): Promise<number> {
  const disk = readDisk(found);
  if (disk === undefined) {
    const volumes = (found.Mounts ?? []).filter(isAnonymous).map(({ Source }) => Source);
    // The driver alone is silent then: the container's own directory is named all the same.
    const own = ownDirectory(found);
    return (await sizeRw()) + (await treesBytes(own === undefined ? volumes : [...volumes, own]));
  }
  const { Pid: pid } = found.State;
  const use = await diskUse({ id: found.Id, disk, ...(pid ? { pid } : {}) });
  if ((use?.ownBytes ?? 0) > OWN_MOST_BYTES) throw new BuildFailure(ownReason(OWN_MOST_BYTES));
  return use?.usedBytes ?? 0;
}

export function dockerBuildEngine({ socketPath }: { socketPath: string }): BuildEngine {
  const { call, open } = dockerHttp(socketPath);
  const findNetwork = (name: string) =>
    call<NetworkFound>({
      method: "GET",
      path: `/networks/${name}`,
      doing: `inspect the builds' network ${name}`,
    }).catch(absent);
  const container = (name: string, size = false) =>
    call<ContainerFound>({
      method: "GET",
      path: `/containers/${encodeURIComponent(name)}/json`,
      query: size ? { size: "1" } : {},
      timeoutMs: ACT_TIMEOUT_MS,
      doing: `inspect container ${name}`,
    });

  const sizeRw = async (name: string): Promise<number> => (await container(name, true).catch(absent))?.SizeRw ?? 0;

  return {
    async ensureNetworks() {
      const made: BuildNetwork[] = [];
      // One after the other: of two networks made at once, Docker keeps both and refuses one its bridge.
      for (const [name, bridge] of Object.entries(BRIDGES)) {
        const found =
          (await findNetwork(name)) ??
          (await call({
            method: "POST",
            path: "/networks/create",
            body: buildNetworkBody(name),
            doing: `create the builds' network ${name}`,
          }).then(() => findNetwork(name)));
        const { Subnet: subnet } = found?.IPAM?.Config?.[0] ?? {};
        if (subnet === undefined) throw new Error(`the builds' network ${name} has no address range`);
        if (found?.Options?.["com.docker.network.bridge.enable_icc"] !== "false")
          throw new Error(`network ${name} lets its containers talk to each other; remove it`);
        made.push({ bridge, subnet });
      }
      return made;
    },

    async inspectImage(ref) {
      const path = `/images/${encodeURIComponent(ref)}/json`;
      const found = await call<ImageFound>({ method: "GET", path, doing: "inspect image" }).catch(absent);
      if (found === undefined) return undefined;
      const { User: user = "", Env, Labels, OnBuild } = found.Config ?? {};
      const env = Object.fromEntries((Env ?? []).map((line) => line.split(/=(.*)/s, 2) as [string, string]));
      return { id: found.Id, user, env, labels: Labels ?? {}, onBuild: OnBuild ?? [], sizeBytes: found.Size };
    },

    async tagImage(ref, repository, tag = "latest") {
      const path = `/images/${encodeURIComponent(ref)}/tag`;
      await call({ method: "POST", path, query: { repo: repository, tag }, doing: `tag ${repository}` });
    },

    async createContainer(spec) {
      await call({
        method: "POST",
        path: "/containers/create",
        query: { name: spec.name },
        body: buildContainerBody(spec),
        timeoutMs: ACT_TIMEOUT_MS,
        doing: `create container ${spec.name}`,
      });
    },

    async put(name, upload, signal) {
      await call({
        method: "PUT",
        path: `/containers/${name}/archive`,
        query: { path: "/" },
        upload,
        signal,
        timeoutMs: ARCHIVE_TIMEOUT_MS,
        doing: "put the source into the build's container",
      });
    },

    get: (name, path, signal) =>
      open({
        method: "GET",
        path: `/containers/${name}/archive`,
        query: { path },
        signal,
        timeoutMs: ARCHIVE_TIMEOUT_MS,
        doing: `read ${path} of the build's container`,
      }),

    async state(name) {
      const found = await container(name).catch(absent);
      if (found === undefined) return undefined;
      const { Running: running, ExitCode: exitCode, OOMKilled: oomKilled, Error: error } = found.State;
      return { running, exitCode, oomKilled, error };
    },

    async writtenBytes(name) {
      const found = await container(name).catch(absent);
      return found === undefined ? 0 : written(found, () => sizeRw(name));
    },

    async buildSteps() {
      const filters = JSON.stringify({ network: [STEP_NETWORK] });
      const rows = await call<{ Id: string; Names: string[] }[]>({
        method: "GET",
        path: "/containers/json",
        query: { all: "1", filters },
        timeoutMs: ACT_TIMEOUT_MS,
        doing: "list build steps",
      });
      return rows
        .filter(({ Names }) => !Names.some((name) => isBuildContainer(name.replace(/^\//, ""))))
        .map(({ Id }) => ({ id: Id }));
    },

    async limitPids(step, pids) {
      const found = await container(step).catch(absent);
      if (found?.HostConfig.NetworkMode !== STEP_NETWORK) return;
      await call({
        method: "POST",
        path: `/containers/${step}/update`,
        body: { PidsLimit: pids },
        doing: "limit the processes of a build step",
      }).catch(async (error: unknown) => {
        // It may have ended before; one that runs on without its limit ends the build.
        if ((await container(step).catch(absent))?.State.Running) throw error;
      });
    },

    async *build(options, upload, signal) {
      const reply = await open({
        method: "POST",
        path: "/build",
        query: dockerBuildQuery(options),
        upload,
        signal,
        timeoutMs: ARCHIVE_TIMEOUT_MS,
        silenceMs: 0,
        doing: "build the image",
      });
      try {
        for await (const line of lines(reply)) if (line.trim() !== "") yield JSON.parse(line) as BuildMessage;
      } finally {
        reply.destroy();
      }
    },

    async *outOfMemory(signal) {
      const filters = JSON.stringify({ type: ["container"], event: ["oom"] });
      const reply = await open({
        method: "GET",
        path: "/events",
        query: { filters },
        signal,
        silenceMs: 0,
        doing: "follow the engine's events",
      });
      for await (const line of lines(reply)) {
        const id = (JSON.parse(line) as { Actor?: { ID?: string } }).Actor?.ID;
        if (id !== undefined) yield id;
      }
    },

    async loadImage(archive, signal) {
      const reply = await open({
        method: "POST",
        path: "/images/load",
        query: { quiet: "1" },
        upload: archive,
        signal,
        timeoutMs: ARCHIVE_TIMEOUT_MS,
        silenceMs: ARCHIVE_TIMEOUT_MS,
        doing: "load the image",
      });
      for await (const line of lines(reply)) {
        const { error } = line.trim() === "" ? {} : (JSON.parse(line) as BuildMessage);
        if (error !== undefined)
          throw new Fault("internal", "load the image", { cause: new Error(error.slice(0, 500)) });
      }
    },

    saveImage: (ref, signal) =>
      open({
        method: "GET",
        path: `/images/${encodeURIComponent(ref)}/get`,
        signal,
        timeoutMs: ARCHIVE_TIMEOUT_MS,
        doing: "export the image",
      }) as Promise<Readable>,

    async pushImage(repository, tag, signal) {
      const reply = await open({
        method: "POST",
        path: `/images/${repository}/push`,
        query: { tag },
        headers: { "x-registry-auth": Buffer.from("{}").toString("base64url") },
        signal,
        timeoutMs: ARCHIVE_TIMEOUT_MS,
        silenceMs: ARCHIVE_TIMEOUT_MS,
        doing: "push the image",
      });
      for await (const line of lines(reply)) {
        const { error } = line.trim() === "" ? {} : (JSON.parse(line) as BuildMessage);
        if (error === undefined) continue;
        const refused = /(?:^|: )denied: (.*)$/s.exec(error)?.[1];
        if (refused !== undefined) throw new Fault("forbidden", refused.trim().slice(0, 1_000));
        throw new Fault("unavailable", "push the image", { cause: new Error(error.slice(0, 500)) });
      }
    },

    async removeImage(ref, { keepParents }) {
      await call({
        method: "DELETE",
        path: `/images/${encodeURIComponent(ref)}`,
        query: { noprune: keepParents ? "1" : "0", force: "1" },
        timeoutMs: ACT_TIMEOUT_MS,
        doing: "remove image",
      }).catch((error: Fault) => {
        // 409: it is the parent of another, which keeps it.
        if (!isFault(error, "not-found") && !isFault(error, "conflict")) throw error;
      });
    },

    async images() {
      const rows = await call<
        {
          Id: string;
          ParentId: string;
          RepoTags: string[] | null;
          RepoDigests: string[] | null;
          Labels: Record<string, string> | null;
          Size: number;
          Created: number;
        }[]
      >({ method: "GET", path: "/images/json", query: { all: "1" }, doing: "list images" });
      return rows.map(({ Id, ParentId, RepoTags, RepoDigests, Labels, Size, Created }) => ({
        id: Id,
        parentId: ParentId,
        refs: [...(RepoTags ?? []), ...(RepoDigests ?? [])].filter((ref) => !ref.includes("<none>")),
        labels: Labels ?? {},
        sizeBytes: Size,
        createdAtMs: Created * 1_000,
      }));
    },

    async containers(label) {
      const rows = await call<{ Id: string; Names: string[]; Labels: Record<string, string> | null }[]>({
        method: "GET",
        path: "/containers/json",
        query: { all: "1", filters: labelFilter(label) },
        doing: "list the builds' containers",
      });
      return rows.map(({ Id, Names, Labels }) => ({ name: Names[0]?.replace(/^\//, "") ?? Id, labels: Labels ?? {} }));
    },

    async ensureVolume(name, labels) {
      await call({
        method: "POST",
        path: "/volumes/create",
        body: { Name: name, Labels: labels },
        doing: `create volume ${name}`,
      });
    },

    async volumes(label) {
      const { Volumes } = await call<{
        Volumes: { Name: string; Labels: Record<string, string> | null; Mountpoint: string }[] | null;
      }>({ method: "GET", path: "/volumes", query: { filters: labelFilter(label) }, doing: "list volumes" });
      return (Volumes ?? []).map(({ Name, Labels, Mountpoint }) => ({
        name: Name,
        labels: Labels ?? {},
        path: Mountpoint,
      }));
    },

    async removeVolume(name) {
      await call({
        method: "DELETE",
        path: `/volumes/${encodeURIComponent(name)}`,
        timeoutMs: ACT_TIMEOUT_MS,
        doing: `remove volume ${name}`,
      }).catch(absent);
    },
  };
}
