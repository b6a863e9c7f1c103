// time limit: 240 s
// Builds from source to deployment against a whole control and hosts that speak the agents' endpoints: order, cancel, restarts,
// lost hosts, who may ask for what, and what the release is.

import { once } from "node:events";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { test } from "uvu";
import * as assert from "uvu/assert";
import {
  createRelease,
  deleteApp,
  getFormation,
  listReleases,
  updateApp,
  updateEnv,
  updateFormation,
} from "#api/apps.ts";
import * as api from "#api/builds.ts";
import { getDeployment, resumeDeployment } from "#api/deployments.ts";
import { type Fault, isFault } from "#api/fault.ts";
import { updateHost } from "#api/hosts.ts";
import { listJobs } from "#api/jobs.ts";
import { createRoute } from "#api/routes.ts";
import { until } from "#lib/time.ts";
import { keys } from "../../../control/keys.ts";
import { BUILDS_KEPT } from "../../../control/surplus.ts";
import { fakeRegistry } from "../rig.ts";
import { surplus } from "../surplus.ts";
import { archive, buildHost, followed, NODE_APP, slugOf, type World, withWorld } from "./world.ts";

const refusal = async (work: Promise<unknown>): Promise<Fault> => {
  const error = await work.then(
    () => new Error("was taken"),
    (cause: unknown) => cause,
  );
  if (!isFault(error)) throw error;
  return error;
};
/** A promise and what settles it. */
const latch = () => Promise.withResolvers<void>();
const releases = async ({ control }: World, app: string) =>
  (await control.admin.call(listReleases, { params: { app } })).items;

test("a source archive becomes a build, an image, a release and a deployment; a follower sees the same log as a reader", () =>
  withWorld(async (world) => {
    const { control, host, create, send, ended, log } = world;
    await create("hello");
    const commit = "0123456789abcdef0123456789abcdef01234567";
    const made = await send("hello", NODE_APP, { commit });
    assert.equal([made.number, made.state], [1, "queued"]);
    const following = followed(control, "hello", made.id);
    const build = await ended("hello", made.id);
    assert.is(build.state, "succeeded", build.reason);
    assert.is(build.detected, "Node.js");
    assert.is(await following, await log("hello", made.id));
    assert.equal(host.sources[0], await archive(NODE_APP), "the host was given the tree");
    const [release] = await releases(world, "hello");
    assert.equal([release!.commit, release!.buildId, release!.version], [commit, build.id, 1]);
    assert.equal(release!.processes, { web: { port: 8080, command: ["node server.js"] } });
    const { items } = await control.admin.call(api.listBuilds, { params: { app: "hello" } });
    assert.equal(items, [build]);
    assert.equal(await control.admin.call(api.getBuild, { params: { app: "hello", id: "1" } }), build, "by number too");
  }));

test("a build whose deployment is staged ends at the pause, and says how to go on and how to go back", () =>
  withWorld(async (world) => {
    const { control, create, send, ended, log } = world;
    const params = { app: "hello" };
    await create("hello");
    await ended("hello", (await send("hello", NODE_APP)).id);
    await control.admin.call(updateFormation, { params, body: { web: { count: 2 } } });
    const query = { pauseAfter: 1, canaryPercent: 5 };
    const upload = Readable.from([await archive(NODE_APP)]);
    const made = await control.admin.call(api.createBuild, { params, query, upload });
    const build = await ended("hello", made.id);
    assert.is(build.state, "succeeded", build.reason);
    const text = await log("hello", made.id);
    assert.match(
      text,
      /=====> hello v2 waits, paused: web: new 1 of 2\n {7}to go on: flynn -a hello deployment resume; to go back:/,
    );
    const id = build.deploymentId!;
    assert.is((await control.admin.call(getDeployment, { params: { ...params, id } })).state, "running");
    const behind = await ended("hello", (await send("hello", NODE_APP)).id);
    assert.is(behind.state, "succeeded", behind.reason);
    assert.match(
      await log("hello", behind.id),
      / ! {5}hello v3 waits: v2 is paused, [^\n]*\n {7}to go on: flynn -a hello deployment resume; to go back:/,
      "a push behind it ends and says what it waits for",
    );
    await control.admin.call(resumeDeployment, { params: { ...params, id }, body: {} });
    const complete = async () =>
      (await control.admin.call(getDeployment, { params: { ...params, id } })).state === "complete";
    await until(complete, { what: "the rest", timeoutMs: 20_000, everyMs: 50 });
    const alone = control.admin.call(api.createBuild, {
      ...{ params, query: { canaryPercent: 5 } },
      upload: Readable.from([await archive(NODE_APP)]),
    });
    assert.match((await refusal(alone)).message, /canaryPercent needs pauseAfter/);
  }));

