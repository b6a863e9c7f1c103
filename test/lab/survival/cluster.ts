// What the survival tests share: a cluster of the real parts, an app on it, and the questions whether anything was touched.
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import * as assert from "uvu/assert";
import type { Deployment } from "#api/deployments.ts";
import type { Job } from "#api/jobs.ts";
import type { Status } from "#api/status.ts";
import { exec } from "#lib/exec.ts";
import { readJson, readText } from "#lib/files.ts";
import { until } from "#lib/time.ts";
import {
  type Appliance,
  type ApplianceOptions,
  addHost,
  type ClusterHost,
  type HostOptions,
  startAppliance,
} from "../appliance.ts";
import { type AppName, type ImageOptions, writeAppImage } from "../image.ts";
import { RUN_VARIABLE, runFolder } from "../leftovers.ts";
import { type Load, type LoadOptions, type LoadResult, startLoad } from "../load.ts";
import { openScope, type Scope } from "../scope.ts";
import { machineGrants } from "./machine-grants.ts";

export interface Cluster {
  scope: Scope;
  appliance: Appliance;
  hosts: ClusterHost[];
}

export interface ClusterOptions {
  count?: number;
  appliance?: ApplianceOptions;
  /** Name servers of containers. */
  dns?: string[];
  /** False for a program that ends by lib/run.ts. */
  signals?: boolean;
  /** More of each host. */
  host?: HostOptions;
  /** The hosts are machines known to control, which boot with a boot server's grant in their seed. */
  machines?: boolean;
}

export async function startCluster(options: ClusterOptions = {}): Promise<Cluster> {
  const { count = 3, machines = false, dns, host, signals = true } = options;
  const scope = await openScope({ signals });
  const startedMs = performance.now();
  let appliance: Appliance | undefined;
  try {
    appliance = await startAppliance(scope, options.appliance);
    const numbers = Array.from({ length: count }, (_, n) => n + 1);
    const up = appliance;
    const grants = machines ? await machineGrants(scope, up, count) : undefined;
    const hosts = await Promise.all(
      numbers.map((n) => addHost(scope, up, n, { ...host, token: grants?.[n - 1], dns })),
    );
    console.log(`appliance and ${count} hosts in ${seconds(startedMs)} s`);
    return { scope, appliance: up, hosts };
  } catch (error) {
    const errors =
      appliance &&
      (await tailOf(appliance, "control", 1 << 20)).split("\n").filter((line) => /"level":[56]0/.test(line));
    console.error(error, errors); // uvu says nothing of what a `before` throws
    await scope.close();
    throw error;
  }
}

export const seconds = (sinceMs: number): number => Number(((performance.now() - sinceMs) / 1_000).toFixed(1));

/** The API call's body; anything but 2xx fails the test. */
export async function ask<T>(appliance: Appliance, method: string, path: string, body?: unknown): Promise<T> {
  const reply = await appliance.api<T>(method, path, body);
  if (reply.status < 200 || reply.status > 299)
    throw new Error(`${method} ${path}: ${reply.status} ${JSON.stringify(reply.body)}`);
  return reply.body;
}

export interface AppWish {
  name: string;
  count?: number;
  image?: Partial<ImageOptions>;
  /** Its web process, where it is to differ from the default. */
  web?: Record<string, unknown>;
}

/** An app with one deployed release of the hello image and a route `<name>.test`, all jobs up and serving. */
export async function addApp({ scope, appliance }: Cluster, { name, count = 1, image, web }: AppWish): Promise<void> {
  await ask(appliance, "POST", "/v1/apps", { name });
  await release({ scope, appliance }, name, "hello", image, web);
  await ask(appliance, "POST", "/v1/routes", { app: name, domain: `${name}.test` });
  const deployment = await deploy(appliance, name, "v1");
  assert.is(deployment.state, "complete", deployment.reason);
  if (count > 1) await scale(appliance, name, count);
  await until(async () => (await appliance.get(`${name}.test`)).status === 200, {
    what: `an answer of ${name}`,
    timeoutMs: 20_000,
  });
}

