// The Docker adapter: API 1.41 over the unix socket. Every call carries a deadline that also closes its socket, so a hanging
// daemon (moby #53189) costs one socket per call in flight and nothing else.
import { readFile } from "node:fs/promises";
import Docker from "dockerode";
import { dockerHttp } from "#api/docker-http.ts";
import { Fault } from "#api/fault.ts";
import { deadline, joined } from "#lib/time.ts";
import { createWake } from "#lib/wake.ts";
import { isJobContainer } from "../job-container.ts";
import { type DockerContainer, type EngineParts, readContainer, specBody } from "./docker-body.ts";
import { ensureNetwork, networkSubnet } from "./docker-network.ts";
import { type DockerInfo, hasQuota } from "./docker-quota.ts";
import { addressTaken, type Container, type Engine, LABELS } from "./engine.ts";
import { inspections, type ListRow } from "./inspections.ts";
import { listRows, type RowFields, streamRows } from "./list-rows.ts";
import { parseLogFrames } from "./log-frames.ts";
import { pullImage } from "./pull.ts";

export interface DockerOptions {
  socketPath: string;
  /** Deadline of calls that touch no container process. */
  callTimeoutMs?: number;
  /** Deadline of start, kill and remove. */
  actTimeoutMs?: number;
}

const LIST_ROW: RowFields = {
  fields: ["Id", "Names", "Image", "State", "Status", "NetworkSettings"],
  labels: Object.values(LABELS),
};

