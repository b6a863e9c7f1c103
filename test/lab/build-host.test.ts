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
import type { HostTarget } from "#api/host-agents.ts";
import type { JobReport } from "#api/jobs.ts";
import { exec } from "#lib/exec.ts";
import { readJson, readText } from "#lib/files.ts";
import { until } from "#lib/time.ts";
import { localName, parseReference } from "../../hostd/builds/image-reference.ts";
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
});
test.after(async () => rig.scope.close());

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
  await until(async () => (await job(id))?.state === "down", { what: `job of ${id} is down`, timeoutMs: 30_000 });
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

const SERVE = "echo reached > /tmp/reached; echo up; exec httpd -f -h /tmp -p";
/** What is answered to a request from `where` to `address:port`; busybox' own wget does not work outside an image. */
const ask = (where: Pick<Lan, "exec">, address: string): Promise<string> =>
  where
    .exec(["busybox", "nc", "-w", "2", ...address.split(":")], {
      input: "GET /reached HTTP/1.0\r\n\r\n",
      timeoutMs: 10_000,
    })
    .then(({ stdout }) => stdout, String);

const OK = `
busybox tar -cf - -C / src | busybox gzip > /out/slug.tar.gz
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
  const served = join(rig.folder, "served");
  await mkdir(served);
  await writeFile(join(served, "reached"), "reached");
  const listen = (where: Pick<Lan, "spawn">, address: string) =>
    where.spawn(["busybox", "httpd", "-f", "-p", address, "-h", served]);
  await exec(["ip", "-n", host.namespace, "addr", "add", "169.254.169.254/32", "dev", "lo"]);
  await exec(["ip", "-n", lan.namespace, "addr", "add", "11.0.0.1/32", "dev", lan.bridge]);
  await listen(lan, "10.77.0.1:7777");
  await listen(lan, "11.0.0.1:80");
  await listen(host, "0.0.0.0:7779");
  await begin("b9", { "build.sh": `${SERVE} 8081` });
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
    "flynn-app",
    "--label",
    "flynn.job=app",
    "--network",
    "flynn",
    BUILDER,
    "sh",
    "-c",
    `${SERVE} 8080`,
  ]);
  await push();
  const app = await inspect("flynn-app", '{{(index .NetworkSettings.Networks "flynn").IPAddress}}');
  const tries = {
    control: "10.77.0.1:7777",
    hostd: "10.77.0.11:7779",
    gateway: `${gateway}:7779`,
    metadata: "169.254.169.254:7779",
    neighbour: `${neighbour}:8081`,
    app: `${app}:8080`,
    outside: "11.0.0.1:80",
  };
  // All of it is there, and answers who may ask.
  await until(async () => /reached$/m.test(await ask(host, tries.app)), { what: "the app serves", timeoutMs: 30_000 });
  const inNeighbour = ["exec", "flynn-build-b9", "wget", "-q", "-O", "-", "http://127.0.0.1:8081/reached"];
  assert.match((await exec([...socket, ...inNeighbour])).stdout, /reached/);
  for (const [what, where] of Object.entries(tries))
    if (what !== "neighbour") assert.match(await ask(host, where), /reached$/m, `the host reaches ${what}`);
  const request = String.raw`printf "GET /reached HTTP/1.0\r\n\r\n"`;
  const script = Object.entries(tries)
    .map(([what, where]) => `echo "${what}: $(${request} | nc -w 2 ${where.replace(":", " ")} 2>&1 | tail -n 1)"`)
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
    await reach([...socket, "exec", "flynn-app", "sh", "-c", `${request} | nc -w 2 ${neighbour} 8081`]),
    /reached/,
  );
  await exec(["ip", "-n", lan.namespace, "route", "add", `${neighbour}/32`, "via", host.ip]);
  assert.not.match(await ask(lan, `${neighbour}:8081`), /reached/);
  rig.builds = rig.builds.filter(({ id }) => id !== "b9");
  await push();
  await exec([...socket, "rm", "-f", "flynn-app"]);
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
    timeoutMs: 30_000,
  });
  assert.ok((await volumes()).includes("flynn-cache-app-2-1"));
});

const BASE = "10.77.0.50:5000/base:1";
const docker = async (...argv: string[]): Promise<string> =>
  (await exec(["docker", "-H", `unix://${rig.host.dockerSocket}`, ...argv])).stdout.trim();
