// time limit: 300 s
// What befalls machines, with real parts: clocks an hour off both ways, other addresses. What runs goes on, what is wrong is said, and
// it ends by itself.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Host } from "#api/hosts.ts";
import { until } from "#lib/time.ts";
import { type Appliance, addHost, type ClusterHost, startAppliance } from "../appliance.ts";
import { openScope } from "../scope.ts";
import {
  addApp,
  ask,
  type Cluster,
  containers,
  containersOn,
  deploy,
  jobsOf,
  leavesNothing,
  loadOn,
  scale,
  seconds,
  settled,
  unharmed,
} from "../survival/cluster.ts";
import { cleared, raised } from "./alerts.ts";

const HOUR_MS = 3_600_000;

const machines = suite<Cluster>("failure: hosts and the appliance");

machines.before(async (context) => {
  const scope = await openScope();
  context.scope = scope;
  try {
    const appliance = await startAppliance(scope);
    context.appliance = appliance;
    context.hosts = await Promise.all([1, 2].map((n) => addHost(scope, appliance, n, { clockOffMs: 0 })));
    await addApp(context, { name: "hello", count: 4 });
  } catch (error) {
    console.error(error); // uvu says nothing of what a `before` throws
    await scope.close();
    throw error;
  }
});

machines.after(({ scope }: Partial<Cluster>) => scope?.close());

const shown = (appliance: Appliance, { name }: ClusterHost) => ask<Host>(appliance, "GET", `/v1/hosts/${name}`);

const readyAgain = (appliance: Appliance, host: ClusterHost) =>
  until(async () => (await shown(appliance, host)).state === "ready", {
    what: `${host.name} being ready`,
    timeoutMs: 60_000,
  });

/** A command in a running job of each host, and their logs: control finds the hosts where they are now. */
async function reachable({ appliance, hosts }: Cluster, app: string): Promise<void> {
  const { items } = await ask<{ items: Host[] }>(appliance, "GET", "/v1/hosts");
  for (const { name } of hosts) {
    const { id } = items.find((host) => host.name === name)!;
    const job = (await jobsOf(appliance, app)).find(({ hostId }) => hostId === id);
    if (job === undefined) continue;
    const { code, stdout, stderr } = await appliance.tryFlynn([
      "-a",
      app,
      "exec",
      job.id,
      "--",
      "sh",
      "-c",
      "echo reached",
    ]);
    assert.equal([code, stdout], [0, "reached\n"], `exec on ${name}: ${stderr}`);
  }
  const { code, stdout, stderr } = await appliance.tryFlynn(["-a", app, "log", "-n", "200", "-s", "app"]);
  assert.is(code, 0, stderr);
  assert.not.match(stderr, /no answer/);
  assert.match(stdout, /listening on 8080/);
}

machines(
  "two hosts' clocks are an hour off, one each way: jobs run on, changes come, an alert stands for each",
  async (context) => {
    const { appliance, hosts, scope } = context;
    const [behind, ahead] = hosts as [ClusterHost, ClusterHost];
    const before = await containers(context);
    const load = await loadOn(context, "hello");
    await behind.setClock(-HOUR_MS);
    await ahead.setClock(HOUR_MS);
    // One that joins with a clock so far behind that control's certificate is not good there yet.
    const late = await addHost(scope, appliance, 3, { clockOffMs: -3 * HOUR_MS, early: true });
    const words = await late.hostd.waitFor(
      /by this machine's clock[^"]*certificate is not valid yet[^"]*set it/,
      60_000,
    );
    console.log(`a join with a clock three hours behind: ${words[0]}`);
    assert.is((await appliance.api("GET", "/v1/hosts/h3")).status, 404);
    await late.setClock(0);
    await readyAgain(appliance, late);
    // An agent that begins anew with such a clock follows control as before.
    for (const host of [behind, ahead]) {
      await host.hostd.kill("SIGKILL");
      await host.startHostd();
      await readyAgain(appliance, host);
    }
    const found = await raised(appliance, "clock-off", 2);
    assert.equal(found.map(({ what, severity }) => `${severity}: ${what}`).sort(), [
      "critical: the clock of host h1 is 1h00m behind control's",
      "critical: the clock of host h2 is 1h00m ahead of control's",
    ]);
    assert.equal(await containers(context), before, "something was started again");
    const { version } = await ask<{ version: number }>(appliance, "POST", "/v1/apps/hello/releases", {
      env: { A: "1" },
    });
    const { state, reason } = await deploy(appliance, "hello", `v${version}`);
    assert.is(state, "complete", reason);
    await settled(appliance, "hello", 4);
    await reachable(context, "hello");
    // The rest is about two hosts; and what runs there has to be where the clocks change.
    await ask(appliance, "POST", "/v1/hosts/h3/drain");
    await until(async () => (await containersOn(late)).length === 0, { what: "an empty h3", timeoutMs: 60_000 });
    await late.hostd.kill();
    await late.powerCut();
    await ask(appliance, "DELETE", "/v1/hosts/h3");
    await behind.setClock(0);
    await ahead.setClock(0);
    await unharmed(load, "clocks that are off");
    await settled(appliance, "hello", 4);
  },
);

machines(
  "a running host gets another address, another is started with one: routes follow, commands and logs find them",
  async (context) => {
    const { appliance, hosts } = context;
    const [first, second] = hosts as [ClusterHost, ClusterHost];
    const before = await containersOn(first);
    assert.ok(before.length > 0, `${first.name} runs nothing`);
    const has = (host: ClusterHost, ip: string) =>
      until(async () => (await shown(appliance, host)).address === ip, {
        what: `${host.name} at ${ip}`,
        timeoutMs: 30_000,
        everyMs: 50,
      });
    const served = async () => {
      const answers = await Promise.all(
        Array.from({ length: 12 }, () => appliance.get("hello.test").catch(() => undefined)),
      );
      return answers.every((answer) => answer?.status === 200);
    };
    const startedMs = performance.now();
    await first.readdress("10.77.0.31");
    await has(first, "10.77.0.31");
    const knownAfter = seconds(startedMs);
    await until(served, { what: "all jobs to be served", timeoutMs: 30_000 });
    console.log(`another address: control knows it after ${knownAfter} s, all is served after ${seconds(startedMs)} s`);
    assert.equal(await containersOn(first), before);
    await reachable(context, "hello");

    await second.powerCut();
    await second.readdress("10.77.0.32");
    await second.powerOn();
    await second.startHostd();
    await has(second, "10.77.0.32");
    await readyAgain(appliance, second);
    // It takes new jobs: the other does not.
    await scale(appliance, "hello", 2);
    await ask(appliance, "POST", `/v1/hosts/${first.name}/cordon`);
    await scale(appliance, "hello", 4);
    await ask(appliance, "POST", `/v1/hosts/${first.name}/uncordon`);
    await until(served, { what: "all jobs to be served", timeoutMs: 30_000 });
    assert.ok((await containersOn(second)).length >= 2, "it takes no jobs");
    await reachable(context, "hello");
    await unharmed(await loadOn(context, "hello"), "after other addresses");
  },
);

machines("alerts that are over are cleared", ({ appliance }) => cleared(appliance, "clock-off"));

machines("nothing is left on the machine", ({ scope }) => leavesNothing(scope));

machines.run();
