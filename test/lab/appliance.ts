// The real appliance in a lab: `flynn up` in the LAN's namespace, the CLI and the API beside it, and Docker hosts that join it.
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { type ExecOptions, ExecError, exec } from "#lib/exec.ts";
import { readJson, readText } from "#lib/files.ts";
import { until } from "#lib/time.ts";
import { type DockerHost, startDockerHost } from "./docker-host.ts";
import { type Lan, openLan } from "./network.ts";
import type { Running } from "./process.ts";
import type { Scope } from "./scope.ts";

const TREE = fileURLToPath(new URL("../..", import.meta.url));

export interface ApplianceOptions {
  /** More flags of `flynn up`. */
  flags?: readonly string[];
  stateDir?: string;
}

export interface Appliance {
  readonly lan: Lan;
  readonly stateDir: string;
  readonly address: string;
  up: Running;
  /** Runs the CLI as a user would; throws ExecError when it exits other than 0. */
  flynn(argv: readonly string[], options?: ExecOptions): Promise<string>;
  /** Exit code and output, whatever they are. */
  tryFlynn(argv: readonly string[], options?: ExecOptions): Promise<{ code: number; stdout: string; stderr: string }>;
  /** One API call with the admin token, from inside the LAN. */
  api<T = unknown>(method: string, path: string, body?: unknown): Promise<{ status: number; body: T }>;
  /** Pid of a part (`control`, `router`, `registry`, ...), as `flynn up` has it now. */
  pidOf(part: string): Promise<number>;
  /** kill -9 of a part; resolves with its old pid. */
  kill9(part: string): Promise<number>;
  /** kill -9 of `flynn up` and every part at once; HAProxy too when `power` is cut. */
  killAll(): Promise<void>;
  /** Starts `flynn up` again on the same state. */
  start(): Promise<void>;
  /** GET through the router with this Host header. */
  get(host: string, path?: string): Promise<{ status: number; body: string }>;
}

export async function startAppliance(scope: Scope, options: ApplianceOptions = {}): Promise<Appliance> {
  const lan = await openLan(scope);
  const stateDir = options.stateDir ?? join(scope.folder, "state");
  const home = join(scope.folder, "home");
  const env = { ...process.env, FLYNN_HOME: home, NO_COLOR: "1" };
  await mkdir(home, { recursive: true });
  const cli = [process.execPath, join(TREE, "cli/main.ts")];
  const tryFlynn: Appliance["tryFlynn"] = async (argv, execOptions) => {
    try {
      const { stdout, stderr } = await lan.exec([...cli, ...argv], { timeoutMs: 180_000, env, ...execOptions });
      return { code: 0, stdout, stderr };
    } catch (error) {
      if (error instanceof ExecError && error.exitCode !== undefined) return { code: error.exitCode, stdout: error.stdout, stderr: error.stderr };
      throw error;
    }
  };
  const start = async () => {
    appliance.up = await lan.spawn([...cli, "up", "--state", stateDir, "--address", lan.ip, "--no-host", ...(options.flags ?? [])], { name: "flynn-up", env, graceMs: 30_000 });
    await appliance.up.waitFor(/the appliance is up/, 90_000);
  };
  const pids = () => exec(["ip", "netns", "pids", lan.namespace]).then(({ stdout }) => stdout.split("\n").filter(Boolean).map(Number));
  const appliance: Appliance = {
    lan,
    stateDir,
    address: lan.ip,
    up: undefined as never,
    tryFlynn,
    flynn: async (argv, execOptions) => (await lan.exec([...cli, ...argv], { timeoutMs: 180_000, env, ...execOptions })).stdout,
    async api(method, path, body) {
      const { clusters } = (await readJson<{ clusters: { token: string }[] }>(join(home, "clusters.json")))!;
      const bodyFile = join(scope.folder, `body-${Math.random().toString(36).slice(2)}.json`);
      if (body !== undefined) await writeFile(bodyFile, JSON.stringify(body));
      const argv = ["curl", "-sS", "-m", "30", "--cacert", join(stateDir, "control/pki/ca.pem"), "--resolve", `control.flynn.internal:7777:${lan.ip}`, "-X", method, "-H", `Authorization: Bearer ${clusters[0]!.token}`, "-w", "\n%{http_code}"];
      if (body !== undefined) argv.push("-H", "content-type: application/json", "--data-binary", `@${bodyFile}`);
      const { stdout } = await lan.exec([...argv, `https://control.flynn.internal:7777${path}`]);
      const end = stdout.lastIndexOf("\n");
      return { status: Number(stdout.slice(end + 1)), body: JSON.parse(stdout.slice(0, end) || "null") };
    },
    async pidOf(part) {
      const kept = await readJson<{ pid: number }>(join(stateDir, "run", `${part}.pid.json`));
      if (kept === undefined) throw new Error(`${part} does not run`);
      return kept.pid;
    },
    async kill9(part) {
      const pid = await appliance.pidOf(part);
      process.kill(pid, "SIGKILL");
      return pid;
    },
    async killAll() {
      for (const pid of await pids()) {
        try {
          process.kill(pid, "SIGKILL");
        } catch {}
      }
      await until(async () => (await pids()).length === 0, { what: "the end of the appliance", timeoutMs: 10_000 });
    },
    start,
    async get(host, path = "/") {
      const { stdout } = await lan.exec(["curl", "-sS", "-m", "5", "-H", `Host: ${host}`, "-w", "\n%{http_code}", `http://${lan.ip}${path}`]);
      const end = stdout.lastIndexOf("\n");
      return { status: Number(stdout.slice(end + 1)), body: stdout.slice(0, end) };
    },
  };
  await start();
  return appliance;
}

export interface ClusterHost extends DockerHost {
  hostd: Running;
  /** Starts hostd inside the host; joins with a fresh token unless it has an identity. */
  startHostd(): Promise<void>;
}

/** A Docker host with hostd inside, joined to the appliance and ready. */
export async function addHost(scope: Scope, appliance: Appliance, n: number): Promise<ClusterHost> {
  const name = `h${n}`;
  const docker = await startDockerHost(scope, appliance.lan, name, `10.77.0.${10 + n}`);
  const { body } = await appliance.api<{ token: string }>("POST", "/v1/join-tokens", { role: "host" });
  const configFile = join(docker.folder, "hostd.json");
  const caPem = await readFile(join(appliance.stateDir, "control/pki/ca.pem"), "utf8");
  await writeFile(configFile, JSON.stringify({ controlUrls: [`https://${appliance.address}:7777`], caPem, joinToken: body.token, name, stateDir: join(docker.folder, "hostd") }));
  const host: ClusterHost = Object.assign(docker, {
    hostd: undefined as never as Running,
    async startHostd() {
      host.hostd = await docker.spawn([process.execPath, join(TREE, "hostd/main.ts"), "run", "--config", configFile], { name: `${name}-hostd` });
    },
  });
  await host.startHostd();
  await until(async () => (await appliance.api<{ state: string }>("GET", `/v1/hosts/${name}`)).body.state === "ready", {
    what: `host ${name} being ready`,
    timeoutMs: 60_000,
  }).catch(async (cause: unknown) => {
    throw new Error(`host ${name} did not become ready; hostd says: ${(await readText(host.hostd.outputFile))?.slice(-1500)}`, { cause });
  });
  return host;
}
