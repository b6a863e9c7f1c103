// Builds on a real dockerd in a network namespace, driven by hostd's own code: what they make, what ends them, what they cannot
// reach, and that nothing of them stays. Needs root.

import { createHash } from "node:crypto";
import { mkdir, readdir, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { BuildResult, BuildSpec } from "#api/builds.ts";
import type { HostTarget } from "#api/hosts.ts";
import type { JobReport } from "#api/jobs.ts";
import { exec } from "#lib/exec.ts";
import { readJson, readText } from "#lib/files.ts";
import { until } from "#lib/time.ts";
import { type DockerHost, startDockerHost } from "./docker-host.ts";
import { writeImageArchive } from "./image.ts";
import { type Lan, openLan } from "./network.ts";
import type { Running } from "./process.ts";
import { openScope, type Scope } from "./scope.ts";
import { type TarEntry, tar } from "./tar.ts";

const AGENT = fileURLToPath(new URL("build-agent.ts", import.meta.url));
const BUILDER = "lab.test/builder:1";
const MIB = 1024 ** 2;
const LIMITS = { cpuMillis: 1_000, memoryBytes: 128 * MIB, diskBytes: 256 * MIB, pids: 64, timeoutMs: 60_000 };

interface Rig {
  scope: Scope;
  lan: Lan;
  host: DockerHost;
  folder: string;
  agent: Running;
  seq: number;
  builds: BuildSpec[];
}
let rig: Rig;

const startAgent = (host: DockerHost, folder: string, lan: Lan): Promise<Running> =>
  host.spawn([process.execPath, AGENT, folder, "/run/docker.sock", `https://${lan.ip}:7777`]);

test.before(async () => {
  try {
    const scope = await openScope();
    const lan = await openLan(scope);
    const host = await startDockerHost(scope, lan, "h1", "10.77.0.11");
    const folder = join(scope.folder, "control");
    await mkdir(folder);
    rig = { scope, lan, host, folder, agent: undefined as unknown as Running, seq: 0, builds: [] };
    await load(BUILDER, [
      { path: "flynn", kind: "folder" },
      { path: "src", kind: "folder", mode: 0o777 },
      { path: "cache", kind: "folder", mode: 0o777 },
      {
        path: "flynn/build",
        kind: "file",
        mode: 0o755,
        content: "#!/bin/sh\ncd /src && busybox tar -xf /in/source.tar && . /src/build.sh\n",
      },
    ]);
    rig.agent = await startAgent(host, folder, lan);
  } catch (error) {
    console.error(error);
    throw error;
  }
});
test.after(async () => {
  console.error(rig.agent.output());
  console.error(await readText(join(rig.folder, "jobs.json")));
  await rig.scope.close();
});

async function load(reference: string, files: TarEntry[]): Promise<void> {
  const path = join(rig.scope.folder, `${reference.replaceAll("/", "-")}.tar`);
  await writeImageArchive(path, { reference, command: ["/bin/sh"], files });
  await exec(["docker", "-H", `unix://${rig.host.dockerSocket}`, "load", "-q", "-i", path]);
}

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
  };
  await writeFile(join(rig.folder, "target.tmp"), JSON.stringify(target));
  await rename(join(rig.folder, "target.tmp"), join(rig.folder, "target.json"));
}

async function begin(id: string, files: Record<string, string>, fields: Partial<BuildSpec> = {}): Promise<BuildSpec> {
  const entries = Object.entries(files).map(([path, content]): TarEntry => ({ path, kind: "file", content }));
  const source = await buffer(Readable.from(tar(entries)));
  await writeFile(join(rig.folder, `${id}.tar`), source);
  const build: BuildSpec = {
    id,
    jobId: `job-${id}`,
    app: "shop",
    appId: "app-1",
    desired: "run",
    kind: "buildpacks",
    image: BUILDER,
    source: { sha256: createHash("sha256").update(source).digest("hex"), sizeBytes: source.length },
    env: {},
    buildpacks: [],
    dockerfile: { path: "Dockerfile", args: {} },
    cacheKey: "app-1-0",
    limits: LIMITS,
    ...fields,
  };
  rig.builds = [...rig.builds, build];
  await push();
  return build;
}

