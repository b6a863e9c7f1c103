// time limit: 240 s
// Deployments as people see them: over the API, with hosts that report, routers that acknowledge, and restarts in between.
import { test } from "uvu";
import * as assert from "uvu/assert";
import * as apps from "#api/apps.ts";
import * as deployments from "#api/deployments.ts";
import { isFault } from "#api/fault.ts";
import { type Job, listJobs, stopJob } from "#api/jobs.ts";
import { createRoute, listRoutes } from "#api/routes.ts";
import * as services from "#api/services.ts";
import { getStatus } from "#api/status.ts";
import { until } from "#lib/time.ts";
import type { DeploymentRecord } from "../../../control/deploy/record.ts";
import { keys, PREFIX } from "../../../control/keys.ts";
import { type FakeHost, type Rig, withRig } from "../rig.ts";

const APP = { app: "hello" };

async function service(rig: Rig, count = 1): Promise<void> {
  await rig.admin.call(services.createService, {
    body: { name: "hello", image: "hello:1", count, domain: "hello.test" },
  });
}

const jobs = async (rig: Rig): Promise<Job[]> => (await rig.admin.call(listJobs, { params: APP })).items;
const up = async (rig: Rig) => (await jobs(rig)).filter(({ state, desired }) => state === "up" && desired === "run");

async function ended(rig: Rig, id: string): Promise<deployments.Deployment> {
  return await until(
    async () => {
      const found = await rig.admin.call(deployments.getDeployment, { params: { ...APP, id } });
      return ["complete", "failed", "cancelled"].includes(found.state) ? found : undefined;
    },
    { what: `deployment ${id} to end`, timeoutMs: 20_000, everyMs: 30 },
  );
}

const deploymentsOf = async (rig: Rig) => (await rig.admin.call(deployments.listDeployments, { params: APP })).items;
const setEnv = (rig: Rig, env: Record<string, string | null>) =>
  rig.admin.call(apps.updateEnv, { params: APP, body: { env } });

async function running(rig: Rig, count = 1, hosts = 2): Promise<FakeHost[]> {
  const made: FakeHost[] = [];
  for (let n = 0; n < hosts; n++) made.push(await rig.host());
  for (const host of made) host.start();
  await service(rig, count);
  await ended(rig, (await deploymentsOf(rig))[0]!.id);
  return made;
}

async function faultOf(work: Promise<unknown>): Promise<string> {
  return await work.then(
    () => "no fault",
    (error: unknown) => (isFault(error) ? error.code : String(error)),
  );
}

test("changes of variables that outrun their deployments are told to wait, as the API's document has it", () =>
  withRig(
    async (rig) => {
      await service(rig);
      // Nothing is driven here: every change waits.
      for (let n = 1; n < 20; n++) await setEnv(rig, { N: String(n) });
      assert.is(await faultOf(setEnv(rig, { N: "20" })), "rate-limited");
    },
    { loops: false },
  ));

test("one call makes a service: app, release, route and jobs, once however often it is asked", () =>
  withRig(async (rig) => {
    const [host] = await running(rig, 2, 1);
    assert.is((await up(rig)).length, 2);
    assert.is(host!.target!.jobs.length, 2);
    assert.match(host!.target!.jobs[0]!.image, /^127\.0\.0\.1:5000\/apps\/app-.*@sha256:/);
    assert.equal(
      (await rig.admin.call(listRoutes)).items.map((route) => (route.type === "http" ? route.domain : route.port)),
      ["hello.test"],
    );
    const body = { name: "twice", image: "x" };
    const first = await rig.admin.call(services.createService, { body, idempotencyKey: "k" });
    const again = await rig.admin.call(services.createService, { body, idempotencyKey: "k" });
    assert.is(again.name, first.name);
    assert.is((await rig.admin.call(apps.listApps)).items.length, 2);
    assert.is(await faultOf(rig.admin.call(services.createService, { body })), "conflict");
    const known = rig.store.list<{ id: string }>(PREFIX.artifacts)[0]!.value.id;
    const copy = await rig.admin.call(services.createService, { body: { name: "copy", artifactId: known } });
    assert.match(copy.image, /@sha256:/);
    assert.is(
      await faultOf(rig.admin.call(services.createService, { body: { name: "b", image: "x", domain: "hello.test" } })),
      "conflict",
    );
    assert.is(await faultOf(rig.admin.call(apps.getApp, { params: { app: "b" } })), "not-found");
  }));