test("a second build keeps what the app's processes were given, and its environment", () =>
  withWorld(async (world) => {
    const { control, create, send, ended, host } = world;
    await create("hello");
    await ended("hello", (await send("hello", { Procfile: "web: a\nworker: b\n" })).id);
    const processes = { web: { port: 3000, memoryBytes: 2 ** 28, command: ["x"] }, worker: { port: null, pids: 99 } };
    const params = { app: "hello" };
    await control.admin.call(createRelease, { params, body: { processes } });
    const { deploymentId } = await control.admin.call(updateEnv, { params, body: { env: { TOKEN: "s3cret-value" } } });
    assert.ok(deploymentId);
    const build = await ended("hello", (await send("hello", { Procfile: "web: c\nclock: d\nrelease: e\n" })).id);
    assert.is(build.state, "succeeded", build.reason);
    const spec = host.specs.at(-1)!;
    assert.equal(spec.env, { TOKEN: "s3cret-value" });
    const release = (await releases(world, "hello")).find(({ buildId }) => buildId === build.id)!;
    assert.equal(release.processes["clock"], { port: null, command: ["d"] });
    assert.equal(release.processes["release"], { port: null, command: ["e"] });
    assert.equal(release.envNames, ["TOKEN"]);
    assert.not.match(await world.log("hello", build.id), "s3cret-value");
  }));

test("builds of one app run one after the other, in order, and say what they wait for", () =>
  withWorld(async ({ host, create, send, build, ended, log }) => {
    await create("hello");
    const first = latch();
    host.script = (spec) => (spec.commit === undefined ? { during: () => first.promise } : {});
    const one = await send("hello", NODE_APP);
    const two = await send("hello", NODE_APP, { commit: "a".repeat(40) });
    const three = await send("hello", NODE_APP, { commit: "b".repeat(40) });
    assert.equal([one.number, two.number, three.number], [1, 2, 3]);
    await until(async () => (await build("hello", two.id)).reason !== "", { what: "a reason", timeoutMs: 30_000 });
    assert.is((await build("hello", two.id)).reason, "waits for build 1 of hello to end");
    await until(() => host.specs.length === 1, { what: "the first one's job", timeoutMs: 30_000, everyMs: 10 });
    first.resolve();
    for (const { id } of [one, two, three]) assert.is((await ended("hello", id)).state, "succeeded");
    assert.equal(
      host.specs.map(({ commit }) => commit?.[0]),
      [undefined, "a", "b"],
    );
    assert.match(
      await log("hello", two.id),
      /^-----> This build waits for build 1 of hello to end\n-----> Building hello at aaaa/,
    );
  }));

