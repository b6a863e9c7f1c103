// The engine contract on a real dockerd, started here in a network namespace of its own; needs root.
import { type ChildProcess, spawn } from "node:child_process";
import { createWriteStream } from "node:fs";
import { copyFile, mkdir, mkdtemp, readdir, rm, rmdir, symlink } from "node:fs/promises";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isFault } from "#api/fault.ts";
import { exec, stopChild } from "#lib/exec.ts";
import { readText } from "#lib/files.ts";
import { until } from "#lib/time.ts";
import { dockerEngine } from "../../hostd/engine/docker.ts";
import { engineContract } from "../contract/engine.ts";

const IMAGE = "contract.test/busybox:1";
const directory = await mkdtemp(join(tmpdir(), "flynn-engine-"));
const netns = `fle${process.pid}`;
const socketPath = join(directory, "docker.sock");
let dockerd: ChildProcess | undefined;

test.before(async () => {
  await exec(["ip", "netns", "add", netns]);
  await exec(["ip", "-n", netns, "link", "set", "lo", "up"]);
  const argv = [
    "--data-root",
    join(directory, "data"),
    "--exec-root",
    join(directory, "exec"),
    "-p",
    join(directory, "docker.pid"),
    "-H",
    `unix://${socketPath}`,
    "--bridge=none",
    "--exec-opt",
    "native.cgroupdriver=cgroupfs",
    "--cgroup-parent",
    `/${netns}`,
  ];
  dockerd = spawn("nsenter", [`--net=/run/netns/${netns}`, "--", "dockerd", ...argv], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  const log = createWriteStream(join(directory, "dockerd.log"));
  dockerd.stdout?.pipe(log);
  dockerd.stderr?.pipe(log);
  const engine = dockerEngine({ socketPath });
  await until(() => engine.probe(), { what: "dockerd's start", timeoutMs: 60_000 });
  await importBusybox();
});

test.after(async () => {
  if (dockerd) await stopChild(dockerd, 30_000);
  await exec(["ip", "netns", "del", netns]).catch(() => undefined);
  await rm(directory, { recursive: true, force: true });
  // dockerd leaves its parent group behind, empty: one per controller in cgroup v1, one in all in v2.
  const controllers = await readdir("/sys/fs/cgroup");
  for (const parent of ["", ...controllers]) await rmdir(join("/sys/fs/cgroup", parent, netns)).catch(() => undefined);
});

async function importBusybox(): Promise<void> {
  const root = join(directory, "image", "bin");
  await mkdir(root, { recursive: true });
  await copyFile("/bin/busybox", join(root, "busybox"));
  await symlink("busybox", join(root, "sh"));
  const tar = spawn("tar", ["-C", join(directory, "image"), "-c", "."], { stdio: ["ignore", "pipe", "inherit"] });
  const query = new URLSearchParams({ fromSrc: "-", repo: IMAGE.split(":")[0]!, tag: "1" });
  const headers = { "content-type": "application/tar" };
  const reply = await new Promise<string>((resolve, reject) => {
    const req = request(
      { socketPath, method: "POST", path: `/v1.41/images/create?${query}`, headers },
      (res) => void text(res).then(resolve, reject),
    );
    req.on("error", reject);
    tar.stdout.pipe(req);
  });
  assert.match(reply, /sha256:/);
}

engineContract("docker", async () => ({
  engine: dockerEngine({ socketPath }),
  image: IMAGE,
  script(spec, { lines = [], exitCode, ignoreTerm }) {
    const trap = ignoreTerm ? "trap '' TERM" : "trap 'exit 143' TERM";
    const say = lines.map((line) => `echo "${line}"`).join("; ") || "true";
    const last = exitCode === undefined ? "while :; do busybox sleep 0.1; done" : `exit ${exitCode}`;
    return { ...spec, command: ["sh", "-c", `${trap}; ${say}; ${last}`] };
  },
  act: () => undefined,
}));

test("docker: a process over its memory limit ends as out of memory", async () => {
  const engine = dockerEngine({ socketPath });
  await engine.create({
    name: "flynn-oom",
    image: IMAGE,
    labels: { "flynn.job": "oom", "flynn.app": "oom" },
    env: {},
    command: ["sh", "-c", "x=a; while :; do x=$x$x; done"],
    hostname: "oom",
    network: "flynn",
    dns: [],
    memoryBytes: 16 << 20,
    cpuMillis: 100,
    pids: 32,
  });
  await engine.start("flynn-oom");
  const found = await until(
    async () =>
      (await engine.list()).find(({ labels, status }) => labels["flynn.job"] === "oom" && status === "exited"),
    {
      what: "death by memory",
      timeoutMs: 60_000,
    },
  );
  assert.is(found.oomKilled, true);
  await engine.remove("flynn-oom");
});

test("docker: a program that is not in the image ends with init's word on it", async () => {
  const engine = dockerEngine({ socketPath });
  await engine.create({
    name: "flynn-nope",
    image: IMAGE,
    labels: { "flynn.job": "nope", "flynn.app": "nope" },
    env: {},
    command: ["/no/such/program"],
    hostname: "nope",
    network: "flynn",
    dns: [],
    memoryBytes: 16 << 20,
    cpuMillis: 100,
    pids: 32,
  });
  await engine.start("flynn-nope");
  const said: string[] = [];
  for await (const { line } of engine.log("flynn-nope", { signal: AbortSignal.timeout(20_000) })) said.push(line);
  await engine.remove("flynn-nope");
  assert.match(
    said.at(-1) ?? "",
    /^\[FATAL tini \(\d+\)\] exec \/no\/such\/program failed: No such file or directory$/,
  );
});

test("docker: an image that cannot be had is a fault that says why, within its deadline", async () => {
  const engine = dockerEngine({ socketPath });
  const error = await engine.pull("127.0.0.1:1/none@sha256:" + "0".repeat(64), AbortSignal.timeout(20_000)).then(
    () => undefined,
    (caught: unknown) => caught,
  );
  assert.ok(isFault(error, "unavailable"));
  assert.match((error as Error).message, /connection refused/);
});

test("docker: a daemon that does not answer is a timeout, not a wait", async () => {
  const engine = dockerEngine({ socketPath, callTimeoutMs: 300 });
  const { pid } = dockerd!;
  process.kill(pid!, "SIGSTOP");
  try {
    // The kernel stops each thread when it next looks.
    const states = async () => Promise.all((await readdir(`/proc/${pid}/task`)).map(stateOf));
    const stateOf = async (thread: string) =>
      /^State:\s+(\w)/m.exec((await readText(`/proc/${pid}/task/${thread}/status`)) ?? "")?.[1];
    await until(async () => (await states()).every((state) => state === "T"), {
      what: "a stopped daemon",
      timeoutMs: 5_000,
      everyMs: 5,
    });
    const error = await engine.list().then(
      () => undefined,
      (caught: unknown) => caught,
    );
    assert.ok(isFault(error, "timeout"), String(error));
  } finally {
    process.kill(pid!, "SIGCONT");
  }
});

test.run();
