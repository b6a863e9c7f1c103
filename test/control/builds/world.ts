// A cluster to build in: the rig with a stack, hosts whose builds do what a test says, and archives to send.
import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { gzipSync } from "node:zlib";
import * as tar from "tar-stream";
import { createApp } from "#api/apps.ts";
import * as api from "#api/builds.ts";
import { isFault } from "#api/fault.ts";
import { retry } from "#lib/retry.ts";
import { every, until } from "#lib/time.ts";
import { keys } from "../../../control/keys.ts";
import { type FakeHost, type Rig, rig } from "../rig.ts";

export type Files = Record<string, string | Buffer>;

/** A tar archive of these files; `name -> target` is a symlink. */
export async function archive(files: Files, over: (header: { name: string }) => object = () => ({})): Promise<Buffer> {
  const pack = tar.pack();
  for (const [name, content] of Object.entries(files)) {
    const [link, target] = name.split(" -> ");
    const header = { name: link!, mtime: new Date(0), mode: 0o644, ...over({ name }) };
    if (target === undefined) pack.entry(header, content);
    else pack.entry({ ...header, type: "symlink", linkname: target });
  }
  pack.finalize();
  return buffer(pack as unknown as Readable);
}

export const slugOf = async (files: Files = { "app/": "", "app/server.js": "1" }): Promise<Buffer> =>
  gzipSync(await archive(files));

export interface Script {
  output?: string;
  /** What it sends; a slug by default. */
  slug?: Buffer | undefined;
  image?: Buffer;
  result?: Partial<api.BuildResult>;
  /** Awaited with the job running, before anything is sent. */
  during?: (spec: api.BuildSpec) => Promise<void>;
  /** Says nothing more after `during`: a host that dies. */
  silent?: boolean;
}

export interface BuildHost extends FakeHost {
  specs: api.BuildSpec[];
  sources: Buffer[];
  /** What builds here do from now on. */
  script: (spec: api.BuildSpec) => Script | Promise<Script>;
  /** Errors of builds on it. */
  failures: unknown[];
  /** Exit code of its jobs that run once. */
  taskExit: number;
}

export async function buildHost(control: Rig, name?: string): Promise<BuildHost> {
  const host = Object.assign(await control.host(name), {
    specs: [] as api.BuildSpec[],
    sources: [] as Buffer[],
    script: () => ({ output: "-----> Node.js app detected\n" }),
    failures: [] as unknown[],
    taskExit: 0,
  }) as BuildHost;
  const run = async (spec: api.BuildSpec) => {
    const params = { id: host.id, build: spec.id };
    // As hostd does: what was asked or said while control was restarted, is again. A break in a body is no Fault.
    const told = <T>(say: () => Promise<T>) =>
      retry(say, { attempts: 10, retryable: (error) => !isFault(error) || error.retry });
    const script = await host.script(spec);
    const { output = "", image, result = {} } = script;
    const slug = "slug" in script ? script.slug : image || result.exitCode ? undefined : await slugOf();
    const fetched = async () => buffer(await host.client.download(api.hostBuildSource, { params }));
    host.sources.push(await told(fetched));
    await script.during?.(spec);
    if (script.silent) return;
    await told(() => host.client.call(api.hostBuildLog, { params, body: { offset: 0, text: output } }));
    if (slug) await told(() => host.client.call(api.hostBuildSlug, { params, upload: Readable.from([slug]) }));
    if (image) await told(() => host.client.call(api.hostBuildImage, { params, upload: Readable.from([image]) }));
    const body = { exitCode: 0, reason: "", processes: { web: "node server.js" }, detected: "Node.js", ...result };
    await told(() => host.client.call(api.hostBuildResult, { params, body }));
    host.states.set(spec.jobId, { state: "down", exitCode: body.exitCode });
  };
  const seen = new Set<string>();
  const start = host.start.bind(host);
  const stop = host.stop.bind(host);
  let done = new AbortController();
  let watching: Promise<unknown> = Promise.resolve();
  host.start = () => {
    start();
    done = new AbortController();
    const { signal } = done;
    const watch = async () => {
      for await (const _ of every(10, signal)) {
        for (const { id, task } of host.target?.jobs ?? [])
          if (task !== undefined) host.states.set(id, { state: "down", exitCode: host.taskExit });
        for (const spec of host.target?.builds ?? []) {
          if (seen.has(spec.jobId) || spec.desired === "stop") continue;
          seen.add(spec.jobId);
          host.specs.push(spec);
          // A build that was ended is told `not-found`; what a test expects of one, it looks at itself.
          run(spec).catch((error: unknown) => host.failures.push(error));
        }
      }
    };
    watching = watch();
  };
  host.stop = async () => {
    done.abort();
    await watching;
    await stop();
  };
  return host;
}

