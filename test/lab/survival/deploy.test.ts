// time limit: 360 s
// Deploy, scale, kill, configure and roll back under constant load: no request fails, whatever the release is like.
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Deployment } from "#api/deployments.ts";
import { until } from "#lib/time.ts";
import {
  addApp,
  ask,
  type Cluster,
  containersOn,
  deploy,
  ended,
  jobsOf,
  leavesNothing,
  loadOn,
  release,
  scale,
  seconds,
  settled,
  startCluster,
  unharmed,
} from "./cluster.ts";

const COUNT = 3;

const deploys = suite<Cluster>("survival: deploy");

deploys.before(async (context) => {
  Object.assign(context, await startCluster());
  await addApp(context, { name: "hello", count: COUNT });
});

deploys.after(({ scope }: Partial<Cluster>) => scope?.close());

/** Short requests many times a second, and ones of two seconds that are under way whenever a job is told to end. */
async function underLoad(cluster: Cluster, what: string, work: () => Promise<void>): Promise<void> {
  const url = `http://${cluster.appliance.address}/cgi-bin/slow`;
  const loads = [
    await loadOn(cluster, "hello"),
    await loadOn(cluster, "hello", { url, requestsPerSecond: 4, timeoutMs: 15_000, expect: ["ok slowly"] }),
  ] as const;
  await until(async () => (await loads[0].progress()).requests > 50, { what: "50 requests", timeoutMs: 20_000 });
  const startedMs = performance.now();
  await work();
  const [most] = [(await loads[0].progress()).requests + 50];
  await until(async () => (await loads[0].progress()).requests > most, { what: "50 more", timeoutMs: 20_000 });
  await unharmed(loads[0], `${what}, ${seconds(startedMs)} s`);
  await unharmed(loads[1], `${what}, slow requests`);
}

const answer = async ({ appliance }: Cluster) => (await appliance.get("hello.test")).body;

deploys("a rolling deploy under load fails no request, also none that takes two seconds", async (cluster) => {
  const { appliance } = cluster;
  const version = await release(cluster, "hello", "hello", { env: { GREETING: "Second" } });
  await underLoad(cluster, "rolling deploy", async () => {
    const deployment = await deploy(appliance, "hello", version);
    assert.is(deployment.state, "complete", deployment.reason);
  });
  const jobs = await settled(appliance, "hello", COUNT);
  assert.ok(jobs.every(({ version: number }) => `v${number}` === version));
  assert.match(await answer(cluster), /^Second from hello /);
});

deploys("scaling up and down under load fails no request", async (cluster) => {
  const { appliance, hosts } = cluster;
  await underLoad(cluster, "scale 3 to 7 to 2", async () => {
    await scale(appliance, "hello", 7);
    await scale(appliance, "hello", 2);
    const running = async () => (await Promise.all(hosts.map(containersOn))).flat().length;
    await until(async () => (await running()) === 2, { what: "five stopped containers", timeoutMs: 60_000 });
  });
  await scale(appliance, "hello", COUNT);
});

deploys("a job stopped under load is replaced and fails no request", async (cluster) => {
  const { appliance } = cluster;
  await underLoad(cluster, "job stopped", async () => {
    const [victim] = await settled(appliance, "hello", COUNT);
    await ask(appliance, "POST", `/v1/jobs/${victim!.id}/stop`, {});
    const replaced = async () => (await jobsOf(appliance, "hello")).every(({ id }) => id !== victim!.id);
    await until(replaced, { what: "the end of the stopped job", timeoutMs: 60_000 });
    await settled(appliance, "hello", COUNT);
  });
});

deploys("a job that dies under load is started again and fails no short request", async (cluster) => {
  const { appliance, hosts } = cluster;
  const load = await loadOn(cluster, "hello");
  await until(async () => (await load.progress()).requests > 50, { what: "50 requests", timeoutMs: 20_000 });
  const host = hosts[0]!;
  const [victim] = await containersOn(host);
  assert.ok(victim);
  const killedMs = performance.now();
  assert.is((await host.docker("POST", `/containers/${victim.id}/kill?signal=SIGKILL`)).status, 204);
  const again = async () => {
    const job = (await jobsOf(appliance, "hello")).find(({ id }) => id === victim.jobId);
    return job?.state === "up" && job.restarts === 1;
  };
  await until(again, { what: "the job up again after one restart", timeoutMs: 60_000 });
  console.log(`killed job up again after ${seconds(killedMs)} s`);
  await settled(appliance, "hello", COUNT);
  await unharmed(load, "kill -9 of a job");
});