async function dockerfile(
  id: string,
  text: string,
  fields: Partial<BuildSpec> = {},
  files: Record<string, string> = {},
): Promise<BuildResult & { log: string }> {
  // As hostd has it once it was fetched.
  const fetched = localName(parseReference(BASE)!);
  if ((await docker("images", "-q", fetched)) === "") await docker("tag", BUILDER, fetched);
  await begin(id, { Dockerfile: text, ...files }, { kind: "dockerfile", image: undefined, ...fields });
  const ended = await result(id);
  return { ...ended, log: await log(id) };
}

test("a Dockerfile is built: stages, arguments, target, .dockerignore; the image is sent as an archive", async () => {
  const text = `# syntax=docker/dockerfile:1
ARG BASE=10.77.0.50:5000/base
FROM --platform=$BUILDPLATFORM \${BASE}:1 AS build
ARG GREETING=none
COPY . /ctx
RUN echo "hello $GREETING" > /greeting \\
  # a comment
  && ls /ctx
FROM scratch AS final
COPY --from=build /greeting /greeting
CMD ["/greeting"]
FROM scratch AS other
RUN ["/never"]
`;
  const files = { ".dockerignore": "secret*\n!secret.keep\n", "secret.txt": "x", "secret.keep": "x", "app.js": "x" };
  const fields = { dockerfile: { path: "Dockerfile", target: "final", args: { GREETING: "world" } } };
  const ended = await dockerfile("d1", text, fields, files);
  assert.equal({ ...ended, log: "" }, { exitCode: 0, reason: "", detected: "Dockerfile", log: "" }, ended.log);
  assert.match(ended.log, /^ {7}Step 1\/10: ARG BASE=/m);
  assert.match(ended.log, / {7}Step 5\/10: RUN echo "hello \$GREETING" > \/greeting/);
  assert.match(ended.log, / {7}Dockerfile\n {7}app.js\n {7}secret.keep\n/);
  assert.not.match(ended.log, /secret.txt|flynn.cache|[0-9a-f]{12}/);
  const archive = join(rig.folder, "d1.image");
  const read = async (path: string) => (await exec(["tar", "-xOf", archive, path])).stdout;
  const [{ Config, Layers }] = JSON.parse(await read("manifest.json")) as [{ Config: string; Layers: string[] }];
  assert.is(Layers.length, 1);
  assert.equal(JSON.parse(await read(Config)).config.Cmd, ["/greeting"]);
  assert.match(await read(Layers[0]!), /hello world/);
});

test("layers are cached for their app, and for no other", async () => {
  const text = `FROM ${BASE}\nRUN cat /proc/sys/kernel/random/uuid > /once\n`;
  assert.not.match((await dockerfile("d2", text)).log, /from cache/);
  assert.match((await dockerfile("d3", text)).log, /Step 2\/2: RUN cat .*\n {9}\(from cache\)/);
  assert.not.match((await dockerfile("d4", text, { appId: "app-4", cacheKey: "app-4-0" })).log, /from cache/);
});

test("a failed step is named, with its exit code and its last words", async () => {
  const ended = await dockerfile("d5", `FROM ${BASE}\nRUN echo no compiler; exit 3\n`);
  assert.is(ended.reason, "RUN echo no compiler; exit 3 failed with exit code 3");
  assert.is(ended.exitCode, 3);
  assert.match(ended.log, /no compiler\n$/);
});