const log = async (id: string): Promise<string> => (await readText(join(rig.folder, `${id}.log`))) ?? "";
const job = async (id: string): Promise<JobReport | undefined> =>
  (await readJson<JobReport[]>(join(rig.folder, "jobs.json")))?.find((found) => found.id === `job-${id}`);
const result = async (id: string, timeoutMs = 60_000): Promise<BuildResult> => {
  const found = await until(
    async () => {
      assert.ok(rig.agent.isRunning(), `the agent ended: ${rig.agent.output().slice(-2_000)}`);
      return readJson<BuildResult>(join(rig.folder, `${id}.result.json`));
    },
    { what: `end of build ${id}`, timeoutMs, everyMs: 20 },
  );
  await until(async () => (await job(id))?.state === "down", { what: `job of ${id} is down`, timeoutMs: 5_000 });
  return found;
};
async function build(
  id: string,
  script: string,
  fields: Partial<BuildSpec> = {},
): Promise<BuildResult & { log: string }> {
  await begin(id, { "build.sh": script }, fields);
  const ended = await result(id);
  return { ...ended, log: await log(id) };
}

const OK = `
busybox tar -czf /out/slug.tar.gz -C / src
echo '{"detected":"Test","processes":{"web":"npm start"}}' > /out/result.json
`;

