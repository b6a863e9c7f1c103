// time limit: 120 s
// Staged rollouts by the API alone: a deployment pauses between two steps and goes on, and meanwhile routes give the new release a share.
import { test } from "uvu";
import * as assert from "uvu/assert";
import * as apps from "#api/apps.ts";
import * as deployments from "#api/deployments.ts";
import { isFault } from "#api/fault.ts";
import { type Job, listJobs } from "#api/jobs.ts";
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
    assert.match(
      await faultOf(rig.admin.call(apps.updateFormation, { params: APP, body: { web: { count: 5 } } })),
      /^conflict/,
    );
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
    assert.match((await shown(rig, next)).step, /v2 is paused; go on with: flynn deployment resume/);
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

test.run();