test("an environment change is a new release that replaces the old one job by job", () =>
  withRig(async (rig) => {
    const router = await rig.router();
    const hosts = await running(rig, 3);
    const least: number[] = [];
    const watching = rig.store.onDurable(() => {
      const target = router.seen.at(-1);
      if (target) least.push(target.pools[0]?.backends.filter(({ state }) => state === "up").length ?? 0);
    });
    const { deploymentId, release } = await setEnv(rig, { FOO: "bar" });
    assert.is((await ended(rig, deploymentId!)).state, "complete");
    watching();
    assert.ok(least.length > 0 && Math.min(...least) >= 3, `backends: ${least}`);
    assert.is(release.version, 2);
    await until(async () => (await jobs(rig)).length === 3, { what: "old jobs to go", timeoutMs: 10_000 });
    assert.equal(
      (await jobs(rig)).map(({ version }) => version),
      [2, 2, 2],
    );
    assert.is(hosts.flatMap((host) => host.target!.jobs).filter(({ env }) => env["FOO"] === "bar").length, 3);
    const back = await rig.admin.call(deployments.rollbackApp, { params: APP, body: {} });
    assert.is((await ended(rig, back.id)).toVersion, 1);
    assert.equal((await rig.admin.call(apps.getEnv, { params: APP })).env, {});
  }));

test("two changes in a row both count, in the order they were made, and are one deployment after the other", () =>
  withRig(async (rig) => {
    await running(rig);
    const made = [];
    for (let n = 0; n < 5; n++) made.push(await setEnv(rig, { [`N${n}`]: "x" }));
    for (const { deploymentId } of made) assert.is((await ended(rig, deploymentId!)).state, "complete");
    assert.equal(Object.keys((await rig.admin.call(apps.getEnv, { params: APP })).env).sort(), [
      "N0",
      "N1",
      "N2",
      "N3",
      "N4",
    ]);
    const app = await rig.admin.call(apps.getApp, { params: APP });
    assert.is(app.releaseId, made.at(-1)!.release.id);
    const finished = (await deploymentsOf(rig)).map(({ toVersion }) => toVersion);
    assert.equal(finished, [6, 5, 4, 3, 2, 1]);
  }));

test("no old job goes before every live router has said that it serves the new one", () =>
  withRig(async (rig) => {
    const router = await rig.router();
    await running(rig, 1);
    router.acknowledge = false;
    const { deploymentId } = await setEnv(rig, { A: "1" });
    await until(async () => (await up(rig)).length === 2, { what: "new job up", timeoutMs: 10_000 });
    const found = await until(
      async () => {
        const shown = await rig.admin.call(deployments.getDeployment, { params: { ...APP, id: deploymentId! } });
        return /routers/.test(shown.step) ? shown : undefined;
      },
      { what: "waiting for the routers", timeoutMs: 30_000 },
    );
    assert.is(found.processes["web"]!.oldLeft, 1);
    assert.is((await up(rig)).length, 2);
    router.acknowledge = true;
    assert.is((await ended(rig, deploymentId!)).state, "complete");
  }));

test("a deployment that cannot be read holds up its app alone: others begin and end meanwhile, and it goes on once it is mended", () =>
  withRig(async (rig) => {
    await running(rig, 1);
    await rig.admin.call(services.createService, { body: { name: "bad", image: "hello:1", count: 1 } });
    const bad = await rig.admin.call(apps.getApp, { params: { app: "bad" } });
    const ofBad = () => rig.store.list<DeploymentRecord>(keys.deploymentsOf(bad.id));
    const isOver = () => ofBad().every(({ value }) => value.state === "complete");
    await until(isOver, { what: "its first deployment", timeoutMs: 20_000, everyMs: 30 });
    const { value } = ofBad()[0]!;
    const next: DeploymentRecord = { ...value, id: "mended", order: 2, state: "pending", step: "queued" };
    const put = (record: object) =>
      rig.store.commit({ actor: "test", mutations: [{ key: keys.deployment(bad.id, next.id), value: record }] });
    const { processes: _, ...broken } = next;
    await put(broken);
    for (const A of ["1", "2"])
      assert.is((await ended(rig, (await setEnv(rig, { A })).deploymentId!)).state, "complete", `of another app, ${A}`);
    assert.is(ofBad().find(({ value: { id } }) => id === next.id)?.value.state, "pending", "it is not given up");
    const { parts } = await rig.admin.call(getStatus);
    assert.equal(
      parts.filter(({ name }) => name.startsWith("loop ")),
      [],
      "whatever drives deployments never ended",
    );
    await put(next);
    await until(isOver, { what: "the mended deployment to end", timeoutMs: 20_000, everyMs: 30 });
  }));

