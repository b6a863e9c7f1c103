// time limit: 600 s
// Sixty deployments, four apps each with another strategy, under constant load, while apps are scaled, hosts drained and the
// router killed: no request fails, and in the end there is exactly as much of everything as there was before. The soak has two hundred.
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Strategy } from "#api/apps.ts";
import type { Deployment } from "#api/deployments.ts";
import { every, until } from "#lib/time.ts";
import type { ClusterHost } from "./appliance.ts";
import {
  addApp,
  ask,
  type Cluster,
  haproxy,
  leavesNothing,
  loadOn,
  QUICK_WEB,
  scale,
  seconds,
  settled,
  startCluster,
  unharmed,
} from "./survival/cluster.ts";

const DEPLOYMENTS = Number(process.env["FLYNN_TEST_DEPLOYMENTS"] ?? 60);
const SCALED_EVERY = 12;
const APPS: { name: string; strategy: Strategy; count: number }[] = [
  { name: "rolling", strategy: "rolling", count: 2 },
  { name: "batches", strategy: "in-batches", count: 3 },
  { name: "swap", strategy: "one-down-one-up", count: 2 },
  { name: "atonce", strategy: "all-at-once", count: 1 },
];
/** Some strategies take thrice as long as others: an app whose turn is over takes the next one, down to this many each. */
const LEAST_PER_APP = DEPLOYMENTS / 10;
/** Cordons, drains and kills of the router each that there must have been at least. */
const LEAST_DISTURBANCES = Math.floor(DEPLOYMENTS / 60);
const deploys = suite<Cluster>("deployments in a row");

deploys.before(async (context) => {
  Object.assign(context, await startCluster({ count: 2 }));
  const { appliance } = context;
  for (const { name, strategy, count } of APPS) {
    await addApp(context, { name });
    await ask(appliance, "PATCH", `/v1/apps/${name}`, { strategy });
    const { id } = await ask<{ id: string }>(appliance, "POST", `/v1/apps/${name}/releases`, {
      processes: { web: QUICK_WEB },
    });
    const { id: deployment } = await ask<Deployment>(appliance, "POST", `/v1/apps/${name}/deployments`, {
      release: id,
    });
    await complete(context, name, deployment);
    if (count > 1) await scale(appliance, name, count);
  }
});

deploys.after(({ scope }: Partial<Cluster>) => scope?.close());

async function complete({ appliance }: Cluster, app: string, id: string): Promise<void> {
  const over = async () => {
    const found = await ask<Deployment>(appliance, "GET", `/v1/apps/${app}/deployments/${id}`);
    return ["complete", "failed", "cancelled"].includes(found.state) ? found : undefined;
  };
  const { state, reason, step } = await until(over, {
    what: `deployment ${id} of ${app}`,
    timeoutMs: 90_000,
    everyMs: 400,
  });
  assert.is(state, "complete", `${app}: ${reason} ${step}`);
}

/** Deploys the app as long as there are turns; answers how many it had. */
async function deployOften(
  cluster: Cluster,
  { name, count }: (typeof APPS)[number],
  { turns, tookMs }: { turns: Iterable<number>; tookMs: number[] },
): Promise<number> {
  const { appliance } = cluster;
  let n = 0;
  for (const _ of turns) {
    n++;
    const startedMs = performance.now();
    const path = `/v1/apps/${name}/env`;
    const { deploymentId } = await ask<{ deploymentId: string }>(appliance, "PATCH", path, { env: { N: String(n) } });
    await complete(cluster, name, deploymentId);
    tookMs.push(performance.now() - startedMs);
    if (tookMs.length % 50 === 0) console.log(`${tookMs.length} of ${DEPLOYMENTS} deployments`);
    if (n % SCALED_EVERY !== 0) continue;
    await scale(appliance, name, count + 1);
    await scale(appliance, name, count);
  }
  return n;
}

/** So often a router program may die and be back at once: dying again within 30 s it is given a pause. */
const KILL_EVERY = 7;

/** Every so many turns a host is drained instead: what runs there moves. */
const DRAIN_EVERY = 5;