deploys("a change of the environment under load fails no request", async (cluster) => {
  const { appliance } = cluster;
  await underLoad(cluster, "env change", async () => {
    const { deploymentId } = await ask<{ deploymentId?: string }>(appliance, "PATCH", "/v1/apps/hello/env", {
      env: { GREETING: "Third" },
    });
    const deployment = await ended(appliance, "hello", deploymentId ?? "none");
    assert.is(deployment.state, "complete", deployment.reason);
  });
  assert.match(await answer(cluster), /^Third from hello /);
});

for (const [image, reason, lastLine] of [
  ["crasher", /keeps crashing/, "fatal: no database at db:5432"],
  ["never-healthy", /0 of 1 new jobs healthy after 8 s/, "never-healthy: thinking"],
] as const) {
  deploys(
    `a release that is ${image} fails with its reason and last lines, and the old one serves on`,
    async (cluster) => {
      const { appliance } = cluster;
      const before = (await settled(appliance, "hello", COUNT)).map(({ id }) => id).sort();
      await ask(appliance, "PATCH", "/v1/apps/hello", { deployTimeoutMs: image === "crasher" ? 60_000 : 8_000 });
      const version = await release(cluster, "hello", image);
      let deployment: Deployment | undefined;
      await underLoad(cluster, `deploy of ${image}`, async () => {
        deployment = await deploy(appliance, "hello", version);
      });
      assert.is(deployment?.state, "failed");
      assert.match(deployment?.reason ?? "", reason);
      const lines = (deployment?.logTail ?? []).map(({ line }) => line);
      assert.ok(lines.includes(lastLine), JSON.stringify(lines));
      console.log(`${image}: ${deployment?.reason}`);
      const after = await settled(appliance, "hello", COUNT);
      assert.equal(after.map(({ id }) => id).sort(), before, "the jobs of the old release were not touched");
      assert.match(await answer(cluster), /^Third from hello /);
      await ask(appliance, "PATCH", "/v1/apps/hello", { deployTimeoutMs: 120_000 });
    },
  );
}

deploys("a rollback under load brings the earlier release back and fails no request", async (cluster) => {
  const { appliance } = cluster;
  await underLoad(cluster, "rollback", async () => {
    const { id } = await ask<Deployment>(appliance, "POST", "/v1/apps/hello/rollback", {});
    const deployment = await ended(appliance, "hello", id);
    assert.is(deployment.state, "complete", deployment.reason);
  });
  assert.match(await answer(cluster), /^Second from hello /);
});

deploys(
  "a canary under load gets its share, called off it gets nothing more, and no request fails",
  async (cluster) => {
    const { appliance } = cluster;
    const before = /^(\w+) from hello /.exec(await answer(cluster))![1]!;
    const version = await release(cluster, "hello", "hello", { env: { GREETING: "Canary" } });
    const { id } = await ask<Deployment>(appliance, "POST", "/v1/apps/hello/deployments", {
      release: version,
      ...{ pauseAfter: 1, canaryPercent: 20 },
    });
    const now = () => ask<Deployment>(appliance, "GET", `/v1/apps/hello/deployments/${id}`);
    const paused = async () => (await now()).step.startsWith("paused: web: new 1 of 3");
    await until(paused, { what: "the pause", timeoutMs: 60_000 });
    const expect = [`${before} from`, "Canary from"];
    const canaryAnswers = async () => /^Canary/.test(await answer(cluster));
    await until(canaryAnswers, { what: "an answer of the canary", timeoutMs: 30_000, everyMs: 20 });
    const shared = await loadOn(cluster, "hello", { expect });
    await until(async () => (await shared.progress()).requests > 600, { what: "600 requests", timeoutMs: 60_000 });
    const { requests, answers } = await unharmed(shared, "canary of 20 %");
    const share = answers["Canary from"]! / requests;
    // By lot: seven standard deviations of 600 requests to either side.
    assert.ok(share > 0.09 && share < 0.31, `${share}`);

    const after = await loadOn(cluster, "hello", { expect });
    await ask(appliance, "POST", `/v1/apps/hello/deployments/${id}/cancel`, {});
    assert.is((await ended(appliance, "hello", id)).state, "cancelled");
    await settled(appliance, "hello", COUNT);
    await unharmed(after, "canary called off");
    const back = await loadOn(cluster, "hello", { expect });
    await until(async () => (await back.progress()).requests > 100, { what: "100 requests", timeoutMs: 60_000 });
    assert.is((await unharmed(back, "without the canary")).answers["Canary from"] ?? 0, 0);
  },
);

deploys("HAProxy was reloaded by none of it", async ({ appliance }) => {
  const { items } = await ask<{ items: { reloads: number }[] }>(appliance, "GET", "/v1/routers");
  assert.equal(
    items.map(({ reloads }) => reloads),
    [0],
    join(appliance.stateDir, "log/router.log"),
  );
});

deploys("nothing is left on the machine", ({ scope }) => leavesNothing(scope));

deploys.run();
