// Cloud Native Buildpacks on a real dockerd, by hostd's own code and the real lifecycle: from a source to an app that runs. Needs root.
// time limit: 1500 s

import { createHash } from "node:crypto";
import { mkdir, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { BuildResult, BuildSpec } from "#api/builds.ts";
import type { HostTarget } from "#api/host-agents.ts";
import { exec } from "#lib/exec.ts";
import { readJson, readText } from "#lib/files.ts";
import { until } from "#lib/time.ts";
import { CNB_BUILDER, CNB_RUN, CNB_USER, writeCnbBuilder, writeCnbRun } from "./cnb-images.ts";
import { type DockerHost, startDockerHost } from "./docker-host.ts";
import { lifecycle } from "./lifecycle.ts";
import { openLan } from "./network.ts";
import type { Running } from "./process.ts";
import { openScope, type Scope } from "./scope.ts";
import { type TarEntry, tar } from "./tar.ts";

const AGENT = fileURLToPath(new URL("build-agent.ts", import.meta.url));
const MIB = 1024 ** 2;
const LIMITS = { cpuMillis: 2_000, memoryBytes: 512 * MIB, diskBytes: 1024 * MIB, pids: 128, timeoutMs: 120_000 };

interface Rig {
  scope: Scope;
  host: DockerHost;
  folder: string;
  agent: Running;
  seq: number;
  builds: BuildSpec[];
}
let rig: Rig;

test.before(async () => {
  const programs = await lifecycle({ say: (line) => console.log(line) });
  const scope = await openScope();
  const lan = await openLan(scope);
  const host = await startDockerHost(scope, lan, "h1", "10.77.0.11");
  const folder = join(scope.folder, "control");
  await mkdir(folder);
  for (const [name, write] of [
    ["builder", (path: string) => writeCnbBuilder(path, programs)],
    ["run", writeCnbRun],
  ] as const) {
    const path = join(scope.folder, `${name}.tar`);
    await write(path);
    await exec(["docker", "-H", `unix://${host.dockerSocket}`, "load", "-q", "-i", path]);
    await rm(path);
  }
  const argv = [process.execPath, AGENT, folder, "/run/docker.sock", `https://${lan.ip}:7777`];
  rig = { scope, host, folder, agent: await host.spawn(argv), seq: 0, builds: [] };
});
test.after(async () => rig?.scope.close());

const docker = async (...argv: string[]): Promise<string> =>
  (await exec(["docker", "-H", `unix://${rig.host.dockerSocket}`, ...argv])).stdout.trim();

async function push(): Promise<void> {
  const target: HostTarget = {
    term: 1,
    seq: ++rig.seq,
    hostId: "host-1",
    subnet: "100.64.7.0/24",
    clusterRange: "100.64.0.0/16",
    peers: [],
    registry: "10.77.0.1:5000",
    jobs: [],
    builds: rig.builds,
    stack: { name: "lab", builder: CNB_BUILDER, runner: CNB_RUN },
  };
  await writeFile(join(rig.folder, "target.tmp"), JSON.stringify(target));
  await rename(join(rig.folder, "target.tmp"), join(rig.folder, "target.json"));
}

async function build(
  id: string,
  files: Record<string, string>,
  fields: Partial<BuildSpec> = {},
): Promise<BuildResult & { log: string }> {
  const entries = Object.entries(files).map(([path, content]): TarEntry => ({ path, kind: "file", content }));
  const source = await buffer(Readable.from(tar(entries)));
  await writeFile(join(rig.folder, `${id}.tar`), source);
  const spec: BuildSpec = {
    id,
    jobId: `job-${id}`,
    app: "shop",
    appId: "app-1",
    desired: "run",
    kind: "cnb",
    image: CNB_BUILDER,
    runImage: CNB_RUN,
    source: { sha256: createHash("sha256").update(source).digest("hex"), sizeBytes: source.length },
    env: { GREETING: "hello" },
    buildpacks: [],
    dockerfile: { path: "Dockerfile", args: {} },
    cacheKey: "app-1-0",
    limits: LIMITS,
    ...fields,
  };
  rig.builds = [...rig.builds, spec];
  await push();
  const ended = await until(
    async () => {
      assert.ok(rig.agent.isRunning(), `the agent ended: ${rig.agent.output().slice(-2_000)}`);
      return readJson<BuildResult>(join(rig.folder, `${id}.result.json`));
    },
    { what: `end of build ${id}`, timeoutMs: 150_000, everyMs: 50 },
  );
  return { ...ended, log: (await readText(join(rig.folder, `${id}.log`))) ?? "" };
}

const APP = { "app.sh": 'echo "up, build $COUNT"; exec sleep 600\n', "build.sh": "echo from the source\n" };

test("a source becomes an image, by phases that see no credential and no other phase's place", async () => {
  const ended = await build("c1", APP);
  assert.equal(
    { ...ended, log: "" },
    {
      exitCode: 0,
      reason: "",
      detected: "lab/shell@1.0.0",
      processes: { web: "sh /workspace/app.sh", worker: "sleep 600" },
      log: "",
    },
    ended.log,
  );
  for (const said of [
    /^ ! {5}Warning: the builder is made for the run image lab\.test\/made-for:1; its apps run on the cluster's stack\n/,
    /\n-----> Detecting buildpacks\n/,
    /\n-----> Building with the buildpacks\n/,
    new RegExp(`\n-----> Shell buildpack as ${CNB_USER}\n`),
    /\n {7}file hello\n|\n {7}variable hello; file hello\n/,
    /\n {7}has no credentials\n/,
    /\n {7}does not see the layout\n/,
    /\n {7}from the source\n {7}build 1 with this cache\n/,
    /\n-----> Exporting the image\n/,
  ])
    assert.match(ended.log, said);
  assert.ok(
    ended.log.split("\n").every((line) => /^(-----> | ! {5}| {7}|$)/.test(line)),
    `every line is a push's: ${ended.log}`,
  );
});

test("what is sent is an OCI layout that says so first, and the app in it runs by its process and through the launcher", async () => {
  const image = join(rig.folder, "c1.image");
  const { stdout } = await exec(["tar", "-tf", image]);
  assert.is(stdout.split("\n")[0], "oci-layout");
  const converted = join(rig.scope.folder, "app.tar");
  await exec(["skopeo", "copy", `oci-archive:${image}`, `docker-archive:${converted}:lab.test/app:1`], {
    timeoutMs: 60_000,
  });
  await docker("load", "-q", "-i", converted);
  const none = ["--network", "none"];
  await docker("run", "-d", "--name", "web", ...none, "--entrypoint", "/cnb/process/web", "lab.test/app:1");
  await until(async () => (await docker("logs", "web")) === "up, build 1", {
    what: "the app is up",
    timeoutMs: 20_000,
  });
  await docker("rm", "-f", "web");
  const launcher = ["--rm", ...none, "--entrypoint", "/cnb/lifecycle/launcher", "lab.test/app:1", "--"];
  const script = 'echo "$COUNT $FROM_RUN_IMAGE $(cat /workspace/build.sh) $(cat /run-image | head -c 8)"';
  assert.match(await docker("run", ...launcher, "sh", "-c", script), /^1 1 echo from the source [0-9a-f]{8}$/);
  assert.is(
    await docker("inspect", "-f", "{{json (index .Config.Env)}}", "lab.test/app:1").then((env) => /GREETING/.test(env)),
    false,
    "a variable is not in the image",
  );
});

test("the app's cache outlives its build, and is no other's", async () => {
  assert.match((await build("c2", APP)).log, /build 2 with this cache/);
  const other = { appId: "app-2", cacheKey: "app-2-0" };
  assert.match((await build("c3", APP, other)).log, /build 1 with this cache/);
});

test("a source that no buildpack fits fails in words", async () => {
  const ended = await build("c4", { "index.html": "hello" });
  assert.equal([ended.exitCode, ended.reason], [20, "no buildpack of the builder fits this source"], ended.log);
});

test("a buildpack that fails is said to have, with what it printed; one that goes on too long is ended", async () => {
  const failed = await build("c5", { ...APP, "build.sh": "echo no compiler; exit 7\n" });
  assert.equal([failed.exitCode, failed.reason], [51, "a buildpack failed"], failed.log);
  assert.match(failed.log, /\n {7}no compiler\n/);
  const limits = { ...LIMITS, timeoutMs: 20_000 };
  const late = await build("c6", { ...APP, "build.sh": "echo before; sleep 600\n" }, { limits });
  assert.is(late.reason, "took longer than 20.0s, the build's time limit");
  assert.match(late.log, /before/);
});

test("an image that is no builder is refused in words", async () => {
  assert.match((await build("c7", APP, { image: CNB_RUN })).reason, /does not say CNB_USER_ID: is it a .* builder\?/);
});

test("nothing of all builds is left but caches", async () => {
  rig.builds = [];
  await push();
  await until(async () => (await docker("ps", "-aq")) === "", { what: "no container is left", timeoutMs: 10_000 });
  const volumes = (await docker("volume", "ls", "-q")).split("\n");
  assert.equal(volumes.sort(), ["flynn-cache-app-1-0", "flynn-cache-app-2-0"]);
});

test.run();