/** Until told to end: one host after the other takes no new jobs for a while, and now and then the router program dies. */
async function disturb(
  { appliance, hosts }: Cluster,
  signal: AbortSignal,
): Promise<{ cordons: number; drains: number; kills: number }> {
  const done = { cordons: 0, drains: 0, kills: 0 };
  const names = hosts.map(({ name }) => name);
  const open = (name: string) => ask(appliance, "POST", `/v1/hosts/${name}/uncordon`);
  for await (const n of every(5_000, signal)) {
    for (const name of names) await open(name);
    const name = names[n % names.length];
    if (n % DRAIN_EVERY === 4) {
      await ask(appliance, "POST", `/v1/hosts/${name}/drain`);
      done.drains++;
    } else if (n % 3 !== 0) {
      await ask(appliance, "POST", `/v1/hosts/${name}/cordon`);
      done.cordons++;
    }
    if (n % KILL_EVERY === 1) {
      await appliance.kill9("router");
      done.kills++;
    }
  }
  for (const name of names) await open(name);
  return done;
}

type Counts = Record<string, number | string>;

/** The name of Docker's init, the first process of each container. */
const INIT = "docker-init";
/** A program that runs for a moment (a look at the rules, a health check) is no part of what stays: so many samples in a row are equal. */
const EQUAL_SAMPLES = 3;

/** What there is of everything a deployment makes or touches. */
async function countsOf({ appliance, hosts }: Cluster): Promise<Counts> {
  const counts: Counts = {};
  const put = (where: string, all: Counts) => {
    for (const [what, count] of Object.entries(all)) counts[`${where}: ${what}`] = count;
  };
  for (const host of hosts) put(host.name, await countsOn(host));
  const inside = (argv: string[]) => appliance.lan.exec(argv).then(({ stdout }) => stdout.split("\n").filter(Boolean));
  const { workers } = await haproxy(appliance);
  put("appliance", {
    "listening ports": (await inside(["ss", "-ltnH"]))
      .map((line) => line.split(/\s+/)[3])
      .sort()
      .join(" "),
    routes: (await inside(["ip", "route"])).length,
    "HAProxy processes": workers.length,
    "files of the router": (await filesIn(join(appliance.stateDir, "router"))).join(" "),
    services: (await ask<{ items: unknown[] }>(appliance, "GET", "/v1/services")).items.length,
  });
  return counts;
}

async function countsOn(host: ClusterHost): Promise<Counts> {
  const list = async (path: string) => JSON.parse((await host.docker("GET", path)).body) as unknown[];
  const lines = async (argv: string[]) => (await host.exec(argv)).stdout.split("\n").filter(Boolean);
  const containers = (await list("/containers/json?all=1")).length;
  const processes = await lines(["ps", "-eo", "comm="]);
  const perContainer = [INIT, "containerd-shim", "sh", "httpd", "busybox", "sleep", "usleep"];
  return {
    networks: (await list("/networks")).length,
    "listening ports": (await lines(["ss", "-ltnH"]))
      .map((line) => line.split(/\s+/)[3])
      .sort()
      .join(" "),
    "interfaces beyond one of each container": (await lines(["ip", "-o", "link"])).length - containers,
    "iptables rules": (await lines(["iptables-save"])).filter((line) => line.startsWith("-A")).length,
    "shims beyond one of each container":
      processes.filter((name) => name.startsWith("containerd-sh")).length - containers,
    // Which host has how many containers is the scheduler's; their processes are left out, and Docker's init is one in each.
    "processes of no container": processes
      .filter((name) => !perContainer.some((part) => name.startsWith(part.slice(0, 13))))
      .sort()
      .join(" "),
    "inits beyond one of each container": processes.filter((name) => name === INIT).length - containers,
    "files of hostd": (await filesIn(join(host.folder, "hostd"), /log/)).join(" "),
  };
}