export function dockerEngine({ socketPath, callTimeoutMs = 10_000, actTimeoutMs = 60_000 }: DockerOptions): Engine {
  const docker = new Docker({ socketPath, version: "v1.41" });
  // Their types lack the options that the code takes.
  const version = (abortSignal: AbortSignal) =>
    (docker.version as (options: object) => Promise<Docker.DockerVersion>).call(docker, { abortSignal });
  const info = (abortSignal: AbortSignal) =>
    (docker.info as (options: object) => Promise<DockerInfo>).call(docker, { abortSignal });
  // What lists images and containers is read with a bound: dockerode has none, and throws where nobody catches it.
  const http = dockerHttp(socketPath);
  const bounded = <T>(doing: string, path: string, query: Record<string, string> = {}): Promise<T> =>
    call(doing, (signal) => http.call<T>({ method: "GET", path, query, signal, timeoutMs: callTimeoutMs - 50, doing }));
  /** A list, of whose rows no more is held than is asked for. */
  const listed = <T>(doing: string, path: string, query: Record<string, string>, wanted: RowFields) =>
    call(doing, async (signal) => {
      const timeoutMs = callTimeoutMs - 50;
      return listRows<T>(await http.open({ method: "GET", path, query, signal, timeoutMs, doing }), wanted);
    });
  let parts: EngineParts | undefined;
  let architecture: string | undefined;

  const call = async <T>(
    what: string,
    work: (abortSignal: AbortSignal) => Promise<T>,
    timeoutMs = callTimeoutMs,
  ): Promise<T> => {
    try {
      return await deadline(work(AbortSignal.timeout(timeoutMs)), timeoutMs + 100, what);
    } catch (cause) {
      throw engineFault(what, cause);
    }
  };

  /** A stream for as long as it is read: its connection goes with its reader, and with one whose answer never came. */
  async function* followed<T>(
    {
      path,
      query,
      doing,
      timeoutMs,
    }: { path: string; query: Record<string, string>; doing: string; timeoutMs: number },
    signal: AbortSignal,
    read: (chunks: AsyncIterable<Buffer>) => AsyncIterable<T>,
  ): AsyncGenerator<T> {
    try {
      const reply = await http.open({ method: "GET", path, query, signal, timeoutMs, silenceMs: 0, doing });
      // Leaving the loop destroys the answer.
      yield* read(reply as AsyncIterable<Buffer>);
    } catch (cause) {
      if (!signal.aborted) throw engineFault(doing, cause);
    }
  }

  const inspect = async (id: string): Promise<Container | undefined> => {
    try {
      return readContainer(
        await bounded<DockerContainer>("inspect container", `/containers/${encodeURIComponent(id)}/json`),
      );
    } catch (error) {
      if (error instanceof Fault && error.code === "not-found") return undefined;
      throw error;
    }
  };

  /** Of who follows what changes. */
  const bells = new Set<() => void>();
  const ring = () => {
    for (const each of bells) each();
  };
  const inspected = inspections({ inspect, onAnswer: ring });

  /** Docker names its init binary whether or not it is installed; only its version tells. */
  const findParts = async (): Promise<EngineParts> => {
    if (parts !== undefined) return parts;
    const found = await call("ask the engine for its parts", info);
    const mounts = await readFile("/proc/self/mountinfo", "utf8").catch(() => "");
    parts = { init: found.InitCommit?.ID !== "N/A", quota: hasQuota(found, mounts) };
    return parts;
  };

  const probe = async () => {
    const found = await call("ask the engine for its version", version, 5_000);
    architecture = found.Arch;
    return { version: found.Version, architecture: found.Arch };
  };

  return {
    probe,

    async list() {
      const filters = JSON.stringify({ label: [LABELS.job] });
      const found = await listed<ListRow>("list containers", "/containers/json", { all: "1", filters }, LIST_ROW);
      const rows = found.map((row) => ({ Id: "", Names: [], Image: "", Labels: {}, State: "", Status: "", ...row }));
      return inspected.of(rows.filter(({ Names, Labels }) => isJobContainer({ name: nameOf(Names), labels: Labels })));
    },

    async pull(image, signal) {
      architecture ??= (await probe()).architecture;
      await pullImage(docker, image, { architecture, signal, callTimeoutMs });
    },

    async create(spec) {
      const body = specBody(spec, await findParts());
      await call(
        `create container ${spec.name}`,
        (abortSignal) =>
          docker.createContainer({
            _query: { name: spec.name },
            _body: body,
            abortSignal,
          } as Docker.ContainerCreateOptions),
        actTimeoutMs,
      ).catch(async (error: unknown) => {
        // A create that timed out may have worked: the name decides, and it is ours only if the job's label says so.
        if (!(error instanceof Fault && error.code === "conflict")) throw error;
        const existing = await inspect(spec.name);
        if (existing?.labels[LABELS.job] !== spec.labels[LABELS.job]) throw error;
      });
    },

    async start(name) {
      await call(
        `start container ${name}`,
        (abortSignal) => docker.getContainer(name).start({ abortSignal } as object),
        actTimeoutMs,
      ).catch((error: unknown) => {
        const { statusCode, message = "" } = ((error as Error).cause ?? {}) as {
          statusCode?: number;
          message?: string;
        };
        if (statusCode === 304) return; // it runs
        if (statusCode === 403 && /address already in use/i.test(message))
          throw addressTaken(`start container ${name}`, error);
        throw error;
      });
    },

    async signal(name, signalName) {
      await call(
        `send ${signalName} to container ${name}`,
        (abortSignal) => docker.getContainer(name).kill({ signal: signalName, abortSignal } as object),
        actTimeoutMs,
      ).catch((error: unknown) => {
        // 409: not running any more, 404: gone; either way it has ended.
        if (!(error instanceof Fault && ["conflict", "not-found"].includes(error.code))) throw error;
      });
    },

    async remove(name) {
      await call(
        `remove container ${name}`,
        (abortSignal) => docker.getContainer(name).remove({ force: true, v: true, abortSignal } as object),
        actTimeoutMs,
      ).catch((error: unknown) => {
        // 409: its removal is already under way.
        if (!(error instanceof Fault && ["conflict", "not-found"].includes(error.code))) throw error;
      });
    },

    async *log(name, { since, signal }) {
      const query = { follow: "1", stdout: "1", stderr: "1", timestamps: "1", since: since ? unixTime(since) : "0" };
      const path = `/containers/${encodeURIComponent(name)}/logs`;
      const asked = { path, query, doing: `read the log of ${name}`, timeoutMs: callTimeoutMs };
      yield* followed(asked, signal, parseLogFrames);
    },

    async *changes(signal) {
      const query = { filters: JSON.stringify({ type: ["container"], label: [LABELS.job] }) };
      const asked = { path: "/events", query, doing: "follow the engine's events", timeoutMs: callTimeoutMs };
      const [wake, stop] = [createWake(), new AbortController()];
      const until = joined(signal, stop.signal);
      const events = followed(asked, until.signal, (chunks) =>
        streamRows<{ status: string; id: string }>(chunks, { fields: ["status", "id"] }),
      );
      let isOver = false;
      const following = (async () => {
        // Docker says "die" before its list does (until the network is released), and answers for the container only then.
        for await (const { status, id = "" } of events) {
          if (status === "die") inspected.doubt(id);
          wake.ring();
        }
      })().finally(() => {
        isOver = true;
        wake.ring();
      });
      following.catch(() => undefined); // told below
      bells.add(wake.ring);
      try {
        for (;;) {
          await wake.wait(Number.POSITIVE_INFINITY, signal);
          if (isOver || signal.aborted) break;
          yield;
        }
        await following;
      } finally {
        bells.delete(wake.ring);
        stop.abort();
        until.release();
      }
    },

    ensureNetwork: (network) => ensureNetwork(docker, network, call),
    networkSubnet: (name) => networkSubnet(docker, name, call),

    async images() {
      const wanted = { fields: ["RepoDigests", "Size"] };
      const rows = await listed<Docker.ImageInfo>("list images", "/images/json", {}, wanted);
      return rows.flatMap(({ RepoDigests, Size = 0 }) => (RepoDigests ?? []).map((ref) => ({ ref, sizeBytes: Size })));
    },

    async removeImage(ref) {
      await call("remove image", (abortSignal) => docker.getImage(ref).remove({ abortSignal } as object), actTimeoutMs);
    },
  };
}

/** A container's own name, among those it may be linked by. */
const nameOf = (names: readonly string[]): string =>
  (names.find((name) => name.lastIndexOf("/") === 0) ?? "").replace(/^\//, "");

/** `since` as the logs endpoint reads it: seconds and nanoseconds. */
function unixTime(at: string): string {
  return `${Math.floor(Date.parse(at) / 1000)}.${(/\.(\d+)Z$/.exec(at)?.[1] ?? "").padEnd(9, "0")}`;
}

export function engineFault(what: string, cause: unknown): Fault {
  if (cause instanceof Fault) return cause;
  const { statusCode, name, message } = cause as { statusCode?: number; name?: string; message?: string };
  if (statusCode === 404) return new Fault("not-found", what, { cause });
  if (statusCode === 409) return new Fault("conflict", what, { cause });
  if (statusCode !== undefined) return new Fault("internal", what, { cause });
  const late = name === "TimeoutError" || name === "AbortError" || / took longer than /.test(message ?? "");
  return new Fault(late ? "timeout" : "unavailable", late ? `${what}: the engine does not answer` : what, { cause });
}
