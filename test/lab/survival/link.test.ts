// time limit: 180 s
// A host's link is cut: its jobs run elsewhere within 15 s and nobody is sent to the dead one; when it is healed, the
// copies that ran on there are stopped and the count is right.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Host } from "#api/hosts.ts";
import { until } from "#lib/time.ts";
import {
  addApp,
  ask,
  type Cluster,
  containers,
  containersOn,
  jobsOf,
  leavesNothing,
  loadOn,
  seconds,
  settled,
  startCluster,
  statusPart,
  unharmed,
} from "./cluster.ts";

/** Of the issue. */
const ELSEWHERE_MS = 15_000;
const COUNT = 6;

const link = suite<Cluster & { cutJobs: string[] }>("survival: link");

link.before(async (context) => {
  Object.assign(context, await startCluster());
  await addApp(context, { name: "hello", count: COUNT });
});

link.after(({ scope }: Partial<Cluster>) => scope?.close());

link("cut off: its jobs run elsewhere within 15 s, and after that no request fails", async (cluster) => {
  const { appliance, hosts } = cluster;
  const [host] = hosts as [(typeof hosts)[number]];
  const { id: hostId } = await ask<Host>(appliance, "GET", `/v1/hosts/${host.name}`);
  const old = (await jobsOf(appliance, "hello")).filter((job) => job.hostId === hostId);
  cluster.cutJobs = old.map(({ id }) => id);
  assert.is(old.length, COUNT / hosts.length);
  const load = await loadOn(cluster, "hello");
  await until(async () => (await load.progress()).requests > 50, { what: "50 requests", timeoutMs: 10_000 });
  const cutMs = performance.now();
  const cutAt = Date.now();
  await host.cut();
  const moved = async () => {
    const up = (await jobsOf(appliance, "hello")).filter((job) => job.state === "up" && job.hostId !== hostId);
    return up.length === COUNT;
  };
  await until(moved, { what: "six jobs on the other two hosts", timeoutMs: 60_000, everyMs: 100 });
  const tookMs = performance.now() - cutMs;
  const movedAt = Date.now();
  const { requests } = await load.progress();
  await until(async () => (await load.progress()).requests > requests + 250, {
    what: "250 requests",
    timeoutMs: 30_000,
  });
  const result = await load.stop();
  const lateMs = result.failures.map(({ at }) => Date.parse(at) - cutAt);
  console.log(
    `cut: ${old.length} jobs run elsewhere after ${(tookMs / 1_000).toFixed(1)} s; ${result.failed} of ${result.requests} requests failed, the last ${Math.max(0, ...lateMs)} ms after the cut; slowest ${result.maxMs} ms`,
  );
  assert.ok(tookMs < ELSEWHERE_MS, `${Math.round(tookMs)} ms`);
  assert.equal(
    result.failures.filter(({ at }) => Date.parse(at) > movedAt),
    [],
  );
  assert.is((await ask<Host>(appliance, "GET", `/v1/hosts/${host.name}`)).state, "lost");
  await settled(appliance, "hello", COUNT);
  assert.is((await containersOn(host)).length, old.length, "cut off, it goes on with what it was told");
});

link("healed: the extra copies stop, the count is right, and no request meets a stopped one", async (cluster) => {
  const { appliance, hosts, cutJobs } = cluster;
  const [host] = hosts as [(typeof hosts)[number]];
  const current = await settled(appliance, "hello", COUNT);
  assert.equal(
    current.filter(({ id }) => cutJobs.includes(id)),
    [],
  );
  // Only these may answer: an answer of an extra copy counts as failed.
  const load = await loadOn(cluster, "hello", { expect: current.map(({ id }) => id) });
  const healedMs = performance.now();
  await host.heal();
  await until(async () => (await ask<Host>(appliance, "GET", `/v1/hosts/${host.name}`)).state === "ready", {
    what: "the host being ready again",
    timeoutMs: 30_000,
  });
  const readyAfter = seconds(healedMs);
  await until(async () => (await containersOn(host)).every(({ jobId }) => !cutJobs.includes(jobId)), {
    what: "the end of the extra copies",
    timeoutMs: 60_000,
  });
  console.log(`healed: ready after ${readyAfter} s, extra copies gone after ${seconds(healedMs)} s`);
  const jobs = await settled(appliance, "hello", COUNT);
  assert.equal(jobs.map(({ id }) => id).sort(), current.map(({ id }) => id).sort());
  await until(async () => (await containers(cluster)).length === COUNT, { what: "six containers", timeoutMs: 10_000 });
  await until(async () => (await load.progress()).requests > 200, { what: "200 requests", timeoutMs: 30_000 });
  const result = await unharmed(load, "healing");
  const silent = Object.entries(result.answers).filter(([, count]) => count === 0);
  assert.equal(silent, [], "each job was asked");
});

link(
  "two of three hosts fall silent together: likelier our own trouble, and their jobs are left alone",
  async (cluster) => {
    const { appliance, hosts } = cluster;
    const silent = hosts.slice(0, 2);
    const jobs = (await settled(appliance, "hello", COUNT)).map(({ id }) => id).sort();
    const before = await containers(cluster);
    const cutMs = performance.now();
    for (const host of silent) await host.cut();
    const lost = async () => {
      const { items } = await ask<{ items: Host[] }>(appliance, "GET", "/v1/hosts");
      return items.filter(({ state }) => state === "lost").length;
    };
    await until(async () => (await lost()) === 2, { what: "two lost hosts", timeoutMs: 30_000 });
    const load = await loadOn(cluster, "hello");
    await until(async () => (await load.progress()).requests > 200, { what: "200 requests", timeoutMs: 30_000 });
    const part = await statusPart(appliance, "scheduler");
    console.log(`two of three silent for ${seconds(cutMs)} s: ${part.message}`);
    assert.is(part.state, "degraded");
    assert.match(part.message, /brake: 2 hosts were lost together; their jobs are left alone/);
    assert.equal(await containers(cluster), before);
    await unharmed(load, "the one host left serves alone");
    for (const host of silent) await host.heal();
    await until(async () => (await lost()) === 0, { what: "the hosts' return", timeoutMs: 30_000 });
    assert.equal((await settled(appliance, "hello", COUNT)).map(({ id }) => id).sort(), jobs);
    assert.equal(await containers(cluster), before, "nothing was started or stopped");
    await until(async () => (await statusPart(appliance, "scheduler")).state === "ok", {
      what: "the end of the brake",
      timeoutMs: 30_000,
    });
  },
);

link("nothing is left on the machine", ({ scope }) => leavesNothing(scope));

link.run();
