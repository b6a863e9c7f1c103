// time limit: 120 s
// Staged rollouts by the API alone: a deployment pauses between two steps and goes on, and meanwhile routes give the new release a share.
import { test } from "uvu";
import * as assert from "uvu/assert";
import * as apps from "#api/apps.ts";
import * as deployments from "#api/deployments.ts";
import { isFault } from "#api/fault.ts";
import { type Job, listJobs, restartApp } from "#api/jobs.ts";
import { createRoute, type HttpRoute, listRoutes, updateRoute } from "#api/routes.ts";
import * as services from "#api/services.ts";
import { until } from "#lib/time.ts";
import { type FakeHost, type Rig, withRig } from "../rig.ts";

const APP = { app: "hello" };
const jobs = async (rig: Rig): Promise<Job[]> => (await rig.admin.call(listJobs, { params: APP })).items;
const up = async (rig: Rig, version: number) =>
  (await jobs(rig)).filter((job) => job.state === "up" && job.desired === "run" && job.version === version);
const shown = (rig: Rig, id: string) => rig.admin.call(deployments.getDeployment, { params: { ...APP, id } });
const act = (rig: Rig, id: string, what: "pause" | "resume" | "cancel", body = {}) =>
  rig.admin.call(
    { pause: deployments.pauseDeployment, resume: deployments.resumeDeployment, cancel: deployments.cancelDeployment }[
      what
    ],
    { params: { ...APP, id }, body },
  );
const until20 = <T>(what: string, look: () => T | Promise<T>) => until(look, { what, timeoutMs: 20_000, everyMs: 30 });
const isOver = ({ state }: deployments.Deployment) => ["complete", "failed", "cancelled"].includes(state);
const ended = (rig: Rig, id: string) =>
  until20(`deployment ${id} to end`, async () => {
    const found = await shown(rig, id);
    return isOver(found) ? found : undefined;
  });
const paused = (rig: Rig, id: string) =>
  until20(`deployment ${id} to pause`, async () => {
    const found = await shown(rig, id);
    return /^paused: /.test(found.step) ? found : undefined;
  });
const faultOf = async (work: Promise<unknown>): Promise<string> =>
  await work.then(
    () => "no fault",
    (error: unknown) => (isFault(error) ? `${error.code}: ${error.message}` : String(error)),
  );

async function running(rig: Rig, count: number): Promise<FakeHost[]> {
  const made = [await rig.host(), await rig.host()];
  for (const host of made) host.start();
  await rig.admin.call(services.createService, {
    body: { name: "hello", image: "hello:1", count, domain: "hello.test" },
  });
  await until20("the first deployment", async () => (await up(rig, 1)).length === count);
  const { items } = await rig.admin.call(deployments.listDeployments, { params: APP });
  await ended(rig, items[0]!.id);
  return made;
}
const release = async (rig: Rig, env: Record<string, string>) =>
  (await rig.admin.call(apps.createRelease, { params: APP, body: { env } })).id;
const deploy = async (rig: Rig, body: { release: string; pauseAfter?: number; canaryPercent?: number }) =>
  (await rig.admin.call(deployments.createDeployment, { params: APP, body })).id;
const routesOf = async (rig: Rig) => (await rig.admin.call(listRoutes)).items as HttpRoute[];

test("a deployment pauses after one new job with every old one serving, and goes on when it is resumed", () =>
  withRig(async (rig) => {
    await rig.router();
    await running(rig, 3);
    const id = await deploy(rig, { release: await release(rig, { A: "1" }), pauseAfter: 1 });
    const found = await paused(rig, id);
    assert.is(found.state, "running");
    assert.ok(found.pausedAt);
    assert.equal([(await up(rig, 1)).length, (await up(rig, 2)).length], [3, 1]);
    await act(rig, id, "resume", { pauseAfter: 2 });
    const second = await until20("the second pause", async () => {
      const now = await shown(rig, id);
      return now.pausedAt !== undefined && now.processes["web"]!.healthy === 2 ? now : undefined;
    });
    assert.match(second.step, /new 2 of 3/);
    assert.ok((await up(rig, 1)).length + (await up(rig, 2)).length >= 3);
    await act(rig, id, "resume");
    assert.is((await ended(rig, id)).state, "complete");
    assert.is((await up(rig, 2)).length, 3);
    assert.match(await faultOf(act(rig, id, "pause")), /^conflict/);
    assert.match(await faultOf(act(rig, id, "resume")), /^conflict/);
  }));

