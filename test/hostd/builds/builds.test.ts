import { createHash } from "node:crypto";
import { access, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { extract } from "tar-stream";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type BuildSpec, hostBuildResult, hostBuildSlug } from "#api/builds.ts";
import { Fault } from "#api/fault.ts";
import { silentLog } from "#lib/log.ts";
import { until } from "#lib/time.ts";
import { type Builds, createBuilds } from "../../../hostd/builds/builds.ts";
import { diskFloor } from "../../../hostd/builds/disk-floor.ts";
import { target } from "../jobs.ts";
import { type FakeBuilds, fakeBuilds } from "./fake.ts";

interface Rig {
  fake: FakeBuilds;
  builds: Builds;
  directory: string;
  push(...builds: BuildSpec[]): void;
  restart(): Promise<void>;
}

const ends: (() => Promise<void>)[] = [];
test.after.each(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

async function rig(options: { prepareNetwork?: () => Promise<void> } = {}): Promise<Rig> {
  const directory = await mkdtemp(join(tmpdir(), "flynn-builds-"));
  const fake = fakeBuilds();
  const start = () => {
    const controller = new AbortController();
    const builds = createBuilds({
      ...fake,
      hostId: "host-1",
      stateDir: directory,
      dns: () => ["10.77.0.1"],
      healthy: () => true,
      prepareNetwork: async () => undefined,
      onChange: () => undefined,
      treeBytes: async () => 0,
      freeBytes: async () => 1e12,
      floor: diskFloor(),
      clusterAddresses: () => [],
      log: silentLog(),
      signal: controller.signal,
      ...options,
    });
    const running = builds.run();
    const stop = () => {
      controller.abort();
      return running;
    };
    return { builds, stop };
  };
  let current = start();
  const made: Rig = {
    fake,
    builds: current.builds,
    directory,
    push: (...builds) => made.builds.setTarget(target([], { builds })),
    async restart() {
      await current.stop();
      current = start();
      made.builds = current.builds;
    },
  };
  ends.push(async () => {
    await current.stop();
    await rm(directory, { recursive: true, force: true });
  });
  return made;
}

const spec = (fields: Partial<BuildSpec> = {}): BuildSpec => ({
  id: "b1",
  jobId: "j1",
  app: "shop",
  appId: "app-1",
  desired: "run",
  kind: "buildpacks",
  image: "registry/stack/builder@sha256:1",
  source: { sha256: createHash("sha256").update("source").digest("hex"), sizeBytes: 6 },
  commit: "c".repeat(40),
  env: { SECRET: "a\nb", "../../etc/x": "no" },
  buildpacks: ["nodejs"],
  dockerfile: { path: "Dockerfile", args: {} },
  cacheKey: "app-1-0",
  limits: { cpuMillis: 1_000, memoryBytes: 1 << 30, diskBytes: 1 << 30, pids: 100, timeoutMs: 60_000 },
  ...fields,
});

const NAME = "flynn-build-b1";
const wait = <T>(what: string, probe: () => T) => until(probe, { what, timeoutMs: 10_000, everyMs: 2 });
const runs = (r: Rig, name = NAME) => wait("the build runs", () => r.fake.containers.get(name)?.running);
const ended = async (r: Rig, id = "b1", jobId = "j1") => {
  const result = await wait("the result", () => r.fake.results.get(id));
  const job = await wait("the job is down", () =>
    r.builds.jobs().find((one) => one.id === jobId && one.state === "down"),
  );
  assert.is(job.exitCode, result.exitCode);
  assert.is(job.reason, result.reason);
  return result;
};
const OUT = {
  "/out/slug.tar.gz": "slug",
  "/out/result.json": '{"detected":"Node.js","processes":{"web":"npm start","../x":"y"}}',
};

test("a build is given its input as files, as nobody of importance, and hands its slug to control", async () => {
  const r = await rig();
  r.push(spec());
  await runs(r);
  const { spec: container, input } = r.fake.containers.get(NAME)!;
  assert.is(container.user, "1000:1000", "an image that would run as root does not");
  assert.not.match(JSON.stringify(container), /SECRET/);
  const files: Record<string, string> = {};
  for await (const entry of Readable.from([input]).pipe(extract() as never) as unknown as AsyncIterable<
    AsyncIterable<Buffer> & { header: { name: string; uid: number; type: string } }
  >) {
    assert.is(entry.header.uid, 1000);
    files[entry.header.name] = await text(entry);
  }
  assert.equal(Object.keys(files).sort(), ["in", "in/build.json", "in/env", "in/env/SECRET", "in/source.tar", "out"]);
  assert.is(files["in/source.tar"], "source");
  assert.is(files["in/env/SECRET"], "a\nb");
  r.fake.print(NAME, "-----> \u001b[32mNode.js\u001b[0m");
  r.fake.exit(NAME, 0, { files: OUT });
  assert.equal(await ended(r), { exitCode: 0, reason: "", detected: "Node.js", processes: { web: "npm start" } });
  assert.is(r.fake.slugs.get("b1")?.toString(), "slug");
  assert.is(r.fake.logs.get("b1"), "-----> Node.js\n");
  assert.is(r.fake.containers.size, 0);
  await assertGone(join(r.directory, "builds", "b1"));
});

const assertGone = (path: string) =>
  access(path).then(
    () => assert.unreachable(`${path} is left`),
    () => undefined,
  );

test("nothing runs before its network is closed off", async () => {
  const r = await rig({ prepareNetwork: () => Promise.reject(new Error("iptables is missing")) });
  r.push(spec());
  assert.match((await ended(r)).reason, /iptables is missing/);
  assert.is(r.fake.containers.size, 0);
});

test("a source that is not what control announced is never run", async () => {
  const r = await rig();
  r.fake.source = Buffer.from("source and more");
  r.push(spec());
  assert.is((await ended(r)).reason, "the source is larger than control said");
});

test("each way to fail has its words", async () => {
  const r = await rig();
  const fail = async (id: string, act: (name: string) => void, fields: Partial<BuildSpec> = {}) => {
    r.push(spec({ id, jobId: `j-${id}`, ...fields }));
    await runs(r, `flynn-build-${id}`);
    act(`flynn-build-${id}`);
    return ended(r, id, `j-${id}`);
  };
  const files = { "/out/result.json": '{"reason":"no lock file"}' };
  assert.equal(await fail("f1", (name) => r.fake.exit(name, 1, { files })), { exitCode: 1, reason: "no lock file" });
  assert.is(
    (await fail("f2", (name) => r.fake.exit(name, 137, { oomKilled: true }))).reason,
    "out of memory: the build may use 1 GiB",
  );
  assert.is((await fail("f3", (name) => r.fake.exit(name, 0))).reason, "the builder left no slug");
  const say = (name: string) => {
    r.fake.print(name, " !     broken");
    r.fake.exit(name, 2);
  };
  assert.is((await fail("f4", say)).reason, "broken");
  assert.is((await fail("f5", (name) => r.fake.exit(name, 7))).reason, "the build exited with 7");
  assert.is(
    (await fail("f6", () => Object.assign(r.fake, { written: 2 ** 31 }))).reason,
    "used more than 1 GiB of disk, the build's limit",
  );
  r.fake.written = 0;
  const limits = { ...spec().limits, timeoutMs: 50 };
  assert.equal(await fail("f7", () => undefined, { limits }), {
    exitCode: 124,
    reason: "took longer than 50ms, the build's time limit",
  });
  assert.is(r.fake.containers.size, 0);
});

test("a build that is to stop stops, and says so", async () => {
  const r = await rig();
  r.push(spec());
  await runs(r);
  r.push(spec({ desired: "stop" }));
  assert.equal(await ended(r), { exitCode: 130, reason: "cancelled" });
  assert.is(r.fake.containers.size, 0);
  r.push();
  await wait("it is forgotten", () => r.builds.jobs().length === 0);
});

test("a build that control no longer names is ended too", async () => {
  const r = await rig();
  r.push(spec());
  await runs(r);
  r.push();
  await wait("nothing is left", () => r.fake.containers.size === 0 && r.builds.jobs().length === 0);
});

test("with control away the slug and the result wait for it; its refusal is the build's reason", async () => {
  const r = await rig();
  r.fake.refuse.set(hostBuildSlug.id, new Fault("unavailable", "away"));
  r.fake.refuse.set(hostBuildResult.id, new Fault("unavailable", "away"));
  r.push(spec());
  await runs(r);
  r.fake.exit(NAME, 0, { files: OUT });
  await wait("it sends", () => r.builds.jobs()[0]?.reason === "sending the slug");
  r.fake.refuse.delete(hostBuildSlug.id);
  await wait("the slug", () => r.fake.slugs.get("b1"));
  assert.is(r.builds.jobs()[0]?.state, "up", "not down before control has the result");
  r.fake.refuse.delete(hostBuildResult.id);
  assert.is((await ended(r)).exitCode, 0);
  r.fake.refuse.set(hostBuildSlug.id, new Fault("too-large", "the slug is larger than 100 MiB"));
  r.push(spec({ id: "b2", jobId: "j2" }));
  await runs(r, "flynn-build-b2");
  r.fake.exit("flynn-build-b2", 0, { files: OUT });
  assert.is((await ended(r, "b2", "j2")).reason, "the slug is larger than 100 MiB");
});

test("a restart ends what ran and says so; a result not yet told is told", async () => {
  const r = await rig();
  r.push(spec());
  await runs(r);
  const left = r.fake.containers.get(NAME)!;
  await r.restart();
  assert.match((await ended(r)).reason, /agent was restarted/);
  // As a SIGKILL leaves it: a container, and no record of it.
  r.fake.containers.set("flynn-build-b9", {
    ...left,
    spec: { ...left.spec, name: "flynn-build-b9", labels: { "flynn.build": "b9" } },
  });
  // An app's job: its image was built here, and its container has the image's labels.
  const job = { ...left, spec: { ...left.spec, name: "flynn-job-1", labels: { "flynn.build": "b8" } } };
  r.fake.containers.set("flynn-job-1", job);
  await rm(join(r.directory, "builds.json"));
  await r.restart();
  await wait("the leftover goes", () => !r.fake.containers.has("flynn-build-b9"));
  assert.ok(r.fake.containers.delete("flynn-job-1"), "an app's container is none of ours");
  r.push(spec({ id: "b9", jobId: "j9" }));
  assert.match((await ended(r, "b9", "j9")).reason, /agent was restarted/);
});

test("ids that are no names begin nothing", async () => {
  const r = await rig();
  r.push(spec({ id: "../../etc" }), spec({ id: "b2", jobId: "j2", cacheKey: "../x" }));
  assert.is((await ended(r, "b2", "j2")).reason, "its cache has no proper name");
  assert.is(r.builds.jobs().length, 1);
});

test("a builder image that is none fails in words, nothing of it is left, and no secret is kept on disk", async () => {
  const r = await rig();
  r.push(spec({ kind: "cnb", runImage: "registry/run@sha256:1" }));
  assert.match((await ended(r)).reason, /does not say CNB_USER_ID: is it a Cloud Native Buildpacks builder/);
  assert.equal([...r.fake.containers.keys(), ...r.fake.volumes.keys()], []);
  assert.not.match(await readFile(join(r.directory, "builds.json"), "utf8"), /SECRET/);
});

test.run();
