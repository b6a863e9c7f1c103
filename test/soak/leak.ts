// 500 deployments, `env set`s and `run`s under load on the real parts: what every program holds and what there is on the machines, before
// and after. A call that is out of time says how many are left; the next one begins with a cluster of its own and compares within itself.
import process from "node:process";
import type { Deployment } from "#api/deployments.ts";
import type { Job } from "#api/jobs.ts";
import { until } from "#lib/time.ts";
import {
  addApp,
  ask,
  type Cluster,
  loadOn,
  QUICK_WEB,
  settled,
  startCluster,
  unharmed,
} from "../lab/survival/cluster.ts";
import { grown } from "./growth.ts";
import { differences, type Held, heldNow, memoryNow } from "./held.ts";
import type { Soak } from "./soaks.ts";

const WANTED = Number(process.env["FLYNN_SOAK_OPERATIONS"] ?? 500);
/** What fills at first (pools, caches, compiled code) is full after so many. */
const WARM_UP = Math.min(60, Math.ceil(WANTED / 5));
const MEMORY_EVERY = 10;
const APPS = ["one", "two"] as const;
const COUNT = 2;
export const leak: Soak = {
  what: `${WANTED} deployments, env sets and runs under load leave nothing: descriptors, threads, memory, containers, networks, rules, files`,
  covers: ["control", "hostd", "router", "test/soak/leak.ts", "test/soak/held.ts"],
  async run({ resumed, timeUp, signal, say }) {
    const before = Number(resumed?.["operations"] ?? 0);
    const cluster = await startCluster({ count: 2, signals: false });
    const stop = () => void cluster.scope.close().catch(() => undefined);
    signal.addEventListener("abort", stop, { once: true });
    try {
      for (const name of APPS) await addQuickApp(cluster, name);
      const figures = await operate(cluster, { left: WANTED - before, timeUp, signal, say });
      const operations = before + figures.operations;
      return { done: operations >= WANTED, figures: { ...figures, operations } };
    } finally {
      signal.removeEventListener("abort", stop);
      await cluster.scope.close();
    }
  },
};

async function addQuickApp(cluster: Cluster, name: string): Promise<void> {
  const { appliance } = cluster;
  await addApp(cluster, { name });
  const { id } = await ask<{ id: string }>(appliance, "POST", `/v1/apps/${name}/releases`, {
    processes: { web: QUICK_WEB },
  });
  const { id: deployment } = await ask<Deployment>(appliance, "POST", `/v1/apps/${name}/deployments`, { release: id });
  await complete(cluster, name, deployment);
  await ask(appliance, "PATCH", `/v1/apps/${name}/formation`, { web: { count: COUNT } });
  await settled(appliance, name, COUNT);
}

async function complete({ appliance }: Cluster, app: string, id: string): Promise<void> {
  const over = async () => {
    const found = await ask<Deployment>(appliance, "GET", `/v1/apps/${app}/deployments/${id}`);
    return ["complete", "failed", "cancelled"].includes(found.state) ? found : undefined;
  };
  const { state, reason } = await until(over, { what: `deployment ${id}`, timeoutMs: 120_000, everyMs: 200 });
  if (state !== "complete") throw new Error(`deployment ${id} of ${app} is ${state}: ${reason}`);
}

/** One of the three kinds in turn: variables, an earlier release once more, a command. */
async function operation(cluster: Cluster, app: string, n: number): Promise<void> {
  const { appliance } = cluster;
  if (n % 3 === 0) {
    const body = { env: { N: String(n) } };
    const { deploymentId } = await ask<{ deploymentId: string }>(appliance, "PATCH", `/v1/apps/${app}/env`, body);
    return complete(cluster, app, deploymentId);
  }
  if (n % 3 === 1) {
    const { items } = await ask<{ items: { version: number }[] }>(appliance, "GET", `/v1/apps/${app}/releases`);
    const versions = items.map(({ version }) => version).sort((a, b) => b - a);
    const body = { release: `v${versions[1]}` };
    const { id } = await ask<Deployment>(appliance, "POST", `/v1/apps/${app}/deployments`, body);
    return complete(cluster, app, id);
  }
  const command = ["sh", "-c", "echo done"];
  const { id } = await ask<Job>(appliance, "POST", `/v1/apps/${app}/jobs`, { command });
  const over = async () => (await ask<Job>(appliance, "GET", `/v1/jobs/${id}`)).state === "down";
  await until(over, { what: `the end of ${id}`, timeoutMs: 60_000, everyMs: 200 });
}

interface Operate {
  left: number;
  timeUp: AbortSignal;
  signal: AbortSignal;
  say: (line: string) => void;
}

async function operate(cluster: Cluster, { left, timeUp, signal, say }: Operate) {
  const loads = await Promise.all(
    APPS.map((app) => loadOn(cluster, app, { requestsPerSecond: 20, timeoutMs: 10_000 })),
  );
  let done = 0;
  const many = async (count: number, onEach: () => Promise<void>) => {
    const turns = Array.from({ length: count }).keys();
    const work = async (app: string) => {
      let n = 0;
      for (const _ of turns) {
        if (timeUp.aborted) return;
        signal.throwIfAborted();
        await operation(cluster, app, n++);
        done++;
        await onEach();
      }
    };
    await Promise.all(APPS.map(work));
  };
  await many(Math.min(WARM_UP, left), async () => undefined);
  const first = await heldNow(cluster);
  const memory: Record<string, number>[] = [];
  await many(Math.max(0, left - WARM_UP), async () => {
    if (done % MEMORY_EVERY !== 0) return;
    memory.push(await memoryNow(cluster));
    if (done % 50 === 0) say(`${done} operations: ${memoryText(memory.at(-1)!)}`);
  });
  const requests = (await Promise.all(loads.map((load, n) => unharmed(load, APPS[n]!)))).reduce(
    (sum, one) => sum + one.requests,
    0,
  );
  let last: Held = {};
  const asBefore = async () => {
    last = await heldNow(cluster);
    return differences(first, last).length === 0;
  };
  // What ended a moment ago is cleared away within its time.
  await until(asBefore, { what: "as much as before", timeoutMs: 120_000, everyMs: 5_000, signal }).catch(() => {
    throw new Error(`more is held than before:\n${differences(first, last).join("\n")}`);
  });
  const more = grown(memory);
  if (more.length > 0) throw new Error(`memory grows:\n${more.join("\n")}`);
  return { operations: done, requests, ...mebibytes(memory.at(-1) ?? {}) };
}

const mebibytes = (memory: Record<string, number>): Record<string, number> =>
  Object.fromEntries(
    Object.entries(memory).map(([name, bytes]) => [`${name.replaceAll(" ", "_")}Mib`, Math.round(bytes / 2 ** 20)]),
  );
const memoryText = (memory: Record<string, number>): string =>
  Object.entries(memory)
    .map(([name, bytes]) => `${name} ${Math.round(bytes / 2 ** 20)}`)
    .join(", ");