/** A new release of the app from one of the test images; answers its name, `v2`. */
export async function release(
  { scope, appliance }: Pick<Cluster, "scope" | "appliance">,
  app: string,
  image: AppName,
  options?: Partial<ImageOptions>,
  web?: AppWish["web"],
): Promise<string> {
  const archive = await writeAppImage(join(scope.folder, `${app}-${image}.tar`), image, options);
  const { status, body } = await appliance.upload<{ id: string }>(app, archive.path);
  if (status !== 201) throw new Error(`upload: ${status} ${JSON.stringify(body)}`);
  const made = await ask<{ version: number }>(appliance, "POST", `/v1/apps/${app}/releases`, {
    artifactId: body.id,
    ...(web && { processes: { web } }),
  });
  return `v${made.version}`;
}

export async function deploy(appliance: Appliance, app: string, version: string): Promise<Deployment> {
  const { id } = await ask<Deployment>(appliance, "POST", `/v1/apps/${app}/deployments`, { release: version });
  return ended(appliance, app, id);
}

export function ended(appliance: Appliance, app: string, id: string): Promise<Deployment> {
  const over = async () => {
    const deployment = await ask<Deployment>(appliance, "GET", `/v1/apps/${app}/deployments/${id}`);
    return ["complete", "failed", "cancelled"].includes(deployment.state) ? deployment : undefined;
  };
  return until(over, { what: `the end of deployment ${id}`, timeoutMs: 120_000, everyMs: 200 });
}

export async function scale(appliance: Appliance, app: string, count: number): Promise<Job[]> {
  await ask(appliance, "PATCH", `/v1/apps/${app}/formation`, { web: { count } });
  return settled(appliance, app, count);
}

export async function jobsOf(appliance: Appliance, app: string): Promise<Job[]> {
  return (await ask<{ items: Job[] }>(appliance, "GET", `/v1/apps/${app}/jobs`)).items;
}

/** Waits until the app has exactly `count` jobs, all up. */
export function settled(appliance: Appliance, app: string, count: number, timeoutMs = 60_000): Promise<Job[]> {
  let last: Job[] = [];
  const probe = async () => {
    last = await jobsOf(appliance, app);
    return last.length === count && last.every(({ state }) => state === "up") ? last : undefined;
  };
  return until(probe, { what: `${count} jobs of ${app} up`, timeoutMs, everyMs: 200 }).catch((cause: unknown) => {
    const states = last
      .map(
        ({ id, version, state, desired, reason, hostId }) =>
          `v${version} ${id} on ${hostId}: ${state}, to ${desired} ${reason}`,
      )
      .join("; ");
    throw new Error(`${(cause as Error).message}: ${states}`, { cause });
  });
}

export interface RunningContainer {
  id: string;
  jobId: string;
  startedAt: string;
}

/** The containers of jobs that run on this host, as its Docker says. */
export async function containersOn(host: ClusterHost): Promise<RunningContainer[]> {
  const list = await host.docker("GET", `/containers/json?filters=${encodeURIComponent('{"label":["flynn.job"]}')}`);
  const rows = JSON.parse(list.body) as { Id: string; Labels: Record<string, string> }[];
  const found = rows.map(async ({ Id: id, Labels }) => {
    const { State } = JSON.parse((await host.docker("GET", `/containers/${id}/json`)).body) as {
      State: { StartedAt: string };
    };
    return { id, jobId: Labels["flynn.job"] ?? "", startedAt: State.StartedAt };
  });
  return (await Promise.all(found)).sort((a, b) => (a.id < b.id ? -1 : 1));
}

export async function containers({ hosts }: Pick<Cluster, "hosts">): Promise<RunningContainer[]> {
  return (await Promise.all(hosts.map(containersOn))).flat();
}

export function loadOn({ scope, appliance }: Cluster, app: string, options: Partial<LoadOptions> = {}): Promise<Load> {
  const url = `http://${appliance.address}/`;
  return startLoad(scope, appliance.lan, {
    url,
    host: `${app}.test`,
    requestsPerSecond: 50,
    expect: [`from ${app}`],
    ...options,
  });
}

