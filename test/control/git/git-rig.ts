// A control with git on an API of its own, a stand-in for builds that a test holds or lets go, and real git clients over loopback.
import { spawn } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { request } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { gzipSync } from "node:zlib";
import { type App, createApp, type Release } from "#api/apps.ts";
import type { Build } from "#api/builds.ts";
import { createClient } from "#api/client.ts";
import { newId } from "#lib/ids.ts";
import { silentLog } from "#lib/log.ts";
import { every, until } from "#lib/time.ts";
import { apiServer } from "../../../control/api-server.ts";
import type { ControlConfig } from "../../../control/config.ts";
import { pktLine } from "../../../control/git/commands.ts";
import type { PushBuilds } from "../../../control/git/deploy.ts";
import { createGit, type Git } from "../../../control/git/git.ts";
import { LIMITS, type Limits } from "../../../control/git/limits.ts";
import { openAuthority } from "../../../control/identity/authority.ts";
import { keys } from "../../../control/keys.ts";
import { mountGit } from "../../../control/routes/git.ts";
import { mountKeys } from "../../../control/routes/keys.ts";
import type { Store } from "../../../control/store/store.ts";
import type { ControlParts } from "../../../control/wiring/context.ts";
import { type Rig, rig } from "../rig.ts";

export interface FakeBuild {
  build: Build;
  /** Bytes of the archive. */
  archive: Buffer;
  packedBytes?: number;
  log: string;
  /** What asks the push before anything is deployed; gone with the control that made it. */
  admit: (() => Promise<void>) | undefined;
  write(text: string): void;
  end(state: "succeeded" | "failed" | "cancelled"): Promise<void>;
}

export interface FakeBuilds extends PushBuilds {
  made: FakeBuild[];
  /** How builds end by themselves; undefined: the test ends them. */
  auto: "succeeded" | "failed" | undefined;
}

export function fakeBuilds(store: Store): FakeBuilds {
  const put = (build: Build) =>
    store.commit({ actor: "test", mutations: [{ key: keys.build(build.appId, build.id), value: build }] });
  const builds: FakeBuilds = {
    made: [],
    auto: "succeeded",
    async create({ appId, source, type, commit, ref, by, packedBytes, admit }) {
      const archive = await buffer(source);
      const number = builds.made.length + 1;
      const app = store.get<App>(keys.app(appId))!.value;
      const build: Build = {
        id: newId("build"),
        appId,
        app: app.name,
        number,
        state: "building",
        reason: "",
        source: {
          type,
          ...(commit ? { commit } : {}),
          ...(ref ? { ref } : {}),
          sha256: "0".repeat(64),
          sizeBytes: archive.length,
        },
        createdBy: by,
        createdAt: new Date().toISOString(),
      };
      const one: FakeBuild = {
        build,
        archive,
        ...(packedBytes === undefined ? {} : { packedBytes }),
        admit,
        log: `-----> Building ${app.name}\n`,
        write(text) {
          one.log += text;
        },
        async end(wanted) {
          const refused = wanted === "succeeded" ? await one.admit?.().then(() => undefined, String) : undefined;
          const state = refused === undefined ? wanted : "failed";
          if (refused !== undefined) one.log += ` !     ${refused}\n`;
          else one.log += state === "succeeded" ? "=====> Application deployed\n" : " !     it does not compile\n";
          one.build = { ...one.build, state };
          if (state === "succeeded") {
            const release: Release = {
              id: newId("release"),
              appId,
              version: number,
              artifactId: `artifact-${number}`,
              processes: { web: { port: 8080 } },
              env: {},
              description: "",
              ...(commit ? { commit } : {}),
              buildId: build.id,
              createdAt: build.createdAt,
              createdBy: by,
            };
            one.build = { ...one.build, artifactId: `artifact-${number}`, releaseId: release.id };
            const now = store.get<App>(keys.app(appId))!.value;
            await store.commit({
              actor: "test",
              mutations: [
                { key: keys.release(appId, release.id), value: release },
                { key: keys.app(appId), value: { ...now, releaseId: release.id } },
              ],
            });
          }
          await put(one.build);
        },
      };
      await put(build);
      builds.made.push(one);
      if (builds.auto) await one.end(builds.auto);
      return build;
    },
    get: (_appId, id) => builds.made.find(({ build }) => build.id === id)?.build,
    async *follow(_appId, id, { offset = 0, signal }) {
      const one = builds.made.find(({ build }) => build.id === id)!;
      let at = offset;
      for await (const _ of every(10, signal)) {
        const over = one.build.state !== "building";
        const text = one.log.slice(at);
        yield { offset: at, text };
        at += text.length;
        if (over) return;
      }
    },
  };
  return builds;
}

