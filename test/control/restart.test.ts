// time limit: 120 s
// Restart as one request: over the API, with hosts that report. No request is lost, and what is not asked for stays as it is.
import { test } from "uvu";
import * as assert from "uvu/assert";
import * as apps from "#api/apps.ts";
import { listDeployments } from "#api/deployments.ts";
import { isFault } from "#api/fault.ts";
import { type Job, listJobs, restartApp } from "#api/jobs.ts";
import { createService } from "#api/services.ts";
import { until } from "#lib/time.ts";
import { restartOf } from "../../control/apps/restart.ts";
import { type Rig, withRig } from "./rig.ts";

const APP = { app: "hello" };
const PROCESSES = { web: { port: 8080 }, worker: { port: null } };
const job = (id: string, process: string, over: Partial<Job> = {}) =>
  ({ id, process, state: "up", desired: "run", ...over }) as Job;
const JOBS = [job("w1", "web"), job("w2", "web"), job("k1", "worker"), job("k2", "worker", { state: "starting" })];

const decided = (wish: Parameters<typeof restartOf>[3], jobs = JOBS): string => {
  try {
    const restart = restartOf("hello", { processes: PROCESSES }, jobs, wish);
    return restart.type === "deploy" ? "deploy" : restart.jobs.map(({ id }) => id).join(" ");
  } catch (error) {
    assert.ok(isFault(error));
    return `${error.code}: ${error.message}`;
  }
};

for (const [claim, wish, expected, jobs] of [
  ["all of an app is deployed anew", {}, "deploy", JOBS],
  ["a process that takes no requests stops and starts", { process: "worker" }, "k1 k2", JOBS],
  ["one of several that serve stops alone", { job: "w1" }, "w1", JOBS],
  ["all that serve are deployed anew, so that no request is lost", { process: "web" }, "deploy", JOBS],
  [
    "the only one that serves is, too",
    { job: "w1" },
    "deploy",
    [job("w1", "web"), job("w2", "web", { state: "starting" })],
  ],
  [
    "a job that stops already is not counted on",
    { job: "w1" },
    "deploy",
    [job("w1", "web"), job("w2", "web", { desired: "drain" })],
  ],
  [
    "a one-off job is not restarted",
    { job: "t" },
    "not-found: no job t of app hello runs; see: flynn -a hello ps",
    [job("t", "run", { task: { kind: "run" } as Job["task"] })],
  ],
  ["a process without jobs stops none", { process: "worker" }, "", [job("w1", "web")]],
  [
    "an unknown process is named beside those there are",
    { process: "cron" },
    "not-found: app hello has no process cron; it has web, worker",
    JOBS,
  ],
  [
    "a process and a job are one too many",
    { process: "web", job: "w1" },
    "invalid: give a process or a job, not both",
    JOBS,
  ],
] as const)
  test(claim, () => assert.is(decided(wish, jobs as Job[]), expected));

const up = async ({ admin }: Rig): Promise<Job[]> =>
  (await admin.call(listJobs, { params: APP })).items.filter(
    ({ state, desired }) => state === "up" && desired === "run",
  );

test("one of two jobs is restarted by one request, asked twice or not, and the other stays", () =>
  withRig(async (rig) => {
    (await rig.host()).start();
    await rig.admin.call(createService, { body: { name: "hello", image: "hello:1", count: 2 } });
    const two = async () => ((await up(rig)).length === 2 ? up(rig) : undefined);
    const [first, second] = await until(two, { what: "two jobs", timeoutMs: 20_000 });
    await until(async () => (await rig.admin.call(listDeployments, { params: APP })).items[0]?.state === "complete", {
      what: "the deployment's end",
      timeoutMs: 20_000,
    });
    const ask = () =>
      rig.admin.call(restartApp, { params: APP, body: { job: first!.id }, idempotencyKey: "restart-1" });
    assert.equal(await ask(), { jobs: [first!.id] });
    assert.equal(await ask(), { jobs: [first!.id] });
    const anew = await until(
      async () => {
        const jobs = await up(rig);
        return jobs.length === 2 && jobs.every(({ id }) => id !== first!.id) ? jobs : undefined;
      },
      { what: "another job", timeoutMs: 20_000 },
    );
    assert.ok(anew.some(({ id }) => id === second!.id));
    assert.is((await rig.admin.call(apps.listReleases, { params: APP })).items.length, 1);

    const whole = await rig.admin.call(restartApp, { params: APP, body: {} });
    assert.equal([whole.version, whole.jobs], [2, []]);
    const [deployment] = (await rig.admin.call(listDeployments, { params: APP })).items;
    assert.equal([deployment!.id, deployment!.toVersion], [whole.deploymentId, 2]);
  }));

test("an app with nothing deployed says what comes first", () =>
  withRig(
    async ({ admin }) => {
      await admin.call(apps.createApp, { body: { name: "hello" } });
      try {
        await admin.call(restartApp, { params: APP, body: {} });
        assert.unreachable();
      } catch (error) {
        assert.ok(isFault(error, "conflict"), String(error));
        assert.match((error as Error).message, "nothing deployed yet: git push flynn main");
      }
    },
    { loops: false },
  ));

test.run();