/** Ends the load once it is worth something; every request must have had the app's answer. */
export async function unharmed(load: Load, what: string): Promise<LoadResult> {
  await until(async () => (await load.progress()).requests > 20, {
    what: `requests during ${what}`,
    timeoutMs: 20_000,
  });
  const result = await load.stop();
  console.log(`${what}: ${result.requests} requests, ${result.failed} failed, p99 ${result.p99Ms} ms`);
  assert.is(result.failed, 0, `${what}: ${JSON.stringify(result.failures.slice(0, 5))}`);
  assert.ok(result.requests > 20, `${what}: only ${result.requests} requests were made`);
  return result;
}

export async function statusPart(appliance: Appliance, name: string): Promise<Status["parts"][number]> {
  const { parts } = await ask<Status>(appliance, "GET", "/v1/status");
  const part = parts.find((found) => found.name === name);
  if (part === undefined) throw new Error(`status has no part ${name}: ${parts.map((found) => found.name).join(", ")}`);
  return part;
}

/** Quick to tell a healthy job, and a fifth of a second to see that it stays so: for labs that are about everything else. */
export const QUICK_WEB = {
  port: 8080,
  memoryBytes: 32 * 1024 ** 2,
  stopTimeoutMs: 5_000,
  health: {
    type: "tcp",
    intervalMs: 100,
    timeoutMs: 2_000,
    rise: 1,
    fall: 10,
    startTimeoutMs: 60_000,
    stableMs: 200,
  },
};

/** The API answers with another process of control than `oldPid`. */
export async function controlBack(appliance: Appliance, oldPid?: number): Promise<void> {
  const answers = async () => {
    const { status } = await appliance.api("GET", "/v1/apps?limit=1");
    return status === 200 && (await appliance.pidOf("control")) !== oldPid;
  };
  await until(answers, { what: "the API", timeoutMs: 30_000, everyMs: 50 });
}

export async function haproxy(appliance: Appliance): Promise<{ master: number; workers: number[] }> {
  const file = join(appliance.stateDir, "router/haproxy/haproxy.json");
  const kept = await readJson<{ master: { pid: number }; workers: { pid: number }[] }>(file);
  if (kept === undefined) throw new Error("the router has kept no HAProxy");
  return { master: kept.master.pid, workers: kept.workers.map(({ pid }) => pid) };
}

/** What the parts said, for the message of a failed test. */
export async function tailOf(appliance: Appliance, part: string, bytes = 1_500): Promise<string> {
  return ((await readText(join(appliance.stateDir, "log", `${part}.log`))) ?? "").slice(-bytes);
}

/** Closes the scope and looks for all it could have left: processes, namespaces, cgroups, mounts, files. */
export async function leavesNothing(scope: Scope): Promise<void> {
  await scope.close();
  const { stdout: namespaces } = await exec(["ip", "netns", "list"]);
  const mine = (name: string) => name === scope.id || name.startsWith(`${scope.id}-`);
  assert.equal(
    namespaces.split("\n").filter((line) => mine(line.split(" ")[0] ?? "")),
    [],
  );
  const processes: string[] = [];
  for (const pid of (await readdir("/proc")).filter((name) => /^\d+$/.test(name))) {
    if (Number(pid) === process.pid) continue;
    const environment = await readFile(`/proc/${pid}/environ`, "latin1").catch(() => "");
    const command = await readFile(`/proc/${pid}/cmdline`, "latin1").catch(() => "");
    if (environment.includes(`${RUN_VARIABLE}=${scope.id}\0`) || command.includes(`${runFolder(scope.id)}/`))
      processes.push(`${pid} ${command.replaceAll("\0", " ")}`);
  }
  assert.equal(processes, []);
  const mounts = (await readFile("/proc/self/mounts", "utf8")).split("\n");
  assert.equal(
    mounts.filter((line) => line.includes(`${runFolder(scope.id)}/`)),
    [],
  );
  const cgroups = await readdir("/sys/fs/cgroup", { recursive: false }).catch(() => [] as string[]);
  assert.equal(cgroups.filter(mine), []);
  assert.is(await stat(runFolder(scope.id)).catch(() => undefined), undefined, "its folder is still there");
}