test("a build gives its output, its slug, what was found and its process types", async () => {
  const ended = await build(
    "b1",
    `echo "-----> Hello from $(id -u)"; cat /in/build.json; echo; cat /in/env/SECRET; env; ${OK}`,
    {
      env: { SECRET: "s3cret\nline" },
      commit: "a".repeat(40),
    },
  );
  assert.equal(
    { ...ended, log: "" },
    { exitCode: 0, reason: "", detected: "Test", processes: { web: "npm start" }, log: "" },
  );
  assert.match(ended.log, /^-----> Hello from 1000\n\{"app":"shop","build":"b1","commit":"a+"/);
  assert.match(ended.log, /s3cret\nline/);
  assert.not.match(ended.log, /SECRET=/, "a variable is a file, not the builder's environment");
  const { stdout } = await exec(["tar", "-tzf", join(rig.folder, "b1.slug")]);
  assert.equal(stdout.trim().split("\n").sort(), ["src/", "src/build.sh"]);
  assert.is((await job("b1"))?.exitCode, 0);
});

test("a build that fails says the builder's own last word, and its exit code", async () => {
  const ended = await build("b2", 'echo " !     No Gemfile.lock"; echo bye; exit 3');
  assert.is(ended.reason, "No Gemfile.lock");
  assert.is(ended.exitCode, 3);
  assert.match(ended.log, /bye\n$/);
  assert.is((await job("b2"))?.exitCode, 3);
});

test("a build that takes too long is ended, and its last output is kept", async () => {
  const limits = { ...LIMITS, timeoutMs: 1_500 };
  const ended = await build("b3", "echo before; sleep 600", { limits });
  assert.is(ended.reason, "took longer than 1.5s, the build's time limit");
  assert.match(ended.log, /before/);
});

test("a build beyond its memory is said to be out of memory", async () => {
  const limits = { ...LIMITS, memoryBytes: 64 * MIB };
  const ended = await build("b4", "x=a; while :; do x=$x$x; done", { limits });
  assert.is(ended.reason, "out of memory: the build may use 64 MiB");
  assert.is(ended.exitCode, 137);
});

test("a fork bomb stays within its processes, and the host answers meanwhile", async () => {
  const limits = { ...LIMITS, timeoutMs: 4_000 };
  const bomb = build("b5", "b() { b | b & }; b; while :; do sleep 1; done", { limits });
  await until(async () => /fork/.test(await log("b5")), { what: "the limit is met", timeoutMs: 20_000 });
  const { stdout } = await rig.host.exec(["ps", "-e", "-o", "pid="]);
  assert.ok(stdout.trim().split("\n").length < 150, "processes on the host");
  const ended = await bomb;
  assert.is.not(ended.exitCode, 0);
});

test("a build that fills the disk is ended, whether it writes to itself or to its cache", async () => {
  const limits = { ...LIMITS, diskBytes: 64 * MIB };
  const fill = (path: string) =>
    `i=0; while :; do dd if=/dev/zero of=${path}/f$i bs=1M count=8; i=$((i+1)); sleep 0.1; done`;
  const [own, cache] = [
    await build("b6", fill("/src"), { limits }),
    await build("b7", fill("/cache"), { limits, cacheKey: "app-1-full" }),
  ];
  assert.is(own.reason, "used more than 64 MiB of disk, the build's limit");
  assert.is(cache.reason, own.reason);
});

test("a cancelled build ends within seconds", async () => {
  await begin("b8", { "build.sh": "trap '' TERM; echo running; while :; do sleep 1; done" });
  await until(async () => /running/.test(await log("b8")), { what: "the build runs", timeoutMs: 20_000 });
  const startMs = performance.now();
  rig.builds = rig.builds.map((one) => (one.id === "b8" ? { ...one, desired: "stop" } : one));
  await push();
  const ended = await result("b8");
  assert.ok(performance.now() - startMs < 5_000);
  assert.equal(ended, { exitCode: 130, reason: "cancelled" });
});

test("a build reaches nothing of the cluster, the host or another build, and does reach the outside", async () => {
  const { lan, host } = rig;
  // What a build must not find: control, the host's own port, a link-local service on the host, an app. And what it may.
  const listen = (where: Pick<Lan, "spawn">, address: string, port: number) =>
    where.spawn(["busybox", "nc", "-lk", "-s", address, "-p", String(port), "-e", "echo", "reached"]);
  await exec(["ip", "-n", host.namespace, "addr", "add", "169.254.169.254/32", "dev", "lo"]);
  await exec(["ip", "-n", lan.namespace, "addr", "add", "10.77.0.99/24", "dev", lan.bridge]);
  await listen(lan, "10.77.0.1", 7777);
  await listen(lan, "10.77.0.99", 80);
  await listen(host, "0.0.0.0", 7779);
  await begin("b9", { "build.sh": "echo up; nc -l -p 81 -e echo reached" });
  await until(async () => /up/.test(await log("b9")), { what: "the neighbour runs", timeoutMs: 20_000 });
  const socket = ["docker", "-H", `unix://${host.dockerSocket}`];
  const inspect = async (name: string, format: string) =>
    (await exec([...socket, "inspect", "-f", format, name])).stdout.trim();
  const neighbour = await inspect("flynn-build-b9", '{{(index .NetworkSettings.Networks "flynn-build").IPAddress}}');
  const gateway = await inspect("flynn-build-b9", '{{(index .NetworkSettings.Networks "flynn-build").Gateway}}');
  await exec([
    ...socket,
    "network",
    "create",
    "-o",
    "com.docker.network.bridge.name=flynn0",
    "--subnet",
    "100.64.7.0/24",
    "flynn",
  ]);
  await exec([
    ...socket,
    "run",
    "-d",
    "--name",
    "app",
    "--network",
    "flynn",
    BUILDER,
    "sh",
    "-c",
    "nc -lk -p 8080 -e echo reached",
  ]);
  const app = await inspect("app", '{{(index .NetworkSettings.Networks "flynn").IPAddress}}');
  const tries = {
    control: "10.77.0.1 7777",
    hostd: "10.77.0.11 7779",
    gateway: `${gateway} 7779`,
    metadata: "169.254.169.254 7779",
    neighbour: `${neighbour} 81`,
    app: `${app} 8080`,
    outside: "10.77.0.99 80",
  };
  const script = Object.entries(tries)
    .map(([what, where]) => `echo "${what}: $(nc -w 2 ${where} </dev/null 2>&1)"`)
    .join("\n");
  const ended = await build("b10", `${script}\ncat /proc/net/if_inet6; ${OK}`);
  assert.is(ended.exitCode, 0);
  assert.match(ended.log, /outside: reached/);
  for (const what of Object.keys(tries))
    if (what !== "outside") assert.not.match(ended.log, new RegExp(`${what}: reached`));
  assert.is(ended.log.match(/: reached/g)?.length, 1);
  assert.not.match(ended.log, /fe80/, "no IPv6");
  // And from an app and the LAN to a build.
  const reach = (argv: string[]) =>
    exec(argv, { timeoutMs: 10_000 }).then(
      ({ stdout }) => stdout,
      () => "refused",
    );
  assert.not.match(
    await reach([...socket, "exec", "app", "sh", "-c", `nc -w 2 ${neighbour} 81 </dev/null`]),
    /reached/,
  );
  await exec(["ip", "-n", lan.namespace, "route", "add", `${neighbour}/32`, "via", host.ip]);
  assert.not.match(await reach(lan.argv(["busybox", "nc", "-w", "2", neighbour, "81"])), /reached/);
  assert.match(
    await reach(
      host.exec ? ["nsenter", `--net=/run/netns/${host.namespace}`, "busybox", "nc", "-w", "2", neighbour, "81"] : [],
    ),
    /reached|refused/,
  );
  rig.builds = rig.builds.filter(({ id }) => id !== "b9");
  await push();
  await exec([...socket, "rm", "-f", "app"]);
  await exec([...socket, "network", "rm", "flynn"]);
});

test("a cache is its app's, outlives a build, and goes when it is cleared", async () => {
  assert.match(
    (
      await build("b11", `cat /cache/mark || echo none; echo first > /cache/mark; ${OK}`, {
        appId: "app-2",
        cacheKey: "app-2-0",
      })
    ).log,
    /none/,
  );
  assert.match(
    (await build("b12", `cat /cache/mark || echo none; ${OK}`, { appId: "app-2", cacheKey: "app-2-0" })).log,
    /first/,
  );
  assert.match(
    (await build("b13", `cat /cache/mark || echo none; ${OK}`, { appId: "app-3", cacheKey: "app-3-0" })).log,
    /none/,
  );
  assert.match(
    (await build("b14", `cat /cache/mark || echo none; ${OK}`, { appId: "app-2", cacheKey: "app-2-1" })).log,
    /none/,
  );
  await until(async () => !(await volumes()).includes("flynn-cache-app-2-0"), {
    what: "the cleared cache goes",
    timeoutMs: 5_000,
  });
  assert.ok((await volumes()).includes("flynn-cache-app-2-1"));
});

test("a restart of hostd ends a build, says so, and leaves nothing of it", async () => {
  await begin("b15", { "build.sh": "echo running; sleep 600" });
  await until(async () => /running/.test(await log("b15")), { what: "the build runs", timeoutMs: 20_000 });
  await rig.agent.kill("SIGKILL");
  rig.agent = await startAgent(rig.host, rig.folder, rig.lan);
  const ended = await result("b15");
  assert.is(ended.reason, "the host's agent was restarted while the build ran; push again");
});

test("nothing of all builds is left but caches", async () => {
  rig.builds = [];
  await push();
  const docker = (...argv: string[]) =>
    exec(["docker", "-H", `unix://${rig.host.dockerSocket}`, ...argv]).then(({ stdout }) => stdout.trim());
  await until(async () => (await docker("ps", "-aq")) === "", { what: "no container is left", timeoutMs: 10_000 });
  assert.is(await docker("images", "-aq", "--filter", "label=flynn.build"), "");
  assert.equal(await readdir(join(rig.folder, "state", "builds")).catch(() => []), []);
  assert.ok((await volumes()).every((name) => name.startsWith("flynn-cache-")));
});

const volumes = async (): Promise<string[]> =>
  (await exec(["docker", "-H", `unix://${rig.host.dockerSocket}`, "volume", "ls", "-q"])).stdout.trim().split("\n");

test.run();