test("what Docker would fetch with the host's rights is refused, in words", async () => {
  const refused = async (id: string, text: string) => (await dockerfile(id, text)).reason;
  const own = "10.77.0.1:5000/apps/other:1";
  assert.is(
    await refused("d6", `ARG R=10.77.0.1\nFROM $R:5000/apps/other:1\n`),
    `line 2: FROM ${own}: the cluster's own registry is closed to builds`,
  );
  assert.match(
    await refused("d7", `FROM ${BASE}\nCOPY --from=${own} / /\n`),
    /line 2: FROM .* the cluster's own registry/,
  );
  assert.match(
    await refused("d8", `FROM ${BASE}\nADD http://169.254.169.254/ /x\n`),
    /line 2: ADD of an address is refused/,
  );
  assert.match(await refused("d9", "FROM flynn/runner\n"), /line 1: the cluster has no stack yet/);
  assert.match(await refused("d10", "FROM 127.0.0.1:5000/x\n"), /127.0.0.1 is .*closed to builds/);
});

test("a Dockerfile's step is held to memory, processes, disk and time, and reaches nothing of the cluster", async () => {
  const limits = { ...LIMITS, memoryBytes: 64 * MIB };
  const oom = await dockerfile("d11", `FROM ${BASE}\nRUN x=a; while :; do x=$x$x; done\n`, { limits });
  assert.is(oom.reason, "out of memory: the build may use 64 MiB");
  const bomb = dockerfile("d12", `FROM ${BASE}\nRUN b() { b | b & }; b; while :; do sleep 1; done\n`, {
    limits: { ...LIMITS, timeoutMs: 6_000 },
  });
  await until(async () => /fork/.test(await log("d12")), { what: "the limit is met", timeoutMs: 20_000 });
  const { stdout } = await rig.host.exec(["ps", "-e", "-o", "pid="]);
  assert.ok(stdout.trim().split("\n").length < 1_000, "processes on the host");
  assert.is.not((await bomb).exitCode, 0);
  const fill = "i=0; while :; do dd if=/dev/zero of=/f$i bs=1M count=8; i=$((i+1)); sleep 0.1; done";
  const full = await dockerfile("d13", `FROM ${BASE}\nRUN ${fill}\n`, { limits: { ...LIMITS, diskBytes: 64 * MIB } });
  assert.is(full.reason, "used more than 64 MiB of disk, the build's limit");
  // A volume is in no layer.
  const volume = await dockerfile("d16", `FROM ${BASE}\nVOLUME /v\nRUN ${fill.replace("/f", "/v/f")}\n`, {
    limits: { ...LIMITS, diskBytes: 64 * MIB },
  });
  assert.is(volume.reason, full.reason);
  const late = await dockerfile("d14", `FROM ${BASE}\nRUN sleep 600\n`, { limits: { ...LIMITS, timeoutMs: 1_500 } });
  assert.is(late.reason, "took longer than 1.5s, the build's time limit");
  const asked = String.raw`printf "GET /reached HTTP/1.0\r\n\r\n" | nc -w 2`;
  const net = await dockerfile(
    "d15",
    `FROM ${BASE}\nRUN for a in "10.77.0.1 7777" "10.77.0.11 7779" "169.254.169.254 7779" "11.0.0.1 80"; do echo "$a: $(${asked} $a 2>&1 | tail -n 1)"; done\n`,
  );
  assert.match(net.log, /11\.0\.0\.1 80: reached/);
  assert.is(net.log.match(/: reached/g)?.length, 1);
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
  await until(async () => (await docker("ps", "-aq")) === "", { what: "no container is left", timeoutMs: 10_000 });
  assert.is(await docker("images", "-aq", "--filter", "label=flynn.build"), "");
  assert.equal(await readdir(join(rig.folder, "state", "builds")).catch(() => []), []);
  assert.ok((await volumes()).every((name) => name.startsWith("flynn-cache-")));
});

const volumes = async (): Promise<string[]> =>
  (await exec(["docker", "-H", `unix://${rig.host.dockerSocket}`, "volume", "ls", "-q"])).stdout.trim().split("\n");

test.run();
