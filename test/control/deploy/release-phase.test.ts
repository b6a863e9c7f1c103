// time limit: 120 s
// The release phase: before anything is switched, once per deployment whoever restarts, and its failure leaves all as it was.
import { test } from "uvu";
import * as assert from "uvu/assert";
import * as apps from "#api/apps.ts";
import * as deployments from "#api/deployments.ts";
import { isFault } from "#api/fault.ts";
import { type Job, type JobReport, listJobs } from "#api/jobs.ts";
import { createService } from "#api/services.ts";
import { until } from "#lib/time.ts";
import { phaseStep } from "../../../control/deploy/release-phase.ts";
import { keys, PREFIX } from "../../../control/keys.ts";
import { type FakeHost, type Rig, withRig } from "../rig.ts";

const APP = { app: "hello" };
const WAIT = { timeoutMs: 20_000, everyMs: 30 };

const sample = (over: Partial<Job>): Job => ({
  id: "job-1",
  appId: "app",
  app: "hello",
  releaseId: "r",
  version: 1,
  process: "release",
  desired: "run",
  state: "up",
  reason: "",
  need: { cpuMillis: 1, memoryBytes: 1, diskBytes: 0 },
  tags: {},
  restarts: 0,
  createdAt: "2026-01-01T00:00:00Z",
  ...over,
});

test("what follows from its job: exit 0 goes on, everything else that is an end fails with the reason, time runs out", () => {
  const step = (over: Partial<Job> | undefined, ended: boolean, sinceMs = 0) =>
    phaseStep({ job: over && sample(over), ended, sinceMs, timeoutMs: 60_000 });
  assert.equal(step({ state: "down", exitCode: 0 }, true), { type: "passed" });
  assert.equal(step({ state: "down", exitCode: 0 }, true, 99_000), { type: "passed" }, "what is done is done");
  const reason = (...args: Parameters<typeof step>) => {
    const made = step(...args);
    return made.type === "fail" ? `${made.stop ? "stop " : ""}${made.reason}` : made.type;
  };
  assert.is(reason({ state: "down", exitCode: 3 }, true), "release phase: job-1 ended with exit code 3");
  assert.match(reason({ state: "down", exitCode: 137, reason: "out of memory" }, true), /137: out of memory$/);
  assert.match(reason({ state: "down" }, true), /no exit code/);
  assert.match(reason({ state: "lost" }, true), /host of job-1 was lost; whether it ran to its end is not known/);
  assert.match(
    reason({ state: "down", desired: "stop", exitCode: 0, reason: "stopped by admin" }, true),
    /was stopped/,
  );
  assert.match(reason(undefined, true), /job is gone/);
  assert.match(reason({ state: "pending", reason: "no host has room" }, false, 60_000), /^stop .*within 60 s$/);
  assert.equal(step({ state: "starting" }, false), { type: "wait", words: "release phase: job-1 is starting" });
});

const released = (rig: Rig): Job[] =>
  rig.store
    .list<Job>(PREFIX.jobs)
    .map(({ value }) => value)
    .filter(({ task }) => task?.kind === "release");
const setEnv = async (rig: Rig, env: Record<string, string>): Promise<string> =>
  (await rig.admin.call(apps.updateEnv, { params: APP, body: { env } })).deploymentId!;
const deployment = (rig: Rig, id: string) => rig.admin.call(deployments.getDeployment, { params: { ...APP, id } });
const ended = (rig: Rig, id: string) =>
  until(
    async () => {
      const found = await deployment(rig, id);
      return ["complete", "failed", "cancelled"].includes(found.state) ? found : undefined;
    },
    { what: `deployment ${id} to end`, ...WAIT },
  );
const web = async (rig: Rig): Promise<Job[]> =>
  (await rig.admin.call(listJobs, { params: APP })).items.filter(({ process }) => process === "web");

/** An app with two web jobs whose releases have a release phase from now on; its jobs report what is put into `phase`. */
async function running(rig: Rig, phase: Partial<JobReport>): Promise<FakeHost> {
  const host = await rig.host();
  rig.store.onDurable(({ mutations }) => {
    for (const { key, value } of mutations)
      if (key.startsWith(PREFIX.jobs) && (value as unknown as Job | null)?.task?.kind === "release")
        host.states.set((value as unknown as Job).id, phase);
  });
  host.start();
  await rig.admin.call(createService, { body: { name: "hello", image: "hello:1", count: 2 } });
  const first = (await rig.admin.call(deployments.listDeployments, { params: APP })).items[0]!;
  assert.is((await ended(rig, first.id)).state, "complete");
  const processes = { web: { port: 8080 }, release: { port: null, command: ["./migrate"] } };
  const made = await rig.admin.call(apps.createRelease, { params: APP, body: { processes, env: { STEP: "two" } } });
  await rig.admin.call(deployments.createDeployment, { params: APP, body: { release: made.id } });
  return host;
}
const newest = async (rig: Rig) => (await rig.admin.call(deployments.listDeployments, { params: APP })).items[0]!;