test("no more builds than are set run at once in the cluster; the others wait their turn by age", () =>
  withWorld(
    async ({ host, create, send, build, ended }) => {
      const gates = new Map<string, ReturnType<typeof latch>>();
      for (const app of ["a", "b", "c"]) {
        await create(app);
        gates.set(app, latch());
      }
      host.script = ({ app }) => ({ during: () => gates.get(app)!.promise });
      const sent: api.Build[] = [];
      for (const app of ["a", "b", "c"]) sent.push(await send(app, NODE_APP));
      await until(() => host.specs.length === 1, { what: "one build", timeoutMs: 30_000, everyMs: 10 });
      await until(async () => (await build("c", sent[2]!.id)).reason !== "", { what: "a reason", timeoutMs: 30_000 });
      assert.match((await build("b", sent[1]!.id)).reason, /1 of at most 1 build runs in the cluster$/);
      assert.match((await build("c", sent[2]!.id)).reason, /, and 1 waits before it$/);
      assert.is(host.specs.length, 1);
      for (const [n, app] of ["a", "b", "c"].entries()) {
        gates.get(app)!.resolve();
        assert.is((await ended(app, sent[n]!.id)).state, "succeeded");
      }
      assert.equal(
        host.specs.map(({ app }) => app),
        ["a", "b", "c"],
      );
    },
    { buildsAtOnce: 1 },
  ));

test("a build is cancelled while it waits, while it runs and while its image is stored; never once it deploys", () => {
  const storing = latch();
  const images = {
    ...fakeRegistry(),
    layOn: async (wish: Parameters<ReturnType<typeof fakeRegistry>["layOn"]>[0], signal: AbortSignal) => {
      await Promise.race([storing.promise, once(signal, "abort")]);
      return fakeRegistry().layOn(wish, signal);
    },
  };
  return withWorld(
    async ({ control, host, create, send, reaches, ended, log }) => {
      await create("hello");
      const cancel = (id: string) => control.admin.call(api.cancelBuild, { params: { app: "hello", id }, body: {} });
      const running = latch();
      host.script = (spec) => ({ during: () => (spec.commit ? running.promise : Promise.resolve()) });
      const [one, two] = [await send("hello", NODE_APP, { commit: "a".repeat(40) }), await send("hello", NODE_APP)];
      await reaches("hello", one.id, "building");
      assert.is((await cancel(two.id)).reason, "being cancelled");
      assert.is((await ended("hello", two.id)).state, "cancelled", "while the first one still runs");
      await cancel(one.id);
      const build = await ended("hello", one.id);
      assert.equal([build.state, build.reason], ["cancelled", "the build was cancelled by admin"]);
      assert.match(await log("hello", one.id), / ! {5}Push rejected, the build was cancelled by admin\n$/);
      const job = (await control.admin.call(listJobs, { params: { app: "hello" }, query: { all: true } })).items[0]!;
      assert.equal([job.state, job.desired], ["down", "stop"]);
      running.resolve();
      await until(() => host.failures.length === 1, { what: "the host being refused", timeoutMs: 30_000 });
      assert.is((host.failures[0] as Fault).code, "not-found", "what comes late is not taken");

      const three = await send("hello", NODE_APP);
      await reaches("hello", three.id, "storing");
      await cancel(three.id);
      storing.resolve();
      assert.is((await ended("hello", three.id)).state, "cancelled");

      host.states.set("none", {});
      const four = await send("hello", NODE_APP);
      await ended("hello", four.id);
      assert.match((await refusal(cancel(four.id))).message, /has ended already: succeeded/);
    },
    { images },
  );
});

test("a deploying build is not cancelled: the words say how to cancel its deployment", () =>
  withWorld(async ({ control, host, create, send, reaches, ended }) => {
    await create("hello");
    const report = host.report.bind(host);
    host.report = (more = {}) => {
      for (const job of host.target?.jobs ?? []) host.states.set(job.id, { state: "starting" });
      return report(more);
    };
    const made = await send("hello", NODE_APP);
    const build = await reaches("hello", made.id, "deploying");
    const params = { app: "hello", id: made.id };
    const fault = await refusal(control.admin.call(api.cancelBuild, { params, body: {} }));
    assert.is(fault.code, "conflict");
    assert.match(
      fault.message,
      `deploying v1 already; to cancel that: flynn -a hello deployment cancel ${build.deploymentId}`,
    );
    host.report = report;
    host.states.clear();
    assert.is((await ended("hello", made.id)).state, "succeeded");
  }));

