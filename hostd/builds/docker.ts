// The Docker adapter of the builds' engine port: API 1.41 over the unix socket, classic builder (version 1).
import type { Readable } from "node:stream";
import { type Fault, isFault } from "#api/fault.ts";
import { buildContainerBody, buildNetworkBody, dockerBuildQuery } from "./docker-body.ts";
import { dockerHttp } from "./docker-http.ts";
import { BUILD_NETWORK, type BuildEngine, type BuildMessage } from "./engine.ts";
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
interface ContainerFound {
  State: { Running: boolean; ExitCode: number; OOMKilled: boolean; Error: string; Status: string };
  HostConfig: { NetworkMode: string };
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

export function dockerBuildEngine({ socketPath }: { socketPath: string }): BuildEngine {
  const { call, open } = dockerHttp(socketPath);
  const findNetwork = () =>
    call<NetworkFound>({
      method: "GET",
      path: `/networks/${BUILD_NETWORK}`,
      doing: "inspect the builds' network",
    }).catch(absent);
  const container = (name: string, size = false) =>
    call<ContainerFound>({
      method: "GET",
      path: `/containers/${encodeURIComponent(name)}/json`,
      query: size ? { size: "1" } : {},
      timeoutMs: ACT_TIMEOUT_MS,
      doing: `inspect container ${name}`,
    });

  return {
    async ensureNetwork() {
      const found =
        (await findNetwork()) ??
        (await call({
          method: "POST",
          path: "/networks/create",
          body: buildNetworkBody(),
          doing: "create the builds' network",
        }).then(findNetwork));
      const { Subnet: subnet, Gateway: gateway } = found?.IPAM?.Config?.[0] ?? {};
      if (subnet === undefined || gateway === undefined) throw new Error("the builds' network has no address range");
      if (found?.Options?.["com.docker.network.bridge.enable_icc"] !== "false")
        throw new Error(`network ${BUILD_NETWORK} lets its containers talk to each other; remove it`);
      return { subnet, gateway };
    },

    async inspectImage(ref) {
      const path = `/images/${encodeURIComponent(ref)}/json`;
      const found = await call<ImageFound>({ method: "GET", path, doing: "inspect image" }).catch(absent);
      if (found === undefined) return undefined;
      const { User: user = "", Env, Labels, OnBuild } = found.Config ?? {};
      const env = Object.fromEntries((Env ?? []).map((line) => line.split(/=(.*)/s, 2) as [string, string]));
      return { id: found.Id, user, env, labels: Labels ?? {}, onBuild: OnBuild ?? [], sizeBytes: found.Size };
    },

    async tagImage(ref, repository) {
      const path = `/images/${encodeURIComponent(ref)}/tag`;
      await call({ method: "POST", path, query: { repo: repository, tag: "latest" }, doing: `tag ${repository}` });
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

    writtenBytes: async (name) => (await container(name, true).catch(absent))?.SizeRw ?? 0,

    async buildSteps() {
      const filters = JSON.stringify({ network: [BUILD_NETWORK] });
      const rows = await call<{ Id: string; SizeRw?: number; Names: string[] }[]>({
        method: "GET",
        path: "/containers/json",
        query: { all: "1", size: "1", filters },
        timeoutMs: ACT_TIMEOUT_MS,
        doing: "list build steps",
      });
      return rows
        .filter(({ Names }) => !Names.some((name) => isBuildContainer(name.replace(/^\//, ""))))
        .map(({ Id, SizeRw }) => ({ id: Id, writtenBytes: SizeRw ?? 0 }));
    },

    async limitPids(step, pids) {
      const found = await container(step).catch(absent);
      if (found?.HostConfig.NetworkMode !== BUILD_NETWORK) return;
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

    saveImage: (ref, signal) =>
      open({
        method: "GET",
        path: `/images/${encodeURIComponent(ref)}/get`,
        signal,
        timeoutMs: ARCHIVE_TIMEOUT_MS,
        doing: "export the image",
      }) as Promise<Readable>,

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