test("while it is paused the canary has its share and nothing else, and that ends with the pause", () =>
  withRig(async (rig) => {
    const router = await rig.router();
    await running(rig, 3);
    await rig.admin.call(createRoute, { body: { app: "hello", domain: "try.hello.test" } });
    const id = await deploy(rig, { release: await release(rig, { A: "1" }), pauseAfter: 1, canaryPercent: 5 });
    await paused(rig, id);
    const [canaryJob] = await up(rig, 2);
    const target = await until20("the routers to be told", () =>
      router.seen.findLast(({ routes }) => routes.length === 2 && routes.every(({ canary }) => canary !== undefined)),
    );
    const [main] = target.routes.filter(({ domain }) => domain === "hello.test");
    assert.is(main!.canary!.percent, 5);
    const poolOf = (poolId: string) =>
      target.pools.find((pool) => pool.id === poolId)!.backends.map(({ jobId }) => jobId);
    assert.equal(poolOf(main!.canary!.poolId), [canaryJob!.id]);
    assert.equal(poolOf(main!.poolId).sort(), (await up(rig, 1)).map((job) => job.id).sort());

    const everSeen = router.seen.length;
    for (const { id: route, domain } of await routesOf(rig))
      await rig.admin.call(updateRoute, {
        params: { id: route },
        body: { canary: { percent: domain === "try.hello.test" ? 100 : 0 } },
      });
    await until20("the new shares", () => {
      const last = router.seen.at(-1)!;
      const shares = last.routes.flatMap(({ domain, canary }) => (canary ? [`${domain} ${canary.percent}`] : []));
      return shares.join() === "try.hello.test 100" ? last : undefined;
    });
    for (const { pools } of router.seen.slice(everSeen))
      assert.ok(
        pools.every((pool) => pool.id.includes("@") || pool.backends.every(({ jobId }) => jobId !== canaryJob!.id)),
      );

    await act(rig, id, "resume");
    await ended(rig, id);
    assert.ok((await routesOf(rig)).every(({ canary }) => canary === undefined));
    const last = await until20("the routes of the end", () => {
      const now = router.seen.at(-1)!;
      return now.pools.length === 1 && now.pools[0]!.backends.length === 3 ? now : undefined;
    });
    assert.ok(last.routes.every(({ canary }) => canary === undefined));
  }));

test("a canary that is called off gets nothing more from that moment, and leaves what ran before as it was", () =>
  withRig(async (rig) => {
    const router = await rig.router();
    await running(rig, 2);
    const before = (await up(rig, 1)).map((job) => job.id).sort();
    const id = await deploy(rig, { release: await release(rig, { A: "1" }), pauseAfter: 1, canaryPercent: 50 });
    await paused(rig, id);
    const [canaryJob] = await up(rig, 2);
    await until20("its share", () => router.seen.at(-1)!.routes[0]!.canary?.percent === 50);
    const from = router.seen.length;
    await act(rig, id, "cancel");
    assert.is((await ended(rig, id)).state, "cancelled");
    await until20("its jobs to end", async () => (await jobs(rig)).every(({ version }) => version === 1));
    assert.equal((await up(rig, 1)).map((job) => job.id).sort(), before);
    assert.ok((await routesOf(rig)).every(({ canary }) => canary === undefined));
    for (const { pools, routes } of router.seen.slice(from)) {
      assert.is(routes[0]!.canary, undefined);
      const main = pools.find((pool) => pool.id === routes[0]!.poolId)!;
      assert.ok(main.backends.every(({ jobId, state }) => jobId !== canaryJob!.id || state === "drain"));
    }
  }));