export interface Ran {
  code: number | null;
  out: string;
  err: string;
}

export interface GitRig {
  rig: Rig;
  git: Git;
  builds: FakeBuilds;
  stateDir: string;
  home: string;
  url: string;
  caFile: string;
  client: ReturnType<typeof createClient>;
  app(name: string, over?: Partial<App>): Promise<App>;
  /** https://x:TOKEN@host:port/git/NAME.git */
  remote(name: string, token?: string): string;
  repository(name: string): string;
  /** A work tree with one commit on main. */
  work(name: string, files?: Record<string, string>): Promise<string>;
  commit(directory: string, files: Record<string, string>): Promise<string>;
  run(argv: string[], options?: { cwd?: string; env?: NodeJS.ProcessEnv; timeoutMs?: number }): Promise<Ran>;
  /** git -C directory ARGS */
  gitIn(directory: string, ...args: string[]): Promise<Ran>;
  /** In the background; `vanish` kills it with all its children. */
  start(argv: string[], cwd: string): ReturnType<typeof spawn> & { text: () => string; vanish: () => void };
  /** Control's git ended and begun again over the same state. */
  restart(): Promise<void>;
  close(): Promise<void>;
}

export async function gitRig(
  over: Partial<ControlConfig> &
    Partial<Pick<Limits, "silentMs" | "packBytes">> & { readDisk?: ControlParts["readDisk"] } = {},
): Promise<GitRig> {
  const { silentMs = LIMITS.silentMs, packBytes = LIMITS.packBytes, readDisk, ...settings } = over;
  const base = await rig({ loops: false, ...(readDisk ? { readDisk } : {}) });
  const directory = await mkdtemp(join(tmpdir(), "git-test-"));
  const stateDir = join(directory, "state");
  const home = join(directory, "home");
  await mkdir(home);
  const caFile = join(directory, "ca.pem");
  await writeFile(caFile, base.caPem);
  await writeFile(
    join(home, ".gitconfig"),
    '[user]\n\tname = t\n\temail = t@example.com\n[init]\n\tdefaultBranch = main\n[protocol "file"]\n\tallow = always\n',
  );
  const authority = await openAuthority(join(base.directory, "ca"));
  const identity = await authority.issueControl(["127.0.0.1"]);
  const config = { ...base.config, stateDir, ...settings };
  const it = { rig: base, stateDir, home, caFile, builds: fakeBuilds(base.store) } as GitRig;
  const env = {
    PATH: process.env["PATH"],
    HOME: home,
    GIT_SSL_CAINFO: caFile,
    GIT_TERMINAL_PROMPT: "0",
    LC_ALL: "C.UTF-8",
  };
  let port = 0;
  let api: ReturnType<typeof apiServer> | undefined;
  let stopped = new AbortController();
  let ended: Promise<void> = Promise.resolve();

  const begin = async () => {
    it.git = createGit({ ...base.control.context, log: silentLog(), config }, it.builds, { silentMs, packBytes });
    api = apiServer(base.control.context, identity);
    mountKeys(api.mount, it.git.keys);
    mountGit(api.mount, base.store, it.git);
    it.git.mount(api.app);
    await api.app.listen({ host: "127.0.0.1", port });
    port = (api.app.server.address() as AddressInfo).port;
    it.url = `https://127.0.0.1:${port}`;
    stopped = new AbortController();
    ended = it.git.run(stopped.signal);
    it.client = createClient({ urls: [it.url], caPem: base.caPem, token: base.token });
  };
  const end = async () => {
    it.client.close();
    stopped.abort();
    await ended;
    await it.git.close();
    await api!.app.close();
  };

  Object.assign(it, {
    async app(name, more = {}) {
      const made = await base.admin.call(createApp, { body: { name } });
      const value = { ...made, ...more };
      await base.store.commit({ actor: "test", mutations: [{ key: keys.app(made.id), value }] });
      return value;
    },
    remote: (name, token = base.token) => `https://x:${token}@127.0.0.1:${port}/git/${name}.git`,
    repository: (name) => join(stateDir, "git", `${base.store.get<string>(keys.appName(name))!.value}.git`),
    async work(name, files = { "index.html": "hello\n" }) {
      const path = join(directory, name);
      await mkdir(path);
      await it.gitIn(path, "init", "--quiet", "--initial-branch=main");
      await it.commit(path, files);
      return path;
    },
    async commit(path, files) {
      for (const [name, text] of Object.entries(files)) {
        await mkdir(join(path, name, ".."), { recursive: true });
        await writeFile(join(path, name), text);
      }
      await it.gitIn(path, "add", "-A");
      const made = await it.gitIn(path, "commit", "--quiet", "-m", "change");
      if (made.code !== 0) throw new Error(made.err);
      return (await it.gitIn(path, "rev-parse", "HEAD")).out.trim();
    },
    run: (argv, { cwd = directory, env: more = {}, timeoutMs = 60_000 } = {}) =>
      new Promise<Ran>((resolve, reject) => {
        const child = spawn(argv[0]!, argv.slice(1), {
          cwd,
          env: { ...env, ...more },
          stdio: ["ignore", "pipe", "pipe"],
        });
        const ran: Ran = { code: null, out: "", err: "" };
        const timer = setTimeout(() => child.kill("SIGKILL"), timeoutMs);
        child.stdout.on("data", (chunk) => (ran.out += chunk));
        child.stderr.on("data", (chunk) => (ran.err += chunk));
        child.once("error", reject);
        child.once("close", (code) => {
          clearTimeout(timer);
          resolve({ ...ran, code });
        });
      }),
    gitIn: (path, ...args) => it.run(["git", "-C", path, ...args]),
    start(argv, cwd) {
      const child = spawn(argv[0]!, argv.slice(1), { cwd, env, stdio: ["ignore", "pipe", "pipe"], detached: true });
      let text = "";
      child.stdout.on("data", (chunk) => (text += chunk));
      child.stderr.on("data", (chunk) => (text += chunk));
      return Object.assign(child, { text: () => text, vanish: () => void process.kill(-child.pid!, "SIGKILL") });
    },
    async restart() {
      await end();
      for (const one of it.builds.made) one.admit = undefined;
      await begin();
    },
    async close() {
      await end();
      await base.close();
      await rm(directory, { recursive: true, force: true });
    },
  } satisfies Partial<GitRig>);
  await begin();
  return it;
}

