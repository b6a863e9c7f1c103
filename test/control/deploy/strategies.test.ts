// time limit: 120 s
// Strategies and checks with a whole control: what serves while a deployment runs, jobs that have to stay healthy, single fields of a
// process changed, and settings of an app.
import { test } from "uvu";
import * as assert from "uvu/assert";
import * as apps from "#api/apps.ts";
import * as deployments from "#api/deployments.ts";
import type { Fault } from "#api/fault.ts";
import { type Job, listJobs } from "#api/jobs.ts";
import { createService } from "#api/services.ts";
import { until } from "#lib/time.ts";
import { PREFIX } from "../../../control/keys.ts";
import { type FakeHost, type Rig, withRig } from "../rig.ts";

const APP = { app: "hello" };
const WAIT = { timeoutMs: 20_000, everyMs: 30 };

const ended = (rig: Rig, id: string) =>
  until(
    async () => {
      const found = await rig.admin.call(deployments.getDeployment, { params: { ...APP, id } });
      return ["complete", "failed", "cancelled"].includes(found.state) ? found : undefined;
    },
    { what: `deployment ${id} to end`, ...WAIT },
  );
const setEnv = async (rig: Rig, env: Record<string, string>): Promise<string> =>
  (await rig.admin.call(apps.updateEnv, { params: APP, body: { env } })).deploymentId!;

async function running(rig: Rig, count: number): Promise<FakeHost> {
  const host = await rig.host();
  host.start();
  await rig.admin.call(createService, { body: { name: "hello", image: "hello:1", count } });
  const [first] = (await rig.admin.call(deployments.listDeployments, { params: APP })).items;
  assert.is((await ended(rig, first!.id)).state, "complete");
  return host;
}

/** After each record: how many jobs serve, and how many there are: those that end their requests too, where room counts. */
function watched(rig: Rig, withEnding: boolean): { least: () => number; most: () => number } {
  const [serving, there]: [number[], number[]] = [[], []];
  rig.store.onDurable(() => {
    const jobs = rig.store.list<Job>(PREFIX.jobs).map(({ value }) => value);
    serving.push(jobs.filter(({ state, desired }) => state === "up" && desired === "run").length);
    there.push(
      jobs.filter(({ state, desired }) => state !== "down" && state !== "lost" && (withEnding || desired === "run"))
        .length,
    );
  });
  return { least: () => Math.min(...serving), most: () => Math.max(...there) };
}

for (const [strategy, least, most] of [
  ["rolling", 4, 5],
  ["in-batches", 4, 6],
  ["all-at-once", 4, 8],
  ["one-down-one-up", 3, 4],
] as const) {
  test(`${strategy}: of four jobs at least ${least} serve all the time, and there are never more than ${most}`, () =>
    withRig(async (rig) => {
      await running(rig, 4);
      await rig.admin.call(apps.updateApp, { params: APP, body: { strategy, batchSize: 2 } });
      const counts = watched(rig, strategy === "one-down-one-up");
      const done = await ended(rig, await setEnv(rig, { A: "1" }));
      assert.equal([done.state, done.strategy], ["complete", strategy]);
      assert.ok(counts.least() >= least, `${counts.least()} served`);
      assert.ok(counts.most() <= most, `${counts.most()} were there`);
      // The old ones were told to stop when nobody was on them any more; how long they take over it is their own affair.
      const versions = async () =>
        (await rig.admin.call(listJobs, { params: APP })).items.map(({ version }) => version);
      await until(async () => (await versions()).every((version) => version === 2), { what: "their end", ...WAIT });
      assert.equal(await versions(), [2, 2, 2, 2]);
    }));
}

test("the first new job has to stay healthy for as long as its process says, and one that crashes meanwhile does not count", () =>
  withRig(async (rig) => {
    const host = await running(rig, 2);
    const first = await rig.admin.call(apps.createRelease, {
      params: APP,
      body: {
        processChanges: {
          web: {
            health: {
              type: "tcp",
              intervalMs: 1_000,
              timeoutMs: 1_000,
              rise: 1,
              fall: 3,
              startTimeoutMs: 60_000,
              stableMs: 1_500,
            },
          },
        },
      },
    });
    const startedMs = performance.now();
    const { id } = await rig.admin.call(deployments.createDeployment, { params: APP, body: { release: first.id } });
    const seen = await until(
      async () => {
        const found = await rig.admin.call(deployments.getDeployment, { params: { ...APP, id } });
        return /has to stay so/.test(found.step) ? found : undefined;
      },
      { what: "the wait to be told", ...WAIT },
    );
    assert.equal(seen.processes["web"], { wanted: 2, healthy: 1, oldLeft: 2 });
    assert.is((await ended(rig, id)).state, "complete");
    const tookMs = performance.now() - startedMs;
    assert.ok(tookMs >= 1_500, `${tookMs} ms`);

    rig.store.onDurable(({ mutations }) => {
      for (const { key, value } of mutations) {
        const job = value as unknown as Job | null;
        if (!key.startsWith(PREFIX.jobs) || job?.version !== 3 || job.state !== "up") continue;
        host.states.set(job.id, { state: "crashed", restarts: 2, exitCode: 1, reason: "exit code 1" });
      }
    });
    const failed = await ended(rig, await setEnv(rig, { A: "1" }));
    assert.is(failed.state, "failed", "it was up once, and not for long");
    assert.match(failed.reason, /keeps crashing: exit code 1/);
    const { items } = await rig.admin.call(listJobs, { params: APP });
    assert.is(items.filter(({ version, state }) => version === 2 && state === "up").length, 2);
  }));