test("it runs once with the new release's variables before any new job is made, and has no formation", () =>
  withRig(async (rig) => {
    const phase: Partial<JobReport> = { state: "up" };
    const host = await running(rig, phase);
    const { id } = await newest(rig);
    const job = await until(() => host.target?.jobs.find(({ task }) => task?.kind === "release"), {
      what: "the release phase at its host",
      ...WAIT,
    });
    assert.equal([job.process, job.command, job.env["STEP"], job.version], ["release", ["./migrate"], "two", 2]);
    const during = await until(
      async () => {
        const found = await deployment(rig, id);
        return /release phase: job-\S+ is up/.test(found.step) ? found : undefined;
      },
      { what: "its state to be shown", ...WAIT },
    );
    assert.equal([during.state, during.releaseJobId], ["running", job.id]);
    assert.equal(
      (await web(rig)).map(({ version }) => version),
      [1, 1],
      "nothing is switched while it runs",
    );
    Object.assign(phase, { state: "down", exitCode: 0 });
    const done = await ended(rig, id);
    assert.is(done.state, "complete", done.reason);
    assert.equal(Object.keys(done.processes), ["web"]);
    const { processes } = await rig.admin.call(apps.getFormation, { params: APP });
    assert.equal(Object.keys(processes), ["web"]);
    assert.is(released(rig).length, 1);
    const scaled = rig.admin.call(apps.updateFormation, { params: APP, body: { release: { count: 1 } } });
    assert.match(
      await scaled.then(
        () => "scaled",
        (error: Error) => error.message,
      ),
      /is the release phase.*not scaled/,
    );
    const again = await rig.admin.call(deployments.createDeployment, { params: APP, body: { release: "v2" } });
    assert.is((await ended(rig, again.id)).state, "complete");
    assert.is(released(rig).length, 1, "deploying what runs releases nothing");
  }));

test("its failure fails the deployment with its reason; the old release goes on untouched", () =>
  withRig(async (rig) => {
    await running(rig, { state: "down", exitCode: 3, reason: "exit code 3" });
    const before = (await web(rig)).map(({ id }) => id).sort();
    const failed = await ended(rig, (await newest(rig)).id);
    assert.equal([failed.state, failed.step], ["failed", "the earlier release goes on serving"]);
    assert.match(failed.reason, /^release phase: job-\S+ ended with exit code 3/);
    assert.equal((await web(rig)).map(({ id }) => id).sort(), before);
    const { id, releaseId } = await rig.admin.call(apps.getApp, { params: APP });
    assert.equal(
      rig.store.list<apps.Formation>(keys.formationsOf(id)).map(({ value }) => value.releaseId),
      [releaseId],
    );
    assert.is((await rig.admin.call(apps.getEnv, { params: APP })).env["STEP"], undefined);
    const { deploymentId } = await rig.admin.call(apps.updateEnv, { params: APP, body: { env: { A: "1" } } });
    assert.is((await ended(rig, deploymentId!)).state, "complete", "the next release is made from what runs");
  }));

test("a restart of control while it runs goes on watching the same job, and makes no second one", () =>
  withRig(async (rig) => {
    const phase: Partial<JobReport> = { state: "up" };
    const host = await running(rig, phase);
    const { id } = await newest(rig);
    const { releaseJobId } = await until(
      async () => {
        const found = await deployment(rig, id);
        return found.releaseJobId === undefined ? undefined : found;
      },
      { what: "its job", ...WAIT },
    );
    await rig.restart();
    await until(async () => (await deployment(rig, id)).state === "running", { what: "it to go on", ...WAIT });
    assert.equal(
      released(rig).map((job) => job.id),
      [releaseJobId],
    );
    host.states.set(releaseJobId!, { state: "down", exitCode: 0 });
    const done = await ended(rig, id);
    assert.equal([done.state, done.releaseJobId, released(rig).length], ["complete", releaseJobId, 1]);
  }));

test("called off or out of time, its job is told to stop", () =>
  withRig(async (rig) => {
    const host = await running(rig, { state: "up" });
    const first = await newest(rig);
    await until(() => released(rig)[0]?.hostId, { what: "its job at a host", ...WAIT });
    await rig.admin.call(deployments.cancelDeployment, { params: { ...APP, id: first.id }, body: {} });
    assert.is((await ended(rig, first.id)).state, "cancelled");
    const [job] = released(rig);
    await until(() => released(rig).find(({ id }) => id === job!.id)?.desired !== "run", { what: "the stop", ...WAIT });
    host.states.set(job!.id, { state: "down", exitCode: 143 });

    await rig.admin.call(apps.updateApp, { params: APP, body: { deployTimeoutMs: 1_000 } });
    const again = await rig.admin.call(deployments.createDeployment, { params: APP, body: { release: "v2" } });
    const late = await ended(rig, again.id);
    assert.is(late.state, "failed");
    assert.match(late.reason, /^release phase: job-\S+ is (up|starting|pending).* did not end within 1 s/);
    const second = released(rig).find(({ id }) => id === late.releaseJobId)!;
    assert.is(second.desired, "stop");
    assert.equal(
      (await web(rig)).map(({ version }) => version),
      [1, 1],
    );
  }));

test("two changes in a row run two release phases, one after the other", () =>
  withRig(async (rig) => {
    const phase: Partial<JobReport> = { state: "down", exitCode: 0 };
    await running(rig, phase);
    const first = await newest(rig);
    const second = await setEnv(rig, { B: "2" });
    assert.is((await ended(rig, second)).state, "complete");
    const [one, two] = [await deployment(rig, first.id), await deployment(rig, second)];
    assert.is(one.state, "complete");
    assert.ok(one.releaseJobId !== two.releaseJobId && released(rig).length === 2);
    assert.ok(one.finishedAt! <= two.startedAt!);
    const none = rig.admin.call(deployments.getDeployment, { params: { ...APP, id: "nope" } });
    assert.ok(
      await none.then(
        () => false,
        (error: unknown) => isFault(error, "not-found"),
      ),
    );
  }));

test.run();