for (const state of ["queued", "building", "storing", "deploying"] as const)
  test(`a restart of control while a build is ${state} changes nothing in how it ends, nor in its text`, () => {
    const held = latch();
    let storing = 0;
    const images = {
      ...fakeRegistry(),
      layOn: async (wish: Parameters<ReturnType<typeof fakeRegistry>["layOn"]>[0], signal: AbortSignal) => {
        if (state === "storing" && storing++ === 0) await once(signal, "abort");
        signal.throwIfAborted();
        return fakeRegistry().layOn(wish, signal);
      },
    };
    return withWorld(
      async ({ control, host, create, send, reaches, ended, log }) => {
        await create("hello");
        const report = host.report.bind(host);
        let up = state !== "deploying";
        host.report = (more = {}) => {
          for (const job of host.target?.jobs ?? [])
            if (up) host.states.delete(job.id);
            else host.states.set(job.id, { state: "starting" });
          return report(more);
        };
        let holder: string | undefined;
        if (state === "queued") {
          await create("other");
          host.script = ({ app }) => ({ during: () => (app === "other" ? held.promise : Promise.resolve()) });
          holder = (await send("other", NODE_APP)).id;
          await reaches("other", holder, "building");
        } else if (state === "building") host.script = () => ({ during: () => held.promise, output: "-----> Late\n" });
        const { id } = await send("hello", NODE_APP);
        await reaches("hello", id, state);
        if (state === "storing") await until(() => storing > 0, { what: "the storing begun", timeoutMs: 10_000 });
        await control.restart();
        held.resolve();
        up = true;
        const build = await ended("hello", id);
        assert.is(build.state, "succeeded", build.reason);
        assert.is(host.specs.filter(({ app }) => app === "hello").length, 1, "it was built once");
        const lines = (await log("hello", id)).split("\n").filter((line) => /^(----->|=====>)/.test(line));
        assert.equal(new Set(lines).size, lines.length, lines.join("\n"));
        assert.is(lines.at(-1), "=====> hello v1 deployed");
      },
      { images, buildsAtOnce: 1 },
    );
  });

test("a build whose host is lost begins again on another, once", () =>
  withWorld(
    async ({ control, host, create, send, reaches, ended, log }) => {
      await create("hello");
      const other = await buildHost(control, "h2");
      const quiet = { silent: true };
      host.script = () => quiet;
      other.script = () => quiet;
      other.start();
      const made = await send("hello", NODE_APP);
      const first = await reaches("hello", made.id, "building");
      const [lost, left] = first.hostId === host.id ? [host, other] : [other, host];
      left.script = () => ({ output: "-----> On the second\n" });
      await lost.stop();
      const build = await ended("hello", made.id);
      assert.is(build.state, "succeeded", build.reason);
      assert.equal([build.hostId, build.jobId === first.jobId], [left.id, false]);
      assert.match(
        await log("hello", made.id),
        / ! {5}The host h\d was lost; the build begins again on another\n-----> On the second\n/,
      );
    },
    { hostLostAfterMs: 2_000 },
  ));

test("a failed build rejects the push with the host's reason, keeps the old release, and its log stays", () =>
  withWorld(async (world) => {
    const { host, create, send, ended, log } = world;
    await create("hello");
    host.script = () => ({
      output: "-----> npm ci\n",
      result: { exitCode: 1, reason: "failed to compile Node.js app" },
    });
    const build = await ended("hello", (await send("hello", NODE_APP)).id);
    assert.equal([build.state, build.reason], ["failed", "failed to compile Node.js app"]);
    assert.match(await log("hello", build.id), /-----> npm ci\n ! {5}Push rejected, failed to compile Node\.js app\n$/);
    assert.equal(await releases(world, "hello"), []);
  }));

