// The engine contract on a real dockerd, started here in a network namespace of its own; needs root.
import { type ChildProcess, spawn } from "node:child_process";
import { createWriteStream } from "node:fs";
import { copyFile, mkdir, mkdtemp, readdir, rm, rmdir, symlink, writeFile } from "node:fs/promises";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isFault } from "#api/fault.ts";
import { exec, stopChild } from "#lib/exec.ts";
import { readText } from "#lib/files.ts";
import { silentLog } from "#lib/log.ts";
import { until } from "#lib/time.ts";
import { keepAddresses } from "../../hostd/addresses.ts";
import { createAgent } from "../../hostd/agent.ts";
import { createApply } from "../../hostd/apply.ts";
import { dockerEngine } from "../../hostd/engine/docker.ts";
import { diskSpace } from "../../hostd/job-disk/use.ts";
import { watchDisk } from "../../hostd/job-disk/watch.ts";
import { logStore } from "../../hostd/logs/store.ts";
import { unkeptReach } from "../../hostd/reach/reach.ts";
import { engineContract } from "../contract/engine.ts";
import { job, target } from "../hostd/jobs.ts";
import { unmountUnder } from "./leftovers.ts";

const IMAGE = "contract.test/busybox:1";
/** The same, with a volume of its own. */
const VOLUME_IMAGE = "contract.test/volume:1";
/** The same, with a command of its own in shell form. */
const SHELL_IMAGE = "contract.test/shell:1";
/** Says each SIGTERM, and takes its time to end. */
const SLOW_APP = `trap 'echo term; busybox sleep 0.5; echo ended; exit 0' TERM
echo begun
while :; do busybox sleep 0.1; done
`;
const directory = await mkdtemp(join(tmpdir(), "flynn-engine-"));
const netns = `fle${process.pid}`;
const socketPath = join(directory, "docker.sock");
let dockerd: ChildProcess | undefined;

test.before(async () => {
  await exec(["ip", "netns", "add", netns]);
  await exec(["ip", "-n", netns, "link", "set", "lo", "up"]);
  await startDocker();
  await importBusybox(IMAGE);
  await importBusybox(VOLUME_IMAGE, "VOLUME /data", "LABEL flynn.job=victim flynn.app=victim flynn.attach=1");
  await importBusybox(SHELL_IMAGE, "CMD sh /app | busybox cat");
});

async function startDocker(): Promise<void> {
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
    "--live-restore",
    "--exec-opt",
    "native.cgroupdriver=cgroupfs",
    "--cgroup-parent",
    `/${netns}`,
  ];
  dockerd = spawn("nsenter", [`--net=/run/netns/${netns}`, "--", "dockerd", ...argv], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  const log = createWriteStream(join(directory, "dockerd.log"), { flags: "a" });
  dockerd.stdout?.pipe(log);
  dockerd.stderr?.pipe(log);
  const engine = dockerEngine({ socketPath });
  await until(() => engine.probe(), { what: "dockerd's start", timeoutMs: 120_000 }).catch(async (cause: unknown) => {
    const said = (await readText(join(directory, "dockerd.log"))) ?? "";
    throw new Error(`dockerd does not start: ${said.slice(-2_000)}`, { cause });
  });
}

test.after(async () => {
  const engine = dockerEngine({ socketPath });
  // They would live on without it, as a host's do.
  for (const { name } of await engine.list().catch(() => [])) await engine.remove(name).catch(() => undefined);
  if (dockerd) await stopChild(dockerd, 30_000);
  await exec(["ip", "netns", "del", netns]).catch(() => undefined);
  await unmountUnder(directory);
  await rm(directory, { recursive: true, force: true, maxRetries: 5 });
  // dockerd leaves its parent group behind, empty: one per controller in cgroup v1, one in all in v2.
  const controllers = await readdir("/sys/fs/cgroup");
  for (const parent of ["", ...controllers]) await rmdir(join("/sys/fs/cgroup", parent, netns)).catch(() => undefined);
});