export interface World {
  control: Rig;
  host: BuildHost;
  create(name: string): Promise<void>;
  send(app: string, source: Buffer | Files, options?: { commit?: string }): Promise<api.Build>;
  build(app: string, id: string): Promise<api.Build>;
  ended(app: string, id: string): Promise<api.Build>;
  reaches(app: string, id: string, state: api.Build["state"]): Promise<api.Build>;
  log(app: string, id: string): Promise<string>;
}

export const NODE_APP: Files = { Procfile: "web: node server.js\n", "server.js": "1", "package.json": "{}" };
const DIGEST = `sha256:${"a".repeat(64)}`;

export async function withWorld(
  body: (world: World) => Promise<void>,
  options: Parameters<typeof rig>[0] = {},
): Promise<void> {
  const control = await rig(options);
  try {
    const image = (repository: string) => ({ repository, digest: DIGEST });
    const [builder, runner] = [image("stack/builder"), image("stack/runner")];
    const stack = { name: "flynn-24", builder, runner, createdAt: "", superseded: [] };
    await control.store.commit({ actor: "test", mutations: [{ key: keys.stack, value: stack }] });
    const host = await buildHost(control, "h1");
    host.start();
    await control.router();
    const get = (app: string, id: string) => control.admin.call(api.getBuild, { params: { app, id } });
    const reaches = (app: string, id: string, states: readonly string[]) =>
      until<api.Build | undefined>(
        async () => {
          const build = await get(app, id);
          return states.includes(build.state) ? build : undefined;
        },
        { what: `build ${id} being ${states.join(" or ")}`, timeoutMs: 20_000, everyMs: 20 },
      );
    await body({
      control,
      host,
      create: async (name) => void (await control.admin.call(createApp, { body: { name } })),
      send: async (app, source, { commit } = {}) =>
        control.admin.call(api.createBuild, {
          params: { app },
          query: commit === undefined ? {} : { commit },
          upload: Readable.from([Buffer.isBuffer(source) ? source : await archive(source)]),
        }),
      build: get,
      ended: (app, id) => reaches(app, id, ["succeeded", "failed", "cancelled"]),
      reaches: (app, id, state) => reaches(app, id, [state]),
      log: async (app, id) => (await control.admin.call(api.buildLog, { params: { app, id } })).text,
    });
  } finally {
    await control.close();
  }
}

/** The text of a log stream to its end. */
export async function followed(control: Rig, app: string, id: string): Promise<string> {
  const chunks: string[] = [];
  for await (const { data } of control.admin.stream(api.buildLog, { params: { app, id } }))
    if (data && "text" in data) chunks.push(data.text);
  return chunks.join("");
}

/** What `docker save` writes for an image with an entrypoint, of one layer. */
export async function runnerArchive(): Promise<Buffer> {
  const layer = await archive({ "flynn/start": "#!/bin/sh\n" });
  const config = Buffer.from(
    JSON.stringify({
      architecture: "amd64",
      os: "linux",
      config: { Entrypoint: ["/flynn/start"], User: "app", Env: ["PATH=/usr/bin", "HOME=/app"] },
      rootfs: { type: "layers", diff_ids: [`sha256:${createHash("sha256").update(layer).digest("hex")}`] },
      history: [{ created_by: "runner" }],
    }),
  );
  const manifest = JSON.stringify([{ Config: "config.json", RepoTags: ["runner:1"], Layers: ["layer.tar"] }]);
  return archive({ "config.json": config, "layer.tar": layer, "manifest.json": manifest });
}