test("only the host that a build is placed on may fetch or send anything of it, and only while it runs", () =>
  withWorld(async ({ control, host, create, send, reaches, ended }) => {
    await create("hello");
    const held = latch();
    host.script = () => ({ during: () => held.promise });
    const { id } = await send("hello", NODE_APP);
    await reaches("hello", id, "building");
    const stranger = await control.host("stranger");
    const asks = (who: typeof stranger, build: string) => {
      const params = { id: who.id, build };
      return [
        () => who.client.download(api.hostBuildSource, { params }),
        () => who.client.call(api.hostBuildLog, { params, body: { offset: 0, text: "x" } }),
        () => who.client.call(api.hostBuildSlug, { params, upload: Readable.from([Buffer.from("x")]) }),
        () => who.client.call(api.hostBuildImage, { params, upload: Readable.from([Buffer.from("x")]) }),
        () => who.client.call(api.hostBuildResult, { params, body: { exitCode: 0, reason: "" } }),
      ];
    };
    for (const ask of asks(stranger, id)) assert.is((await refusal(ask())).code, "not-found");
    held.resolve();
    await ended("hello", id);
    for (const ask of asks(host, id)) assert.is((await refusal(ask())).code, "not-found");
    for (const ask of asks(host, "build-nothing")) assert.is((await refusal(ask())).code, "not-found");
    const mine = { id: host.id, build: id };
    const asked = stranger.client.call(api.hostBuildLog, { params: mine, body: { offset: 0, text: "x" } });
    assert.is((await refusal(asked)).code, "forbidden", "nor in the other's name");
  }));