test("a canary that crashes fails its deployment while it is paused, and hours of pause are not taken for a hang", () =>
  withRig(async (rig) => {
    const hosts = await running(rig, 2);
    await rig.admin.call(apps.updateApp, { params: APP, body: { deployTimeoutMs: 1_000 } });
    const id = await deploy(rig, { release: await release(rig, { A: "1" }), pauseAfter: 1 });
    const found = await paused(rig, id);
    // Longer than a step may take: what is paused has no time to keep.
    const sinceMs = performance.now();
    await until20("its time to be up", () => performance.now() - sinceMs > 1_500);
    assert.is((await shown(rig, id)).pausedAt, found.pausedAt);
    const [canaryJob] = await up(rig, 2);
    for (const host of hosts)
      host.states.set(canaryJob!.id, { state: "crashed", restarts: 2, exitCode: 1, reason: "exit code 1" });
    for (const host of hosts) await host.report();
    const failed = await ended(rig, id);
    assert.is(failed.state, "failed");
    assert.match(failed.reason, /keeps crashing/);
    assert.is(failed.pausedAt, undefined);
  }));

test("a pause survives a restart of control; what waits behind it says so, and one that waits its turn can be paused too", () =>
  withRig(async (rig) => {
    await running(rig, 2);
    const id = await deploy(rig, { release: await release(rig, { A: "1" }), pauseAfter: 1 });
    await paused(rig, id);
    const next = await deploy(rig, { release: await release(rig, { B: "1" }) });
    assert.match(
      (await shown(rig, next)).step,
      /v2 is paused; to go on: flynn deployment resume, to go back: flynn deployment cancel/,
    );
    await act(rig, next, "pause");
    await rig.restart();
    assert.ok((await shown(rig, id)).pausedAt);
    await act(rig, id, "resume");
    assert.is((await ended(rig, id)).state, "complete");
    await until20("it is held", async () => (await shown(rig, next)).step === "paused before its first step");
    assert.is((await up(rig, 3)).length, 0);
    await act(rig, next, "resume");
    assert.is((await ended(rig, next)).state, "complete");
    assert.is((await up(rig, 3)).length, 2);
  }));

test("what makes no sense is refused in words", () =>
  withRig(async (rig) => {
    await running(rig, 1);
    const [route] = await routesOf(rig);
    const give = (canary: { release?: string; percent: number }) =>
      faultOf(rig.admin.call(updateRoute, { params: { id: route!.id }, body: { canary } }));
    assert.match(await give({ percent: 5 }), /^conflict: no deployment of hello is under way; name the release/);
    assert.match(await give({ release: "v1", percent: 5 }), /^conflict: v1 is what hello runs/);
    assert.match(await give({ release: "v9", percent: 5 }), /^not-found/);
    const made = await release(rig, { A: "1" });
    assert.match(
      await faultOf(deploy(rig, { release: made, canaryPercent: 5 })),
      /^invalid: canaryPercent needs pauseAfter/,
    );
    assert.is(
      await give({ release: "v2", percent: 5 }),
      "no fault",
      "before it is deployed, so that no request slips through",
    );
    const id = await deploy(rig, { release: made });
    await ended(rig, id);
    assert.is((await routesOf(rig))[0]!.canary, undefined);
  }));

test("every strategy pauses with as many serving as it keeps, and ends with all of the new release", () =>
  withRig(async (rig) => {
    await rig.router();
    await running(rig, 3);
    for (const strategy of ["one-down-one-up", "in-batches", "all-at-once"] as const) {
      await rig.admin.call(apps.updateApp, { params: APP, body: { strategy } });
      const id = await deploy(rig, { release: await release(rig, { S: strategy }), pauseAfter: 1, canaryPercent: 5 });
      await paused(rig, id);
      const serving = (await jobs(rig)).filter(({ state, desired }) => state === "up" && desired === "run");
      assert.ok(serving.length >= (strategy === "one-down-one-up" ? 2 : 3), `${strategy}: ${serving.length}`);
      await act(rig, id, "resume");
      const found = await ended(rig, id);
      assert.is(found.state, "complete", strategy);
      assert.is((await up(rig, found.toVersion)).length, 3, strategy);
    }
  }));

