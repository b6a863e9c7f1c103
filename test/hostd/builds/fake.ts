// Both engine ports as a build sees them, in memory, and a control that keeps what it is sent.
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { pack } from "tar-stream";
import type { BuildResult } from "#api/builds.ts";
import { hostBuildLog, hostBuildResult, hostBuildSlug } from "#api/builds.ts";
import { Fault } from "#api/fault.ts";
import { until } from "#lib/time.ts";
import type { BuildContainer, BuildEngine } from "../../../hostd/builds/engine.ts";
import type { BuildParts } from "../../../hostd/builds/run.ts";
import type { EngineLogLine } from "../../../hostd/engine/engine.ts";

export interface FakeContainer {
  spec: BuildContainer;
  running: boolean;
  started: boolean;
  exitCode: number;
  oomKilled: boolean;
  input: Buffer;
  output: EngineLogLine[];
  files: Record<string, string>;
}

export interface FakeBuilds {
  engine: BuildEngine;
  jobEngine: BuildParts["jobEngine"];
  client: BuildParts["client"];
  containers: Map<string, FakeContainer>;
  volumes: Map<string, Record<string, string>>;
  written: number;
  source: Buffer;
  /** What control has. */
  logs: Map<string, string>;
  slugs: Map<string, Buffer>;
  results: Map<string, BuildResult>;
  /** Fails control's calls of this endpoint. */
  refuse: Map<string, Error>;
  print(name: string, line: string): void;
  exit(name: string, exitCode: number, options?: { oomKilled?: boolean; files?: Record<string, string> }): void;
}

export function fakeBuilds(): FakeBuilds {
  const containers = new Map<string, FakeContainer>();
  const get = (name: string): FakeContainer => {
    const found = containers.get(name);
    if (!found) throw new Fault("not-found", name);
    return found;
  };
  const stop = (name: string, exitCode: number) => Object.assign(get(name), { running: false, exitCode });
  const fake: FakeBuilds = {
    containers,
    volumes: new Map(),
    written: 0,
    source: Buffer.from("source"),
    logs: new Map(),
    slugs: new Map(),
    results: new Map(),
    refuse: new Map(),
    print: (name, line) =>
      void get(name).output.push({ at: new Date().toISOString().replace("Z", "000Z"), stream: "stdout", line }),
    exit(name, exitCode, { oomKilled = false, files = {} } = {}) {
      Object.assign(get(name), { oomKilled, files });
      stop(name, exitCode);
    },
    engine: {
      ensureNetworks: async () => [{ bridge: "flynnb0", subnet: "172.30.0.0/16" }],
      inspectImage: async () => ({ id: "sha256:1", user: "root", env: {}, labels: {}, onBuild: [], sizeBytes: 1 }),
      tagImage: async () => undefined,
      async createContainer(spec) {
        const empty = { running: false, started: false, exitCode: 0, oomKilled: false, input: Buffer.alloc(0) };
        containers.set(spec.name, { spec, ...empty, output: [], files: {} });
      },
      async put(name, archive) {
        get(name).input = await buffer(archive);
      },
      async get(name, path) {
        const content = get(name).files[path];
        if (content === undefined) throw new Fault("not-found", path);
        const archive = pack();
        archive.entry({ name: path }, content);
        archive.finalize();
        return Readable.from(archive as AsyncIterable<Buffer>);
      },
      async state(name) {
        const found = containers.get(name);
        return found && { running: found.running, exitCode: found.exitCode, oomKilled: found.oomKilled, error: "" };
      },
      writtenBytes: async () => fake.written,
      buildSteps: async () => [],
      limitPids: async () => undefined,
      async *build() {},
      async *outOfMemory() {},
      async loadImage(archive) {
        for await (const _ of archive);
      },
      pushImage: async () => undefined,
      saveImage: async () => Readable.from([]),
      removeImage: async () => undefined,
      images: async () => [],
      containers: async () => [...containers.values()].map(({ spec: { name, labels } }) => ({ name, labels })),
      ensureVolume: async (name, labels) => void fake.volumes.set(name, labels),
      volumes: async () => [...fake.volumes].map(([name, labels]) => ({ name, labels, path: `/${name}` })),
      removeVolume: async (name) => void fake.volumes.delete(name),
    },
    jobEngine: {
      pull: async () => undefined,
      start: async (name) => void Object.assign(get(name), { running: true, started: true }),
      signal: async (name) => void stop(name, 137),
      remove: async (name) => void containers.delete(name),
      async *log(name, { signal }) {
        const found = get(name);
        for (let read = 0; ; ) {
          for (const entry of found.output.slice(read)) {
            read++;
            yield entry;
          }
          if (!found.running) return;
          const more = () => signal.aborted || found.output.length > read || !found.running;
          await until(more, { what: "more output", timeoutMs: 60_000, everyMs: 1 });
          if (signal.aborted) return;
        }
      },
    },
    client: {
      call: (async (
        endpoint: { id: string },
        input: { params: { build: string }; body?: unknown; upload?: Readable },
      ): Promise<unknown> => {
        const refusal = fake.refuse.get(endpoint.id);
        if (refusal) throw refusal;
        const { build } = input.params;
        if (endpoint.id === hostBuildLog.id) {
          const text = (fake.logs.get(build) ?? "") + (input.body as { text: string }).text;
          fake.logs.set(build, text);
          return { offset: Buffer.byteLength(text) };
        }
        if (endpoint.id === hostBuildSlug.id) fake.slugs.set(build, await buffer(input.upload!));
        if (endpoint.id === hostBuildResult.id) fake.results.set(build, input.body as BuildResult);
        return {};
      }) as never,
      download: (async () => Readable.from([fake.source])) as never,
    },
  };
  return fake;
}
