// The Docker adapter: API 1.41 over the unix socket. Every call carries a deadline that also closes its socket, so a hanging
// daemon (moby #53189) costs one socket per call in flight and nothing else.
import Docker from "dockerode";
import { Fault } from "#api/fault.ts";
import { deadline } from "#lib/time.ts";
import { type DockerContainer, readContainer, specBody } from "./docker-body.ts";
import { ensureNetwork } from "./docker-network.ts";
import { addressTaken, type Container, type Engine, LABELS } from "./engine.ts";
import { parseLogFrames } from "./log-frames.ts";
import { pullImage } from "./pull.ts";

export interface DockerOptions {
  socketPath: string;
  /** Deadline of calls that touch no container process. */
  callTimeoutMs?: number;
  /** Deadline of start, kill and remove. */
  actTimeoutMs?: number;
}

export function dockerEngine({ socketPath, callTimeoutMs = 10_000, actTimeoutMs = 60_000 }: DockerOptions): Engine {
  const docker = new Docker({ socketPath, version: "v1.41" });
  // Their types lack the options that the code takes.
  const version = (abortSignal: AbortSignal) =>
    (docker.version as (options: object) => Promise<Docker.DockerVersion>).call(docker, { abortSignal });
  const info = (abortSignal: AbortSignal) =>
    (docker.info as (options: object) => Promise<{ InitCommit?: { ID?: string } }>).call(docker, { abortSignal });
  const inspected = new Map<string, Container>();
  let hasInit: boolean | undefined;
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

  const inspect = async (id: string): Promise<Container | undefined> => {
    try {
      return readContainer(
        (await call("inspect container", (abortSignal) =>
          docker.getContainer(id).inspect({ abortSignal } as object),
        )) as unknown as DockerContainer,
      );
    } catch (error) {
      if (error instanceof Fault && error.code === "not-found") return undefined;
      throw error;
    }
  };

  /** Docker names its init binary whether or not it is installed; only its version tells. */
  const findInit = async (): Promise<boolean> => {
    hasInit ??= (await call("ask the engine for its parts", info)).InitCommit?.ID !== "N/A";
    return hasInit;
  };

  const probe = async () => {
    const found = await call("ask the engine for its version", version, 5_000);
    architecture = found.Arch;
    return { version: found.Version, architecture: found.Arch };
  };

  return {
    probe,

    async list() {
      const rows = await call("list containers", (abortSignal) =>
        docker.listContainers({ all: true, filters: { label: [LABELS.job] }, abortSignal } as object),
      );
      // A container of ours is started once in its life, so id and state say all that inspect would.
      const keys = rows.map((row) => `${row.Id} ${row.State}`);
      for (const known of inspected.keys()) if (!keys.includes(known)) inspected.delete(known);
      const found = await Promise.all(
        rows.map(async (row, n) => {
          const kept = inspected.get(keys[n]!);
          if (kept) return kept;
          const container = await inspect(row.Id);
          const settled = container?.status === "exited" || (container?.status === "running" && container.address);
          if (container && settled && `${row.Id} ${container.status}` === keys[n]) inspected.set(keys[n]!, container);
          return container;
        }),
      );
      return found.filter((container) => container !== undefined);
    },

    async pull(image, signal) {
      architecture ??= (await probe()).architecture;
      await pullImage(docker, image, { architecture, signal, callTimeoutMs });
    },

    async create(spec) {
      const body = specBody(spec, await findInit());
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
      const query = { follow: true, stdout: true, stderr: true, timestamps: true, since: since ? unixTime(since) : 0 };
      const opened = new AbortController();
      const stream = await deadline(
        docker.getContainer(name).logs({ ...query, abortSignal: AbortSignal.any([signal, opened.signal]) } as object),
        callTimeoutMs,
        `read the log of ${name}`,
      ).catch((cause: unknown) => {
        opened.abort();
        throw engineFault(`read the log of ${name}`, cause);
      });
      try {
        yield* parseLogFrames(stream as unknown as AsyncIterable<Buffer>);
      } catch (cause) {
        if (!signal.aborted) throw engineFault(`read the log of ${name}`, cause);
      } finally {
        opened.abort();
      }
    },

    async *changes(signal) {
      const stream = await deadline(
        docker.getEvents({ filters: { type: ["container"], label: [LABELS.job] }, abortSignal: signal } as object),
        callTimeoutMs,
        "follow the engine's events",
      );
      try {
        for await (const _ of stream as unknown as AsyncIterable<Buffer>) yield;
      } catch (cause) {
        if (!signal.aborted) throw engineFault("follow the engine's events", cause);
      }
    },

    ensureNetwork: (network) => ensureNetwork(docker, network, call),

    async images() {
      const rows = await call("list images", (abortSignal) => docker.listImages({ abortSignal } as object));
      return rows.flatMap((row) => (row.RepoDigests ?? []).map((ref) => ({ ref, sizeBytes: row.Size })));
    },

    async removeImage(ref) {
      await call("remove image", (abortSignal) => docker.getImage(ref).remove({ abortSignal } as object), actTimeoutMs);
    },
  };
}

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
