// A cluster host of the lab: network, pid and mount namespaces with a dockerd of their own. Its power cut is the kill of
// its pid 1, which takes Docker, the containers and all else inside with it at once, as unplugging a machine does.
import { mkdir, rm } from "node:fs/promises";
import { request } from "node:http";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type ExecOptions, type ExecResult, exec } from "#lib/exec.ts";
import { readText } from "#lib/files.ts";
import { until } from "#lib/time.ts";
import { signal } from "./leftovers.ts";
import type { Lan, Port } from "./network.ts";
import { type Running, type SpawnOptions, start } from "./process.ts";
import type { Scope } from "./scope.ts";

export interface DockerHost extends Port {
  readonly name: string;
  readonly ip: string;
  readonly namespace: string;
  /** The host's Docker socket as seen from outside; inside it is /run/docker.sock as everywhere. */
  readonly dockerSocket: string;
  /** Kept over a power cut: what a state disk would hold. */
  readonly folder: string;
  /** Becomes /etc/docker inside, with certs.d. */
  readonly dockerConfigFolder: string;
  /** Runs argv inside the host (network, mounts, pids). */
  exec(argv: readonly string[], options?: ExecOptions): Promise<ExecResult>;
  spawn(argv: readonly string[], options?: SpawnOptions): Promise<Running>;
  /** SIGKILL to everything on the host; its network interfaces vanish. */
  powerCut(): Promise<void>;
  /** Boots again. `fresh`: Docker's storage was in RAM and is empty. */
  powerOn(options?: { fresh?: boolean }): Promise<void>;
  /** Another address on the LAN: at once, or from the next start on when it is off. */
  readdress(ip: string): Promise<void>;
  /** kill -9 of dockerd alone: containers run on. */
  killDocker(): Promise<void>;
  /** Without live-restore it ends at its start what ran before. */
  startDocker(options?: { liveRestore?: boolean }): Promise<void>;
  /** dockerd is there and does not answer; containers run on. */
  hangDocker(): Promise<void>;
  resumeDocker(): Promise<void>;
  docker(method: string, path: string, body?: unknown): Promise<{ status: number; body: string }>;
}

const INIT = fileURLToPath(new URL("host-init.sh", import.meta.url));

export async function startDockerHost(scope: Scope, lan: Lan, name: string, ip: string): Promise<DockerHost> {
  const plug = await lan.host(name, ip);
  const folder = join(scope.folder, name);
  const dockerConfigFolder = join(folder, "etc-docker");
  const dockerSocket = join(folder, "docker.sock");
  const cgroup = `${scope.id}-${name}`;
  await mkdir(dockerConfigFolder, { recursive: true });
  scope.keep({ kind: "folder", path: folder });
  scope.keep({ kind: "cgroup", name: cgroup });
  const state: { init?: Running; dockerd?: Running } = {};

  const inside = () => {
    if (state.init === undefined || !state.init.isRunning()) throw new Error(`lab host ${name} is off`);
    return ["nsenter", `--target=${state.init.pid}`, "--mount", "--net", "--pid", "--"];
  };
  const run = (argv: readonly string[], options?: ExecOptions) =>
    exec([...inside(), ...argv], { signal: scope.signal, ...options });
  const spawnInside = (argv: readonly string[], options?: SpawnOptions) =>
    start(scope, argv, { name: `${name}-${argv[0]?.split("/").at(-1)}`, ...options }, { argv: inside(), forks: true });

  const boot = async () => {
    await rm(join(folder, "up"), { force: true });
    await rm(dockerSocket, { force: true });
    const namespaces = [
      "nsenter",
      `--net=/run/netns/${plug.namespace}`,
      "--",
      "unshare",
      "--mount",
      "--pid",
      "--fork",
      "--kill-child",
      "--mount-proc",
      "--",
    ];
    // pid 1 does not die of SIGTERM: no grace.
    const init = await start(
      scope,
      ["busybox", "sh", INIT, folder, plug.mac],
      { name: `${name}-init`, graceMs: 0 },
      { argv: namespaces, forks: true },
    );
    state.init = init;
    const isUp = async () => {
      if (!init.isRunning()) return { failed: true };
      return (await readText(join(folder, "up"))) === undefined ? undefined : { failed: false };
    };
    const { failed } = await until(isUp, { what: `boot of ${name}`, timeoutMs: 30_000, everyMs: 10 });
    if (failed) throw new Error(`lab host ${name} did not boot: ${init.output()}`);
  };

  const startDocker = async ({ liveRestore = true } = {}) => {
    const dockerd = await spawnInside(
      [
        "dockerd",
        `--data-root=${join(folder, "docker")}`,
        `--host=unix://${dockerSocket}`,
        "--host=unix:///run/docker.sock",
        "--bridge=none",
        `--live-restore=${liveRestore}`,
        "--storage-driver=overlay2",
        "--exec-opt=native.cgroupdriver=cgroupfs",
        `--cgroup-parent=/${cgroup}`,
      ],
      { name: `${name}-dockerd` },
    );
    state.dockerd = dockerd;
    const answers = async () => {
      if (!dockerd.isRunning()) return { ended: true };
      return (await docker("GET", "/_ping")).status === 200 ? { ended: false } : undefined;
    };
    const { ended } = await until(answers, {
      what: `Docker of ${name}`,
      timeoutMs: 20_000,
      everyMs: 25,
      signal: scope.signal,
    });
    if (ended) throw new Error(`dockerd of ${name} ended: ${dockerd.output().slice(-2_000)}`);
  };
  const docker = (method: string, path: string, body?: unknown) => call(dockerSocket, method, path, body);

  await boot();
  await startDocker();
  return {
    name,
    ip,
    namespace: plug.namespace,
    dockerSocket,
    folder,
    dockerConfigFolder,
    cut: plug.cut,
    heal: plug.heal,
    exec: run,
    spawn: spawnInside,
    async powerCut() {
      await state.init?.kill("SIGKILL");
      await plug.remove();
    },
    async powerOn({ fresh = false } = {}) {
      if (state.init?.isRunning()) throw new Error(`lab host ${name} is on`);
      if (fresh) await rm(join(folder, "docker"), { recursive: true, force: true });
      await plug.restore();
      await boot();
      await startDocker();
    },
    readdress: plug.readdress,
    async killDocker() {
      await state.dockerd?.kill("SIGKILL");
    },
    startDocker,
    async hangDocker() {
      await state.dockerd?.kill("SIGSTOP");
    },
    async resumeDocker() {
      // nsenter stops when its child does: the whole group is to go on.
      const stat = (await readText(`/proc/${state.dockerd?.pid}/stat`)) ?? "";
      const group = Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[2]);
      if (group > 1) signal(-group, "SIGCONT");
    },
    docker,
  };
}

function call(
  socketPath: string,
  method: string,
  path: string,
  body: unknown,
): Promise<{ status: number; body: string }> {
  const text = body === undefined ? undefined : JSON.stringify(body);
  return new Promise((resolve, reject) => {
    const headers =
      text === undefined ? {} : { "content-type": "application/json", "content-length": Buffer.byteLength(text) };
    const asked = request({ socketPath, method, path, headers, timeout: 30_000 }, (answer) => {
      const chunks: Buffer[] = [];
      answer.on("data", (chunk: Buffer) => chunks.push(chunk));
      answer.on("end", () => resolve({ status: answer.statusCode ?? 0, body: Buffer.concat(chunks).toString("utf8") }));
      answer.on("error", reject);
    });
    asked.on("timeout", () => asked.destroy(new Error(`${method} ${path} took longer than 30 s`)));
    asked.on("error", reject);
    asked.end(text);
  });
}