test("a slug that reaches out of app/ or hides something is refused, and the build fails in words", () =>
  withWorld(async ({ host, create, send, ended }) => {
    await create("hello");
    const hostile: [Buffer, RegExp][] = [
      [await slugOf({ "etc/passwd": "x" }), /does not lie in app\//],
      [await slugOf({ "app/../etc/passwd": "x" }), /does not lie in app\//],
      [await slugOf({ "app/l -> /etc": "", "app/l/passwd": "x" }), /lies under a symlink/],
      [await slugOf({ "app -> /etc": "" }), /is a symlink/],
      [await slugOf({ "app/.wh.node": "" }), /would remove files/],
      [Buffer.concat([await slugOf(), Buffer.from("behind the end")]), /behind its end|no sound gzipped/],
      [Buffer.from("no slug"), /no sound gzipped/],
    ];
    for (const [slug, why] of hostile) {
      const before = host.failures.length;
      host.script = () => ({ slug });
      const made = await send("hello", NODE_APP);
      await until(() => host.failures.length > before, {
        what: "the slug being refused",
        timeoutMs: 30_000,
        everyMs: 10,
      });
      const fault = host.failures.at(-1) as Fault;
      assert.match(fault.message, why);
      // The host tells what it was told, as hostd does.
      const params = { id: host.id, build: made.id };
      await host.client.call(api.hostBuildResult, { params, body: { exitCode: 1, reason: fault.message } });
      const build = await ended("hello", made.id);
      assert.equal([build.state, build.artifactId], ["failed", undefined]);
      assert.match(build.reason, why);
    }
  }));

test("a result without a slug, and a job that ends without a result, fail in words", () =>
  withWorld(async ({ host, create, send, ended }) => {
    await create("hello");
    host.script = () => ({ slug: undefined });
    assert.is((await ended("hello", (await send("hello", NODE_APP)).id)).reason, "the build made no image");
  }));

test("a Dockerfile build is given no variable and no buildpack, a Procfile line becomes its command, its image is its own", () =>
  withWorld(async (world) => {
    const { control, host, create, send, ended, log } = world;
    await create("hello");
    const params = { app: "hello" };
    await control.admin.call(updateEnv, { params, body: { env: { TOKEN: "s3cret-value" } } });
    const build = {
      dockerfile: "deploy/Dockerfile",
      target: "web",
      args: { V: "1" },
      limits: { memoryBytes: 2 ** 31 },
    };
    await control.admin.call(updateApp, { params, body: { build } });
    host.script = () => ({ image: Buffer.from("image"), result: { processes: undefined } });
    const made = await ended(
      "hello",
      (await send("hello", { "deploy/Dockerfile": "FROM x", Procfile: "worker: w\n" })).id,
    );
    assert.is(made.state, "succeeded", made.reason);
    const [spec] = host.specs;
    assert.equal(spec!.env, {});
    assert.equal(spec!.dockerfile, { path: "deploy/Dockerfile", target: "web", args: { V: "1" } });
    assert.equal([spec!.kind, spec!.limits.memoryBytes, spec!.limits.timeoutMs], ["dockerfile", 2 ** 31, 900_000]);
    assert.match(
      await log("hello", made.id),
      "-----> Building with Docker (deploy/Dockerfile, by the app's settings)\n",
    );
    assert.equal((await releases(world, "hello"))[0]!.processes, {
      web: { port: 8080 },
      worker: { port: null, entrypoint: ["/bin/sh", "-c"], command: ["w"] },
    });
    const gone = await ended("hello", (await send("hello", NODE_APP)).id);
    assert.is(gone.reason, "there is no deploy/Dockerfile in the source, and the build settings want one");
  }));

test("app.json gives the first deployment its variables, secrets, counts and checks; later ones keep what the app has", () =>
  withWorld(async (world) => {
    const { control, host, create, send, ended, log } = world;
    await create("hello");
    const appJson = JSON.stringify({
      env: { SECRET: { generator: "secret" }, MODE: "live" },
      formation: { web: { quantity: 2 }, worker: { quantity: 1 } },
      buildpacks: [{ url: "nodejs" }],
    });
    const files = { "app.json": appJson, Procfile: "web: a\nworker: b\n" };
    const build = await ended("hello", (await send("hello", files)).id);
    assert.is(build.state, "succeeded", build.reason);
    const [spec] = host.specs;
    assert.is(spec!.env["MODE"], "live");
    assert.ok(spec!.env["SECRET"]!.length >= 32);
    assert.equal(spec!.buildpacks, ["nodejs"]);
    assert.match(await log("hello", build.id), /^ {7}app\.json sets MODE, SECRET$/m);
    assert.not.match(await log("hello", build.id), spec!.env["SECRET"]!);
    const formation = await control.admin.call(getFormation, { params: { app: "hello" } });
    assert.equal([formation.processes["web"]!.count, formation.processes["worker"]!.count], [2, 1]);
    await control.admin.call(updateEnv, {
      params: { app: "hello" },
      body: { env: { BUILDPACK_URL: "https://x/y.git#v1" } },
    });
    await ended("hello", (await send("hello", files)).id);
    assert.equal(host.specs[1]!.buildpacks, ["https://x/y.git#v1"]);
    assert.is(host.specs[1]!.env["SECRET"], spec!.env["SECRET"], "made once");
  }));

test("a Procfile or app.json that is wrong refuses the push at once, with the line; nothing is queued", () =>
  withWorld(async ({ control, create, send }) => {
    await create("hello");
    assert.match((await refusal(send("hello", { Procfile: "web: a\nweb: b\n" }))).message, /Procfile, line 2: .*twice/);
    assert.match((await refusal(send("hello", { "app.json": "{" }))).message, /^app\.json: .*is not JSON/);
    assert.match((await refusal(send("hello", { "../x": "" }))).message, /`\.\.` in its name/);
    assert.equal((await control.admin.call(api.listBuilds, { params: { app: "hello" } })).items, []);
    assert.equal(await readdir(join(control.config.stateDir, "builds", "incoming")), []);
  }));

test("builds go to hosts tagged `build` where there are any", () =>
  withWorld(async ({ control, host, create, send, ended }) => {
    await create("hello");
    const other = await buildHost(control, "h2");
    other.start();
    await until(() => other.target, { what: "the second host's target", timeoutMs: 30_000 });
    await control.admin.call(updateHost, { params: { id: "h2" }, body: { tags: { build: "yes" } } });
    for (let n = 0; n < 3; n++) assert.is((await ended("hello", (await send("hello", NODE_APP)).id)).hostId, other.id);
    assert.is(host.specs.length, 0);
  }));

test("a cleared cache has another name on the hosts; apps never share one", () =>
  withWorld(async ({ control, host, create, send, ended }) => {
    for (const app of ["a", "b"]) await create(app);
    for (const app of ["a", "a", "b"]) await ended(app, (await send(app, NODE_APP)).id);
    await control.admin.call(api.clearBuildCache, { params: { app: "a" } });
    await ended("a", (await send("a", NODE_APP)).id);
    const [one, two, other, cleared] = host.specs.map(({ cacheKey }) => cacheKey);
    assert.is(one, two);
    assert.is(new Set([one, other, cleared]).size, 3);
  }));

test("deleting the app ends its builds, their jobs and, in time, everything of them on disk", () =>
  withWorld(async ({ control, host, create, send, reaches }) => {
    await create("hello");
    host.script = () => ({ silent: true });
    const { id, appId } = await send("hello", NODE_APP);
    await reaches("hello", id, "building");
    await control.admin.call(deleteApp, { params: { app: "hello" } });
    const record = () => control.store.get<api.Build>(keys.build(appId, id))?.value;
    await until(() => record()?.state === "cancelled", { what: "the build's end", timeoutMs: 10_000 });
    assert.is(record()!.reason, "the app was deleted");
    await until(() => surplus(control.store, Date.now()).some(({ key }) => key === keys.build(appId, id)), {
      what: "the build being due to go",
      timeoutMs: 10_000,
    });
    await control.store.commit({ actor: "test", mutations: surplus(control.store, Date.now()) });
    await control.restart();
    const left = () => readdir(join(control.config.stateDir, "builds")).catch(() => []);
    await until(async () => (await left()).length === 0, { what: "its directory being gone", timeoutMs: 30_000 });
  }));

test("of an app's ended builds the last fifty are kept; their sources are gone at once, their logs stay", () =>
  withWorld(async ({ control, create, send, ended }) => {
    await create("hello");
    const { id, appId } = await send("hello", NODE_APP);
    const build = await ended("hello", id);
    const files = async () => (await readdir(join(control.config.stateDir, "builds", appId, id))).sort().join(" ");
    await until(async () => (await files()) === "log log.marks", { what: "the sources' end", timeoutMs: 10_000 });
    const older = Array.from({ length: BUILDS_KEPT + 5 }, (_, n) => ({ ...build, id: `build-${n}`, number: n + 2 }));
    const mutations = older.map((value) => ({ key: keys.build(appId, value.id), value: { ...value, attempt: 1 } }));
    await control.store.commit({ actor: "test", mutations });
    const gone = surplus(control.store, Date.now()).filter(({ key }) => key.startsWith("builds/"));
    assert.equal(
      gone.map(({ key }) => key).sort(),
      [id, "build-0", "build-1", "build-2", "build-3", "build-4"].map((one) => keys.build(appId, one)).sort(),
    );
  }));

test("the last line is the app and its version, then where it answers", () =>
  withWorld(async ({ control, create, send, ended, log }) => {
    await create("hello");
    await control.admin.call(createRoute, { body: { app: "hello", domain: "hello.test" } as never });
    const { id } = await ended("hello", (await send("hello", NODE_APP)).id);
    assert.match(await log("hello", id), /=====> hello v1 deployed\n {7}http:\/\/hello\.test\/\n$/);
  }));

test.run();