test("a release that never gets healthy fails and leaves the old one as it was, with a reason", () =>
  withRig(async (rig) => {
    const hosts = await running(rig, 2);
    const before = (await up(rig)).map(({ id }) => id).sort();
    await rig.admin.call(apps.updateApp, { params: APP, body: { deployTimeoutMs: 1_000 } });
    const broken = rig.store.onDurable(({ mutations }) => {
      for (const { key, value } of mutations)
        if (key.startsWith(PREFIX.jobs) && (value as Job | null)?.version === 2)
          for (const host of hosts)
            host.states.set((value as unknown as Job).id, {
              state: "starting",
              reason: "port \u001b[31m8080 is closed",
            });
    });
    const { deploymentId } = await setEnv(rig, { A: "1" });
    const failed = await ended(rig, deploymentId!);
    broken();
    assert.is(failed.state, "failed");
    assert.match(failed.reason, /web: 0 of 1 new jobs healthy after 1 s; .*port \?\[31m8080 is closed/);
    await until(async () => (await jobs(rig)).length === 2, { what: "new jobs to go", timeoutMs: 10_000 });
    assert.equal((await up(rig)).map(({ id }) => id).sort(), before);
    assert.is(
      (await rig.admin.call(apps.getApp, { params: APP })).releaseId,
      (await deploymentsOf(rig)).at(-1)!.toReleaseId,
    );
    assert.is(rig.store.list(keys.formationsOf((await rig.admin.call(apps.getApp, { params: APP })).id)).length, 1);
  }));

test("a job that crashes again and again fails the deployment before its time is up", () =>
  withRig(async (rig) => {
    const hosts = await running(rig);
    rig.store.onDurable(({ mutations }) => {
      for (const { key, value } of mutations)
        if (key.startsWith(PREFIX.jobs) && (value as Job | null)?.version === 2)
          for (const host of hosts)
            host.states.set((value as unknown as Job).id, {
              state: "crashed",
              restarts: 2,
              exitCode: 1,
              reason: "exit code 1",
            });
    });
    const failed = await ended(rig, (await setEnv(rig, { A: "1" })).deploymentId!);
    assert.is(failed.state, "failed");
    assert.match(failed.reason, /keeps crashing: exit code 1/);
  }));

test("all at once: the new jobs come together, and only then the old ones go", () =>
  withRig(async (rig) => {
    await running(rig, 3);
    await rig.admin.call(apps.updateApp, { params: APP, body: { strategy: "all-at-once" } });
    const { deploymentId } = await setEnv(rig, { A: "1" });
    assert.is((await ended(rig, deploymentId!)).state, "complete");
    assert.equal(
      (await up(rig)).map(({ version }) => version),
      [2, 2, 2],
    );
  }));

test("cancelled: what ran goes on; one that still waits is called off at once", () =>
  withRig(async (rig) => {
    const router = await rig.router();
    await running(rig, 2);
    const before = (await up(rig)).map(({ id }) => id).sort();
    router.acknowledge = false;
    const first = (await setEnv(rig, { A: "1" })).deploymentId!;
    const second = (await setEnv(rig, { A: "2" })).deploymentId!;
    await until(async () => (await up(rig)).length === 3, { what: "a new job", timeoutMs: 10_000 });
    const cancel = (id: string) => rig.admin.call(deployments.cancelDeployment, { params: { ...APP, id }, body: {} });
    assert.is((await cancel(second)).state, "cancelled");
    await cancel(first);
    assert.is((await ended(rig, first)).state, "cancelled");
    router.acknowledge = true;
    assert.is(await faultOf(cancel(first)), "conflict");
    await until(async () => (await jobs(rig)).every(({ version }) => version === 1), {
      what: "new job to go",
      timeoutMs: 10_000,
    });
    assert.equal((await up(rig)).map(({ id }) => id).sort(), before);
  }));

test("a deployment goes on after a restart of control, and the stopped one's jobs are not touched", () =>
  withRig(async (rig) => {
    const router = await rig.router();
    await running(rig, 2);
    router.acknowledge = false;
    const { deploymentId } = await setEnv(rig, { A: "1" });
    await until(async () => (await up(rig)).length === 3, { what: "a new job", timeoutMs: 10_000 });
    const before = (await jobs(rig)).map(({ id }) => id).sort();
    await rig.restart();
    assert.equal((await jobs(rig)).map(({ id }) => id).sort(), before);
    assert.is(
      (await rig.admin.call(deployments.getDeployment, { params: { ...APP, id: deploymentId! } })).state,
      "running",
    );
    router.acknowledge = true;
    assert.is((await ended(rig, deploymentId!)).state, "complete");
    assert.equal(
      (await up(rig)).map(({ version }) => version),
      [2, 2],
    );
  }));

test("one job per host on as many hosts still deploys", () =>
  withRig(async (rig) => {
    await running(rig, 2, 2);
    const web = { port: 8080, antiAffinity: true };
    const first = await rig.admin.call(apps.createRelease, { params: APP, body: { processes: { web } } });
    const deploy = async (release: string) =>
      await ended(rig, (await rig.admin.call(deployments.createDeployment, { params: APP, body: { release } })).id);
    assert.is((await deploy(first.id)).state, "complete");
    assert.is((await ended(rig, (await setEnv(rig, { A: "1" })).deploymentId!)).state, "complete");
    assert.is(new Set((await up(rig)).map(({ hostId }) => hostId)).size, 2);
  }));

test("scaling is refused while a deployment runs, and names a process that is not there", () =>
  withRig(async (rig) => {
    const router = await rig.router();
    await running(rig, 1);
    const scale = (body: Record<string, { count: number }>) =>
      rig.admin.call(apps.updateFormation, { params: APP, body });
    assert.is(await faultOf(scale({ nope: { count: 1 } })), "invalid");
    await scale({ web: { count: 4 } });
    await until(async () => (await up(rig)).length === 4, { what: "4 jobs", timeoutMs: 10_000 });
    await scale({ web: { count: 1 } });
    await until(async () => (await jobs(rig)).length === 1, { what: "1 job", timeoutMs: 10_000 });
    router.acknowledge = false;
    const { deploymentId } = await setEnv(rig, { A: "1" });
    assert.is(await faultOf(scale({ web: { count: 2 } })), "conflict");
    router.acknowledge = true;
    await ended(rig, deploymentId!);
  }));

test("a stopped job is replaced by its formation", () =>
  withRig(async (rig) => {
    await running(rig, 1);
    const [job] = await up(rig);
    await rig.admin.call(stopJob, { params: { id: job!.id }, body: {} });
    await until(async () => (await up(rig)).some(({ id }) => id !== job!.id), {
      what: "another job",
      timeoutMs: 10_000,
    });
    await until(async () => !(await jobs(rig)).some(({ id }) => id === job!.id), {
      what: "its end",
      timeoutMs: 10_000,
    });
  }));

test("an app deleted while it is deployed goes: its name, routes, jobs and the deployment", () =>
  withRig(async (rig) => {
    const router = await rig.router();
    const hosts = await running(rig, 2);
    router.acknowledge = false;
    const { deploymentId } = await setEnv(rig, { A: "1" });
    const { id } = await rig.admin.call(apps.getApp, { params: APP });
    await until(async () => (await up(rig)).length === 3, { what: "a new job", timeoutMs: 10_000 });
    router.acknowledge = true;
    await rig.admin.call(apps.deleteApp, { params: APP });
    assert.is(await faultOf(rig.admin.call(apps.getApp, { params: APP })), "not-found");
    assert.equal((await rig.admin.call(listRoutes)).items, []);
    await until(() => hosts.every(({ target }) => target!.jobs.length === 0), {
      what: "jobs to end",
      timeoutMs: 15_000,
    });
    const record = rig.store.get<deployments.Deployment>(keys.deployment(id, deploymentId!));
    assert.ok(record === undefined || record.value.state === "cancelled", record?.value.state);
    await service(rig, 1); // name and domain are free again
    assert.is((await rig.admin.call(listRoutes)).items.length, 1);
  }));

test("an app without an image takes variables, and the first image starts with them", () =>
  withRig(async (rig) => {
    const host = await rig.host();
    host.start();
    await rig.admin.call(apps.createApp, { body: { name: "hello" } });
    await setEnv(rig, { A: "1" });
    await setEnv(rig, { B: "2" });
    await rig.admin.call(createRoute, { body: { app: "hello", domain: "h.test" } });
    await rig.admin.call(services.updateService, { params: { name: "hello" }, body: { image: "hello:1" } });
    await ended(rig, (await deploymentsOf(rig))[0]!.id);
    assert.equal(host.target!.jobs[0]!.env, { A: "1", B: "2" });
    const bare = rig.admin.call(deployments.createDeployment, { params: APP, body: { release: "v1" } });
    assert.is(await faultOf(bare), "conflict");
  }));

test("of two routers one that died is waited for longer than its supervisor may pause, since HAProxy serves on; not for ever", () =>
  withRig(async (rig) => {
    const router = await rig.router();
    await rig.router();
    await running(rig, 1);
    const [before] = await up(rig);
    await router.stop();
    const silentMs = performance.now();
    const { deploymentId } = await setEnv(rig, { A: "1" });
    const goes = async () => {
      const old = (await jobs(rig)).find(({ id }) => id === before!.id);
      return old?.desired !== "run";
    };
    await until(goes, { what: "the old job to go", timeoutMs: 60_000, everyMs: 100 });
    const waitedMs = performance.now() - silentMs;
    assert.ok(waitedMs > 17_000, `${waitedMs} ms`);
    assert.is((await ended(rig, deploymentId!)).state, "complete");
  }));

test("while no router is alive nothing counts as acknowledged: HAProxy serves on, so no old job goes, and it is said what is waited for", () =>
  withRig(
    async (rig) => {
      const router = await rig.router();
      await running(rig, 1);
      await rig.admin.call(apps.updateApp, { params: APP, body: { deployTimeoutMs: 3_000 } });
      const [before] = await up(rig);
      await router.stop();
      const { deploymentId } = await setEnv(rig, { A: "1" });
      const failed = await until(
        async () => {
          const found = await rig.admin.call(deployments.getDeployment, { params: { ...APP, id: deploymentId! } });
          assert.is((await jobs(rig)).find(({ id }) => id === before!.id)?.desired, "run");
          return found.goingBack === undefined && found.state !== "failed" ? undefined : found;
        },
        { what: "its time to be up", timeoutMs: 60_000, everyMs: 50 },
      );
      assert.match(failed.reason, /the routers did not acknowledge the new jobs within 3 s/);
    },
    { routerAliveMs: 300 },
  ));

/** The last of the new release's jobs keeps crashing, so that nearly everything is new when it fails. */
function lastCrashes(rig: Rig, hosts: readonly FakeHost[], version: number, last: number): () => void {
  const seen = new Set<string>();
  return rig.store.onDurable(({ mutations }) => {
    for (const { key, value } of mutations) {
      const job = value as unknown as Job | null;
      if (!key.startsWith(PREFIX.jobs) || job?.version !== version) continue;
      seen.add(job.id);
      if (job.id !== [...seen][last - 1] || job.state === "crashed") continue;
      for (const host of hosts)
        host.states.set(job.id, { state: "crashed", restarts: 2, exitCode: 1, reason: "exit code 1" });
    }
  });
}

test("the last of six new jobs crashes: it goes back job by job, never fewer than six serve, and what was asked for meanwhile comes after", () =>
  withRig(async (rig) => {
    await rig.router();
    const hosts = await running(rig, 6);
    const stop = lastCrashes(rig, hosts, 2, 6);
    const serving: number[] = [];
    const stopWatching = rig.store.onDurable(() => {
      const all = rig.store.list<Job>(PREFIX.jobs).map(({ value }) => value);
      serving.push(all.filter(({ state, desired }) => state === "up" && desired === "run").length);
    });
    const first = (await setEnv(rig, { A: "1" })).deploymentId!;
    const show = async (id: string) => await rig.admin.call(deployments.getDeployment, { params: { ...APP, id } });
    const back = await until(
      async () => {
        const found = await show(first);
        return found.goingBack === undefined ? undefined : found;
      },
      { what: "the way back", timeoutMs: 30_000, everyMs: 5 },
    );
    assert.equal([back.state, back.goingBack], ["running", "failed"]);
    assert.match(back.reason, /keeps crashing: exit code 1/);
    const cancel = rig.admin.call(deployments.cancelDeployment, { params: { ...APP, id: first }, body: {} });
    assert.match(
      await cancel.then(
        () => "taken",
        (error: Error) => error.message,
      ),
      /has failed and goes back to the earlier release/,
    );
    const second = await setEnv(rig, { B: "2" });
    assert.equal((await rig.admin.call(apps.getEnv, { params: APP })).env, { B: "2" }, "what failed is not built upon");
    const waits = await show(second.deploymentId!);
    if (waits.state === "pending") assert.is(waits.step, "queued: v2 failed and goes back first");
    const failed = await ended(rig, first);
    assert.equal([failed.state, failed.step], ["failed", "the earlier release goes on serving"]);
    assert.is(failed.goingBack, undefined);
    stop();
    assert.is((await ended(rig, second.deploymentId!)).state, "complete");
    stopWatching();
    assert.ok(Math.min(...serving) >= 6, `${Math.min(...serving)} served`);
    assert.equal((await rig.admin.call(apps.getEnv, { params: APP })).env, { B: "2" });
  }));

test("cancelled half way and control dies while it goes back: the earlier release is there again, and never less of it and the new one together", () =>
  withRig(async (rig) => {
    const router = await rig.router();
    await running(rig, 4);
    const first = (await setEnv(rig, { A: "1" })).deploymentId!;
    const halfWay = async () => (await up(rig)).filter(({ version }) => version === 2).length >= 2;
    await until(halfWay, { what: "half of it", timeoutMs: 20_000, everyMs: 5 });
    router.acknowledge = false;
    await rig.admin.call(deployments.cancelDeployment, { params: { ...APP, id: first }, body: {} });
    await rig.restart();
    assert.ok((await up(rig)).length >= 4);
    router.acknowledge = true;
    assert.is((await ended(rig, first)).state, "cancelled");
    const back = async () => (await up(rig)).length === 4 && (await jobs(rig)).every(({ version }) => version === 1);
    await until(back, { what: "the earlier four", timeoutMs: 20_000 });
  }));

test("deployments come one after the other as they were asked for, whatever the clock said", () =>
  withRig(async (rig) => {
    const router = await rig.router();
    await running(rig, 1);
    router.acknowledge = false;
    const ids = [];
    for (let n = 0; n < 3; n++) ids.push((await setEnv(rig, { [`N${n}`]: "x" })).deploymentId!);
    // As if the clock had been set back an hour between them.
    const app = await rig.admin.call(apps.getApp, { params: APP });
    const { key, value } = rig.store.get<deployments.Deployment>(keys.deployment(app.id, ids[2]!))!;
    const createdAt = new Date(Date.parse(value.createdAt) - 3_600_000).toISOString();
    await rig.store.commit({ actor: "test", mutations: [{ key, value: { ...value, createdAt } }] });
    assert.equal(
      (await deploymentsOf(rig)).slice(0, 3).map(({ id }) => id),
      [...ids].reverse(),
    );
    router.acknowledge = true;
    for (const id of ids) assert.is((await ended(rig, id)).state, "complete");
    assert.equal(Object.keys((await rig.admin.call(apps.getEnv, { params: APP })).env).sort(), ["N0", "N1", "N2"]);
    assert.is((await up(rig))[0]!.version, 4);
  }));

test.run();