test("a single job is live before it has shown that it stays healthy, and the one before it serves again, the same, when it does not", () =>
  withRig(async (rig) => {
    const host = await running(rig, 1);
    await rig.router();
    const jobsOf = async (version: number) =>
      (await rig.admin.call(listJobs, { params: APP })).items.filter((job) => job.version === version);
    const [before] = await jobsOf(1);
    const health = {
      type: "tcp",
      intervalMs: 1_000,
      timeoutMs: 1_000,
      rise: 1,
      fall: 3,
      startTimeoutMs: 60_000,
    } as const;
    const next = await rig.admin.call(apps.createRelease, {
      params: APP,
      body: { processChanges: { web: { health: { ...health, stableMs: 15_000 } } } },
    });
    const { id } = await rig.admin.call(deployments.createDeployment, { params: APP, body: { release: next.id } });
    const now = () => rig.admin.call(deployments.getDeployment, { params: { ...APP, id } });
    const live = await until(async () => ((await now()).liveAt === undefined ? undefined : now()), {
      what: "the new release to be live",
      ...WAIT,
    });
    assert.is(live.state, "running");
    assert.match(live.step, /the old jobs are kept/);
    assert.equal(
      (await jobsOf(1)).map(({ id, desired }) => [id, desired]),
      [[before!.id, "drain"]],
    );
    assert.is(
      (await rig.admin.call(apps.getApp, { params: APP })).releaseId,
      next.id,
      "it is what runs, to whoever asks",
    );
    assert.is((await rig.admin.call(apps.getFormation, { params: APP })).processes["web"]?.count, 1);

    const [fresh] = await jobsOf(2);
    host.states.set(fresh!.id, { state: "crashed", restarts: 0, exitCode: 1, reason: "exit code 1" });
    await until(async () => ((await jobsOf(1))[0]?.desired === "run" ? true : undefined), {
      what: "the earlier job to serve again",
      ...WAIT,
    });
    assert.equal([(await now()).liveAt, (await now()).state], [undefined, "running"], "it is tried on, beside it");
    host.states.set(fresh!.id, { state: "crashed", restarts: 2, exitCode: 1, reason: "exit code 1" });
    const failed = await ended(rig, id);
    assert.match(failed.reason, /keeps crashing: exit code 1/);
    assert.equal(
      (await jobsOf(1)).map(({ id, desired, state }) => [id, desired, state]),
      [[before!.id, "run", "up"]],
    );
    assert.is((await rig.admin.call(apps.getApp, { params: APP })).releaseId, before!.releaseId);
  }));

test("single fields of a process change, the others stay; null takes one away; what is not there is refused", () =>
  withRig(async (rig) => {
    await rig.admin.call(apps.createApp, { body: { name: "hello" } });
    const create = (body: object) => rig.admin.call(apps.createRelease, { params: APP, body });
    const processes = { web: { port: 80, memoryBytes: 64 << 20, pids: 50 }, worker: { port: null } };
    await create({ processes });
    const changed = await create({
      processChanges: { web: { memoryBytes: 128 << 20, pids: null }, worker: { cpuMillis: 50 } },
    });
    assert.equal(changed.processes, {
      web: { port: 80, memoryBytes: 128 << 20 },
      worker: { port: null, cpuMillis: 50 },
    });
    assert.is(changed.description, "web: memoryBytes, pids; worker: cpuMillis");
    const again = await create({ processChanges: { web: { port: null } } });
    assert.equal(again.processes["web"], { port: null, memoryBytes: 128 << 20 });
    const refused = await create({ processChanges: { nope: { pids: 9 } } }).catch((error: Fault) => error.message);
    assert.is(refused, "no process nope; the app has web, worker");
  }));

test("batch size, strategy and time are set on the app and taken away again", () =>
  withRig(async (rig) => {
    await rig.admin.call(apps.createApp, { body: { name: "hello" } });
    const update = (body: object) => rig.admin.call(apps.updateApp, { params: APP, body });
    const set = await update({ strategy: "in-batches", batchSize: 3, deployTimeoutMs: 5_000, deployBranch: "release" });
    assert.equal(
      [set.strategy, set.batchSize, set.deployTimeoutMs, set.deployBranch],
      ["in-batches", 3, 5_000, "release"],
    );
    const unset = await update({ batchSize: null, deployBranch: null });
    assert.equal([unset.batchSize, unset.deployBranch, unset.strategy], [undefined, undefined, "in-batches"]);
  }));

test.run();
