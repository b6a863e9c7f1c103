// The real appliance in a lab: `flynn up` in the LAN's namespace, the CLI and the API beside it, and Docker hosts that join it.
import { access, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { ExecError, type ExecOptions, exec } from "#lib/exec.ts";
import { readJson, readText, writeFileAtomic } from "#lib/files.ts";
import { until } from "#lib/time.ts";
import { type DockerHost, startDockerHost } from "./docker-host.ts";
import { signal } from "./leftovers.ts";
import { type Lan, openLan } from "./network.ts";
import type { Running } from "./process.ts";
import type { Scope } from "./scope.ts";

const TREE = fileURLToPath(new URL("../..", import.meta.url));

export interface ApplianceOptions {
  lan?: Lan;
  /** More flags of `flynn up`. */
  flags?: readonly string[];
  stateDir?: string;
}

export interface Appliance {
  readonly lan: Lan;
  readonly stateDir: string;
  readonly address: string;
  /** Home of the user who runs it. */
  readonly home: string;
  up: Running;
  /** Runs the CLI as a user would; throws ExecError when it exits other than 0. */
  flynn(argv: readonly string[], options?: ExecOptions): Promise<string>;
  /** Exit code and output, whatever they are. `wrapper` is argv that runs the rest of its arguments. */
  tryFlynn(
    argv: readonly string[],
    options?: ExecOptions & { wrapper?: readonly string[] },
  ): Promise<{ code: number; stdout: string; stderr: string }>;
  /** One API call with the admin token, from inside the LAN. */
  api<T = unknown>(method: string, path: string, body?: unknown): Promise<{ status: number; body: T }>;
  /** Uploads a `docker save` archive as an artifact of the app. */
  upload<T = unknown>(app: string, archive: string): Promise<{ status: number; body: T }>;
  /** Pid of a part (`control`, `router`, `registry`, ...), as `flynn up` has it now. */
  pidOf(part: string): Promise<number>;
  /** kill -9 of a part; resolves with its old pid. */
  kill9(part: string): Promise<number>;
  /** kill -9 of all that runs on the appliance at once, HAProxy included: the power is gone. */
  killAll(): Promise<void>;
  /** Starts `flynn up` again on the same state, with more flags this once. */
  start(...flags: string[]): Promise<void>;
  /** Ends `flynn up` as Ctrl-C does. */
  stop(): Promise<void>;
  /** GET through the router with this Host header. */
  get(host: string, path?: string): Promise<{ status: number; body: string }>;
}

export async function startAppliance(scope: Scope, options: ApplianceOptions = {}): Promise<Appliance> {
  const appliance = await openAppliance(scope, options);
  await appliance.start();
  return appliance;
}

/** The appliance's place, with nothing running yet. */
export async function openAppliance(scope: Scope, options: ApplianceOptions = {}): Promise<Appliance> {
  const lan = options.lan ?? (await openLan(scope));
  const stateDir = options.stateDir ?? join(scope.folder, "state");
  const home = join(scope.folder, "home");
  const env = { ...process.env, HOME: home, FLYNN_HOME: home, NO_COLOR: "1" }; // HOME: git keeps its settings there
  await mkdir(home, { recursive: true });
  const cli = [process.execPath, join(TREE, "cli/main.ts")];
  const tryFlynn: Appliance["tryFlynn"] = async (argv, { wrapper = [], ...execOptions } = {}) => {
    try {
      const { stdout, stderr } = await lan.exec([...wrapper, ...cli, ...argv], {
        timeoutMs: 180_000,
        env,
        cwd: home, // `flynn create` gives the repository it stands in a remote
        ...execOptions,
      });
      return { code: 0, stdout, stderr };
    } catch (error) {
      if (error instanceof ExecError && error.exitCode !== undefined)
        return { code: error.exitCode, stdout: error.stdout, stderr: error.stderr };
      throw error;
    }
  };
  const start = async (...flags: string[]) => {
    appliance.up = await lan.spawn(
      [...cli, "up", "--state", stateDir, "--address", lan.ip, "--no-host", ...(options.flags ?? []), ...flags],
      { name: "flynn-up", env, graceMs: 30_000 },
    );
    await appliance.up.waitFor(/the appliance is up/, 90_000);
  };
  const call = async <T>(argv: readonly string[], method: string, path: string, input?: string) => {
    const { clusters } = (await readJson<{ clusters: { token: string }[] }>(join(home, "clusters.json")))!;
    const to = [
      "-H",
      `Authorization: Bearer ${clusters[0]!.token}`,
      "-X",
      method,
      `https://control.flynn.internal:7777${path}`,
    ];
    const trust = [
      "--cacert",
      join(stateDir, "control/pki/ca.pem"),
      "--resolve",
      `control.flynn.internal:7777:${lan.ip}`,
    ];
    const { stdout } = await lan.exec(["curl", "-sS", "-m", "60", "-w", "\n%{http_code}", ...trust, ...argv, ...to], {
      input,
    });
    const end = stdout.lastIndexOf("\n");
    return { status: Number(stdout.slice(end + 1)), body: JSON.parse(stdout.slice(0, end) || "null") as T };
  };
  const pids = () =>
    exec(["ip", "netns", "pids", lan.namespace]).then(({ stdout }) => stdout.split("\n").filter(Boolean).map(Number));
  const appliance: Appliance = {
    lan,
    stateDir,
    address: lan.ip,
    home,
    up: undefined as never,
    tryFlynn,
    flynn: async (argv, execOptions) =>
      (await lan.exec([...cli, ...argv], { timeoutMs: 180_000, env, cwd: home, ...execOptions })).stdout,
    async api(method, path, body) {
      if (body === undefined) return call([], method, path);
      return call(["-H", "content-type: application/json", "--data-binary", "@-"], method, path, JSON.stringify(body));
    },
    upload: (app, archive) =>
      call(["-H", "content-type: application/x-tar", "-T", archive], "POST", `/v1/artifacts?app=${app}&source=lab`),
    async pidOf(part) {
      const kept = await readJson<{ pid: number }>(join(stateDir, "run", `${part.replaceAll(" ", "-")}.pid.json`));
      if (kept === undefined) throw new Error(`${part} does not run`);
      return kept.pid;
    },
    async kill9(part) {
      const pid = await appliance.pidOf(part);
      process.kill(pid, "SIGKILL");
      return pid;
    },
    async killAll() {
      // Again and again: one that was started a moment ago is not in the first list.
      const noneLeft = async () => {
        const left = await pids();
        for (const pid of left) signal(pid, "SIGKILL");
        return left.length === 0;
      };
      await until(noneLeft, { what: "the end of the appliance", timeoutMs: 10_000, everyMs: 20 });
    },
    start,
    async stop() {
      await appliance.up.kill("SIGINT");
      await appliance.up.exited;
    },
    async get(host, path = "/") {
      const { stdout } = await lan.exec([
        "curl",
        "-sS",
        "-m",
        "5",
        "-H",
        `Host: ${host}`,
        "-w",
        "\n%{http_code}",
        `http://${lan.ip}${path}`,
      ]);
      const end = stdout.lastIndexOf("\n");
      return { status: Number(stdout.slice(end + 1)), body: stdout.slice(0, end) };
    },
  };
  return appliance;
}

export interface ClusterHost extends DockerHost {
  hostd: Running;
  /** Starts hostd inside the host; it joins when it has no identity, with the token it was first given. */
  startHostd(): Promise<void>;
  /** What a host whose state was in RAM finds at its next boot: no identity, no records, and a seed with a fresh token. */
  forget(): Promise<void>;
  /** hostd's clock is off by so much from now on, a negative number is behind; for a host with `clockOffMs`. */
  setClock(offMs: number): Promise<void>;
}

export interface HostOptions {
  /** The token of its seed; an operator's join token unless given. */
  token?: () => Promise<string>;
  /** Name servers of containers; the machine's own unless given. */
  dns?: string[];
  /** hostd as the boot image carries it, say; else this tree's source. */
  program?: string;
  /** hostd's clock can be set, and is off by so much at its first start. Docker's is the machine's. */
  clockOffMs?: number;
  /** Does not wait until the host is ready. */
  early?: boolean;
}

/** Debian's libfaketime: what a process and its children read as the time of day; the monotonic clock stays what it is. */
const FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

export async function joinToken(appliance: Appliance, role: "host" | "router" | "boot" = "host"): Promise<string> {
  return (await appliance.api<{ token: string }>("POST", "/v1/join-tokens", { role })).body.token;
}

/** A Docker host with hostd inside, joined to the appliance and ready. */
export async function addHost(
  scope: Scope,
  appliance: Appliance,
  n: number,
  options: HostOptions = {},
): Promise<ClusterHost> {
  const name = `h${n}`;
  const { token = () => joinToken(appliance), dns = [], clockOffMs, early = false } = options;
  const docker = await startDockerHost(scope, appliance.lan, name, `10.77.0.${10 + n}`);
  const program = options.program ?? join(TREE, "hostd/main.ts");
  const configFile = join(docker.folder, "hostd.json");
  const stateDir = join(docker.folder, "hostd");
  const seed = async () => {
    const caPem = await readFile(join(appliance.stateDir, "control/pki/ca.pem"), "utf8");
    const controlUrls = [`https://${appliance.address}:7777`];
    await writeFile(configFile, JSON.stringify({ controlUrls, caPem, joinToken: await token(), name, stateDir, dns }));
  };
  await seed();
  const clockFile = join(docker.folder, "clock");
  const ownClock = {
    LD_PRELOAD: FAKETIME,
    FAKETIME_TIMESTAMP_FILE: clockFile,
    FAKETIME_NO_CACHE: "1",
    FAKETIME_DONT_FAKE_MONOTONIC: "1",
  };
  const setClock = (offMs: number) => writeFileAtomic(clockFile, `${offMs < 0 ? "" : "+"}${offMs / 1_000}\n`);
  if (clockOffMs !== undefined) {
    await access(FAKETIME);
    await setClock(clockOffMs);
  }
  const host: ClusterHost = Object.assign(docker, {
    hostd: undefined as never as Running,
    async startHostd() {
      host.hostd = await docker.spawn([process.execPath, program, "run", "--config", configFile], {
        name: `${name}-hostd`,
        ...(clockOffMs === undefined ? {} : { env: { ...process.env, ...ownClock } }),
      });
    },
    setClock,
    async forget() {
      await rm(stateDir, { recursive: true, force: true });
      await seed();
    },
  });
  await host.startHostd();
  if (early) return host;
  await until(async () => (await appliance.api<{ state: string }>("GET", `/v1/hosts/${name}`)).body.state === "ready", {
    what: `host ${name} being ready`,
    timeoutMs: 60_000,
  }).catch(async (cause: unknown) => {
    throw new Error(
      `host ${name} did not become ready; hostd says: ${(await readText(host.hostd.outputFile))?.slice(-1500)}`,
      { cause },
    );
  });
  return host;
}