export const head = async (it: GitRig, name: string, ref = "refs/heads/main"): Promise<string> =>
  (await it.run(["git", `--git-dir=${it.repository(name)}`, "rev-parse", "--verify", "--quiet", ref])).out.trim();

export const eventually = (what: string, probe: () => unknown | Promise<unknown>): Promise<unknown> =>
  until(probe as () => Promise<unknown>, { what, timeoutMs: 20_000, everyMs: 20 });

export interface RawPush {
  app: string;
  /** `OLD NEW REF` each; the first gets the capabilities. */
  lines: string[];
  /** Commits that the client says its history ends with. */
  shallow?: string[];
  pack?: Buffer;
  gzip?: boolean;
  /** Each piece of the answer as it comes. */
  onChunk?: (chunk: Buffer) => void;
}

/** A push as no git client makes it: the answer's chunks as they come, until it ends. */
export async function rawPush(
  it: GitRig,
  { app, lines, shallow = [], pack = Buffer.alloc(0), gzip = false, onChunk }: RawPush,
): Promise<{ status: number; continued: boolean; chunks: Buffer[] }> {
  const head = lines.map((line, n) => pktLine(Buffer.from(n === 0 ? `${line}\0report-status side-band-64k` : line)));
  const ends = shallow.map((oid) => pktLine(Buffer.from(`shallow ${oid}\n`)));
  const plain = Buffer.concat([...ends, ...head, Buffer.from("0000"), pack]);
  const body = gzip ? gzipSync(plain) : plain;
  return new Promise((resolve, reject) => {
    let continued = false;
    const req = request(`${it.url}/git/${app}.git/git-receive-pack`, {
      method: "POST",
      ca: it.rig.caPem,
      auth: `x:${it.rig.token}`,
      headers: {
        "content-type": "application/x-git-receive-pack-request",
        "content-length": body.length,
        expect: "100-continue",
        ...(gzip ? { "content-encoding": "gzip" } : {}),
      },
    });
    req.on("error", reject);
    req.on("continue", () => {
      continued = true;
      req.end(body);
    });
    req.on("response", (reply) => {
      const chunks: Buffer[] = [];
      reply.on("error", reject).on("data", (chunk: Buffer) => {
        chunks.push(chunk);
        onChunk?.(chunk);
      });
      reply.on("end", () => resolve({ status: reply.statusCode!, continued, chunks }));
    });
  });
}

/** The pack of everything a commit of a work tree reaches, and the commit. */
export async function packOf(it: GitRig, directory: string): Promise<{ oid: string; pack: Buffer }> {
  const oid = (await it.gitIn(directory, "rev-parse", "HEAD")).out.trim();
  const file = `${directory}.pack`;
  const script = 'printf "%s" "$2" | git -C "$1" pack-objects --stdout --revs --quiet > "$3"';
  const made = await it.run(["sh", "-c", script, "sh", directory, oid, file]);
  if (made.code !== 0) throw new Error(made.err);
  return { oid, pack: await readFile(file) };
}