test("one that waits its turn is paused and resumed by hand, and comes to its own pause with its canary all the same", () =>
  withRig(async (rig) => {
    const router = await rig.router();
    await running(rig, 2);
    const first = await deploy(rig, { release: await release(rig, { A: "1" }), pauseAfter: 1 });
    await paused(rig, first);
    const next = await deploy(rig, { release: await release(rig, { B: "1" }), pauseAfter: 1, canaryPercent: 5 });
    await act(rig, next, "pause");
    await act(rig, next, "resume");
    await act(rig, first, "resume");
    await ended(rig, first);
    assert.match((await paused(rig, next)).step, /new 1 of 2/);
    assert.is((await routesOf(rig))[0]!.canary?.percent, 5);
    await act(rig, next, "resume");
    await ended(rig, next);
    assert.is((await routesOf(rig))[0]!.canary, undefined);
    assert.ok(router.seen.length > 0);
  }));

test("what was only changed about a release that is called off is called off with it; a restart and a rollback say what to do", () =>
  withRig(async (rig) => {
    await running(rig, 2);
    const id = await deploy(rig, { release: await release(rig, { BAD: "1" }), pauseAfter: 1, canaryPercent: 5 });
    await paused(rig, id);
    assert.match(
      await faultOf(rig.admin.call(restartApp, { params: APP, body: {} })),
      /^conflict: v2 of hello is paused/,
    );
    const back = rig.admin.call(deployments.rollbackApp, { params: APP, body: {} });
    assert.match(await faultOf(back), /^conflict: v2 of hello is on its way .*deployment cancel/);
    const { deploymentId } = await rig.admin.call(apps.updateEnv, { params: APP, body: { env: { MORE: "1" } } });
    assert.equal((await rig.admin.call(apps.getEnv, { params: APP })).env, { BAD: "1", MORE: "1" });
    await act(rig, id, "cancel");
    assert.is((await ended(rig, id)).state, "cancelled");
    const queued = await ended(rig, deploymentId!);
    assert.equal([queued.state, /v2, which it was made from, was cancelled/.test(queued.reason)], ["cancelled", true]);
    assert.equal((await rig.admin.call(apps.getEnv, { params: APP })).env, {});
    assert.is((await up(rig, 1)).length, 2);
  }));

test("an app is scaled while a deployment of it is paused: the earlier release takes the load, and the new one reaches that count", () =>
  withRig(async (rig) => {
    await running(rig, 2);
    const id = await deploy(rig, { release: await release(rig, { A: "1" }), pauseAfter: 1, canaryPercent: 5 });
    await paused(rig, id);
    await rig.admin.call(apps.updateFormation, { params: APP, body: { web: { count: 4 } } });
    await until20("four earlier jobs", async () => (await up(rig, 1)).length === 4);
    assert.is((await up(rig, 2)).length, 1);
    await act(rig, id, "resume");
    assert.is((await ended(rig, id)).state, "complete");
    assert.is((await up(rig, 2)).length, 4);
  }));

test("a share that was given by hand ends with the first deployment that is not staged", () =>
  withRig(async (rig) => {
    const router = await rig.router();
    await running(rig, 2);
    await deploy(rig, { release: await release(rig, { A: "1" }) });
    await until20("v2", async () => (await up(rig, 2)).length === 2);
    const [route] = await routesOf(rig);
    const give = { params: { id: route!.id }, body: { canary: { release: "v1", percent: 1 } } };
    await until20("it to be taken", async () => (await faultOf(rig.admin.call(updateRoute, give))) === "no fault");
    const from = router.seen.length;
    const id = await deploy(rig, { release: "v1" });
    await ended(rig, id);
    assert.is((await routesOf(rig))[0]!.canary, undefined);
    for (const { routes } of router.seen.slice(from)) assert.is(routes[0]!.canary, undefined);
  }));

test.run();