async function importBusybox(image: string, ...changes: string[]): Promise<void> {
  const root = join(directory, "image", "bin");
  await mkdir(root, { recursive: true });
  await copyFile("/bin/busybox", join(root, "busybox"));
  await writeFile(join(root, "../app"), SLOW_APP);
  await rm(join(root, "sh"), { force: true });
  await symlink("busybox", join(root, "sh"));
  const tar = spawn("tar", ["-C", join(directory, "image"), "-c", "."], { stdio: ["ignore", "pipe", "inherit"] });
  const query = new URLSearchParams({ fromSrc: "-", repo: image.split(":")[0]!, tag: "1" });
  for (const change of changes) query.append("changes", change);
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

test("docker: a job that fills its disk, in a volume or in a file it has deleted, ends in seconds, is to be started again, and others go on", async () => {
  const engine = dockerEngine({ socketPath });
  const stop = new AbortController();
  const { signal } = stop;
  const logs = logStore({ directory: join(directory, "logs"), onError: (error) => assert.unreachable(String(error)) });
  const fill = (name: string, image: string, command: string) =>
    job({
      id: name,
      app: name,
      appId: name,
      image,
      port: undefined,
      diskBytes: 32 << 20,
      command: ["sh", "-c", command],
    });
  const jobs = [
    fill(
      "volume",
      VOLUME_IMAGE,
      "busybox dd if=/dev/zero of=/data/full bs=1M count=100; while :; do busybox sleep 1; done",
    ),
    fill(
      "gone",
      IMAGE,
      "exec 3>/gone; busybox rm /gone; busybox dd if=/dev/zero bs=1M count=100 >&3; while :; do busybox sleep 1; done",
    ),
    fill("modest", IMAGE, "busybox dd if=/dev/zero of=/some bs=1M count=10; while :; do busybox sleep 1; done"),
  ];
  const addresses = keepAddresses();
  const disk = watchDisk({
    running: () => agent.running(),
    limitOf: (jobId) => agent.find(jobId).job?.diskBytes,
    space: () => diskSpace(directory),
    reserveBytes: () => 0,
    say: () => undefined,
    onExcess: () => agent.wake(),
    log: silentLog(),
  });
  const agent = createAgent({
    engine,
    monitor: { healthy: () => true },
    apply: createApply({ engine, dns: () => [], addresses, reach: unkeptReach }),
    addresses,
    reach: unkeptReach,
    logs,
    target: target(jobs),
    records: new Map(),
    excess: disk.excess,
    onChange: () => undefined,
    save: async () => undefined,
    log: silentLog(),
    signal,
  });
  const running = Promise.all([agent.run(), disk.run(signal)]);
  const reportOf = (id: string) => agent.jobs().find((report) => report.id === id);
  try {
    for (const id of ["volume", "gone"]) {
      const ended = await until(() => (reportOf(id)?.state === "crashed" ? reportOf(id) : undefined), {
        what: `the end of ${id}`,
        timeoutMs: 30_000,
      });
      assert.match(
        ended.reason,
        /^used \S+ MiB of disk; its limit is 32 MiB. Raise it: flynn limit set web disk=68MB$/,
      );
      assert.ok(ended.nextStartAt !== undefined, "it is started again, later after each time");
    }
    const claimed = (await engine.list()).map(({ labels }) => `${labels["flynn.job"]} ${labels["flynn.app"]}`);
    assert.not.ok(claimed.includes("victim victim"), "an image's labels make no job");
    await until(() => disk.of("modest"), { what: "the modest one's count", timeoutMs: 10_000 });
    assert.is(reportOf("modest")?.state, "up");
    agent.setTarget(target([]));
    await until(async () => (await engine.list()).length === 0, { what: "all to go", timeoutMs: 60_000 });
    assert.equal(
      await readdir(join(directory, "data/volumes")).then((names) => names.filter((name) => name.length === 64)),
      [],
    );
  } finally {
    stop.abort();
    await running;
    await logs.close();
  }
});

const SHAPES: [name: string, image: string, command?: string[], entrypoint?: string[]][] = [
  ["program", IMAGE, ["sh", "/app"]],
  ["pipe", IMAGE, ["sh", "-c", "sh /app | busybox cat"]],
  ["if", IMAGE, ["sh", "-c", "if true; then sh /app; fi; true"]],
  ["background", IMAGE, ["sh", "-c", "sh /app & wait"]],
  ["loop", IMAGE, ["sh", "-c", "while :; do sh /app; done"]],
  ["own-command", SHELL_IMAGE],
  ["entrypoint", IMAGE, ["sh /app; true"], ["/bin/sh", "-c"]],
];

test("docker: SIGTERM reaches the app once, whatever shell started it, and it ends in its own time with its last words kept", async () => {
  const engine = dockerEngine({ socketPath });
  const stop = new AbortController();
  const { signal } = stop;
  const logs = logStore({ directory: join(directory, "stops"), onError: (error) => assert.unreachable(String(error)) });
  const jobs = SHAPES.map(([id, image, command, entrypoint]) =>
    job({ id, app: id, appId: id, image, port: undefined, stopTimeoutMs: 20_000, command, entrypoint }),
  );
  const addresses = keepAddresses();
  const agent = createAgent({
    engine,
    monitor: { healthy: () => true },
    apply: createApply({ engine, dns: () => [], addresses, reach: unkeptReach }),
    addresses,
    reach: unkeptReach,
    logs,
    target: target(jobs),
    records: new Map(),
    onChange: () => undefined,
    save: async () => undefined,
    log: silentLog(),
    signal,
  });
  const running = agent.run();
  const linesOf = async (id: string) =>
    (await (await logs.open(id)).read(({ source }) => source === "app", 100)).map(({ line }) => line);
  try {
    for (const { id } of jobs)
      await until(async () => (await linesOf(id)).includes("begun"), { what: `start of ${id}`, timeoutMs: 60_000 });
    agent.setTarget(target([]));
    // SIGKILL would come after 30 s.
    await until(async () => (await engine.list()).length === 0, { what: "all to go", timeoutMs: 25_000 });
    for (const { id } of jobs) {
      // A loop may have begun the app once more, and its shell says what became of its `sleep`.
      const own = (await linesOf(id)).filter((line) => line !== "Terminated");
      assert.equal(own.slice(0, 3), ["begun", "term", "ended"], id);
    }
  } finally {
    stop.abort();
    await running;
    await logs.close();
  }
});

test("docker: a log that turns over many files is read while it grows, each line once, in order, with its characters whole", async () => {
  const engine = dockerEngine({ socketPath });
  const lines = 160_000;
  // Beside them one line of several entries, with a character across each cut.
  const long = `busybox awk 'BEGIN { for (n = 0; n < 16383; n++) printf "a"; for (n = 0; n < 20000; n++) printf "\\303\\251"; print "" }'`;
  const count = `busybox awk 'BEGIN { for (n = 0; n < ${lines}; n++) { print "line " n " ${"x".repeat(120)}"; if (n % 400 == 0) system("busybox usleep 60000") } }'`;
  await engine.create({
    name: "flynn-turns",
    image: IMAGE,
    labels: { "flynn.job": "turns", "flynn.app": "turns" },
    env: {},
    command: ["sh", "-c", `${long}; ${count}`],
    hostname: "turns",
    network: "flynn",
    dns: [],
    memoryBytes: 64 << 20,
    cpuMillis: 1_000,
    pids: 32,
  });
  await engine.start("flynn-turns");
  let first = "";
  let expected = 0;
  const wrong: string[] = [];
  for await (const { line, stream } of engine.log("flynn-turns", { signal: AbortSignal.timeout(240_000) })) {
    assert.is(stream, "stdout");
    const number = /^line (\d+) x+$/.exec(line)?.[1];
    if (number === undefined) first += line;
    else if (Number(number) !== expected++ && wrong.length < 10) wrong.push(`${number} as ${expected - 1}`);
  }
  await engine.remove("flynn-turns");
  assert.is(first, `${"a".repeat(16_383)}${"é".repeat(20_000)}`);
  assert.equal(wrong, []);
  assert.is(expected, lines);
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
      timeoutMs: 30_000,
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