/** The counts that stood for a while. */
async function standingCounts(cluster: Cluster): Promise<Counts> {
  let last = "";
  let equal = 0;
  return until(
    async () => {
      const counts = await countsOf(cluster);
      const shown = JSON.stringify(counts);
      equal = shown === last ? equal + 1 : 1;
      last = shown;
      return equal === EQUAL_SAMPLES ? counts : undefined;
    },
    { what: `${EQUAL_SAMPLES} equal counts in a row`, timeoutMs: 60_000, everyMs: 500 },
  );
}

async function filesIn(directory: string, leaveOut?: RegExp): Promise<string[]> {
  const found = await readdir(directory, { recursive: true, withFileTypes: true });
  const names = found
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(directory.length));
  return names.filter((name) => !leaveOut?.test(name)).sort();
}

const containersIn = async ({ hosts }: Cluster): Promise<number> =>
  (
    await Promise.all(
      hosts.map(
        async (host) => (JSON.parse((await host.docker("GET", "/containers/json?all=1")).body) as unknown[]).length,
      ),
    )
  ).reduce((sum, count) => sum + count, 0);

deploys(`${DEPLOYMENTS} deployments under load fail no request and leave nothing behind`, async (cluster) => {
  const { appliance } = cluster;
  const quiet = async () => {
    for (const { name, count } of APPS) await settled(appliance, name, count);
    const wanted = APPS.reduce((sum, { count }) => sum + count, 0);
    await until(async () => (await containersIn(cluster)) === wanted, {
      what: `exactly ${wanted} containers`,
      timeoutMs: 60_000,
      everyMs: 500,
    });
  };
  await quiet();
  const before = await standingCounts(cluster);
  const loads = await Promise.all(
    APPS.map(({ name }) => loadOn(cluster, name, { requestsPerSecond: 10, timeoutMs: 10_000 })),
  );
  const startedMs = performance.now();
  const disturbed = new AbortController();
  const disturbing = disturb(cluster, disturbed.signal);
  const tookMs: number[] = [];
  const turns = Array(DEPLOYMENTS).keys(); // one iterator for all four
  let had: number[] = [];
  try {
    had = await Promise.all(APPS.map((app) => deployOften(cluster, app, { turns, tookMs })));
  } finally {
    disturbed.abort();
    await disturbing.catch(() => undefined); // what ended the deployments is what is shown
  }
  const { cordons, drains, kills } = await disturbing;
  assert.is(tookMs.length, DEPLOYMENTS);
  assert.ok(Math.min(...had) >= LEAST_PER_APP, `deployments of each app: ${had}`);
  const disturbances = `${cordons} cordons, ${drains} drains, ${kills} router kills`;
  assert.ok(Math.min(cordons, drains, kills) >= LEAST_DISTURBANCES, disturbances);
  tookMs.sort((a, b) => a - b);
  const at = (q: number) => Math.round(tookMs[Math.floor(q * (tookMs.length - 1))]!);
  const s = seconds(startedMs);
  console.log(`${DEPLOYMENTS} deployments in ${s} s (each p50 ${at(0.5)} ms, p99 ${at(0.99)} ms), ${disturbances}`);
  for (const [n, load] of loads.entries()) await unharmed(load, APPS[n]!.name);

  await quiet();
  let after: Counts = {};
  await until(
    async () => {
      after = await countsOf(cluster);
      return JSON.stringify(after) === JSON.stringify(before);
    },
    { what: "everything to be as before", timeoutMs: 30_000, everyMs: 1_000 },
  ).catch(() => assert.equal(after, before));
  for (const [n, { name }] of APPS.entries()) {
    const { items } = await ask<{ items: unknown[] }>(appliance, "GET", `/v1/apps/${name}/releases?limit=1000`);
    assert.ok(items.length <= had[n]! + 2);
  }
  const collected = async () => {
    const left = APPS.map(
      async ({ name }) => (await ask<{ items: unknown[] }>(appliance, "GET", `/v1/apps/${name}/releases`)).items.length,
    );
    return (await Promise.all(left)).every((count, n) => count === Math.min(10, had[n]! + 2));
  };
  await until(collected, { what: "the last ten releases of each app being left", timeoutMs: 60_000, everyMs: 1_000 });
});

deploys("the run leaves nothing on the machine", ({ scope }) => leavesNothing(scope));

deploys.run();
