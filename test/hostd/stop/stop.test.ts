// Real shells and real signals: a job's processes are those below the one that a test starts, and like a container they end with it.
import { type ChildProcess, spawn } from "node:child_process";
import { appendFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { exec } from "#lib/exec.ts";
import { silentLog } from "#lib/log.ts";
import { until } from "#lib/time.ts";
import { isProcessOf, pidsOf, readProcesses, unread } from "../../../hostd/stop/processes.ts";
import { jobStops, type StopTarget } from "../../../hostd/stop/stop.ts";

const directory = await mkdtemp(join(tmpdir(), "flynn-stop-"));
test.after(() => rm(directory, { recursive: true, force: true }));
const APP = `
const { appendFileSync } = require("node:fs");
const tell = (text) => appendFileSync(process.env.TOLD, text + "\\n");
process.on("SIGTERM", () => {
  tell("term");
  setTimeout(() => { console.log("last words"); tell("ended"); process.exit(0); }, 300);
});
setInterval(() => undefined, 1_000);
tell("ready");
`;
await writeFile(join(directory, "app.js"), APP);
await writeFile(join(directory, "package.json"), JSON.stringify({ scripts: { start: `${process.execPath} app.js` } }));

const KILLED = { log: silentLog(), read: async (pids: readonly number[]) => pids.map(unread) };

async function childrenOf(root: number): Promise<number[]> {
  const names = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
  const parents = await Promise.all(
    names.map(async (name) => {
      const stat = await readFile(`/proc/${name}/stat`, "utf8").catch(() => "");
      const [state, parent] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      return { pid: Number(name), parent: state === "Z" ? 0 : Number(parent) };
    }),
  );
  const found = new Set([root]);
  for (let before = 0; before < found.size; ) {
    before = found.size;
    for (const { pid, parent } of parents) if (found.has(parent)) found.add(pid);
  }
  return [...found];
}

async function begun(command: string[]) {
  const file = join(directory, `told-${Math.random().toString(36).slice(2)}`);
  await appendFile(file, "");
  const child: ChildProcess = spawn(command[0]!, command.slice(1), {
    cwd: directory,
    env: { ...process.env, TOLD: file },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const exited = new Promise<number | null>((resolve) => child.once("close", (code) => resolve(code)));
  let output = "";
  child.stdout!.on("data", (chunk: Buffer) => {
    output += chunk.toString();
  });
  const told = async () => (await readFile(file, "utf8")).trim().split("\n");
  await until(async () => (await told()).includes("ready"), {
    what: "the app's start",
    timeoutMs: 20_000,
    everyMs: 20,
  });
  return { child, exited, told, output: () => output };
}

const node = `${process.execPath} app.js`;
const SHAPES: [shape: string, command: string[]][] = [
  ["a program", [process.execPath, "app.js"]],
  ["npm start", ["bash", "-c", "npm start"]],
  ["a pipe", ["bash", "-c", `${node} | cat`]],
  ["two filters", ["sh", "-c", `${node} | grep -v x | cat`]],
  ["if ...; fi", ["bash", "-c", `if true; then ${node}; fi`]],
  ["x & wait", ["bash", "-c", `${node} & wait`]],
  ["a list", ["sh", "-c", `true && ${node}; true`]],
  ["a loop", ["sh", "-c", `while :; do ${node}; done`]],
  ["npm in a pipe", ["bash", "-c", "npm start | cat"]],
  ["a shell in a shell", ["sh", "-c", `bash -c '${node} | cat; true' | cat`]],
];
for (const [shape, command] of SHAPES)
  test(`SIGTERM reaches the app once and it ends in its own time: ${shape}`, async () => {
    const stop = new AbortController();
    const { child, exited, told, output } = await begun(command);
    const container: StopTarget = { id: "c1", name: "flynn-j1", pid: child.pid! };
    const alive = () => child.exitCode === null && child.signalCode === null;
    const stops = jobStops({
      log: silentLog(),
      signal: stop.signal,
      everyMs: 20,
      isOf: () => true,
      pids: async () => (alive() ? childrenOf(child.pid!) : []),
    });
    try {
      assert.is(await stops.begin(container), true);
      await exited;
      const lines = await told();
      assert.equal(lines.slice(0, 3), ["ready", "term", "ended"]);
      assert.match(output(), /last words/);
    } finally {
      stop.abort();
      for (const pid of alive() ? await childrenOf(child.pid!) : []) process.kill(pid, "SIGKILL");
    }
  });

test("a container's processes are its cgroup's, v1 and v2, and never another's", async () => {
  const places = { proc: join(directory, "proc"), cgroups: join(directory, "cgroup") };
  const put = async (path: string, text: string) => {
    await mkdir(join(directory, path, ".."), { recursive: true });
    await writeFile(join(directory, path), text);
  };
  await put("proc/10/cgroup", "4:memory:/docker/abc\n0::/\n");
  await put("cgroup/memory/docker/abc/cgroup.procs", "10\n12\n");
  await put("proc/11/cgroup", "0::/docker/def\n");
  await put("cgroup/docker/def/cgroup.procs", "11\n");
  assert.equal(await pidsOf({ id: "abc", pid: 10 }, places), [10, 12]);
  assert.equal(await pidsOf({ id: "def", pid: 11 }, places), [11]);
  assert.is(await pidsOf({ id: "abc", pid: 11 }, places), undefined, "its number is another's now");
  assert.is(await pidsOf({ id: "abc", pid: 13 }, places), undefined);
  assert.is(await pidsOf({ id: "abc" }, places), undefined);
});

test("of a container that its engine does not answer for, the processes are found by its name", async () => {
  const id = "a1".repeat(32);
  const places = { proc: join(directory, "unanswered"), cgroups: join(directory, "cgroup") };
  for (const [pid, cgroup] of [
    ["41", `0::/docker/${id}`],
    ["42", "0::/system.slice/docker.service"],
    ["43", `4:memory:/docker/${id}\n0::/docker/${id}/inner`],
    ["self", `0::/docker/${id}`],
  ] as const) {
    await mkdir(join(places.proc, pid), { recursive: true });
    await writeFile(join(places.proc, pid, "cgroup"), `${cgroup}\n`);
  }
  assert.equal(await pidsOf({ id }, places), [41, 43]);
  await writeFile(join(places.proc, "43", "status"), "Name:\tsh\nState:\tZ (zombie)\n");
  assert.equal(await pidsOf({ id }, places), [41], "what has ended and was not asked for is none");
  assert.equal(await pidsOf({ id: "b2".repeat(32) }, places), [], "none is left, and that is known");
});

test("a container that has no process left though its engine says that it runs is known as that", async () => {
  let left = [51];
  const stop = new AbortController();
  const stops = jobStops({
    ...KILLED,
    signal: stop.signal,
    everyMs: 5,
    pids: async () => left,
    isOf: () => true,
    kill: () => undefined,
  });
  const container = { id: "c1", name: "flynn-j1", pid: 51 };
  assert.is(stops.emptyForMs(container), undefined);
  assert.is(await stops.begin(container), true);
  assert.is(stops.emptyForMs(container), undefined);
  left = [];
  await until(() => stops.emptyForMs(container) !== undefined, {
    what: "its emptiness seen",
    timeoutMs: 20_000,
    everyMs: 5,
  });
  stops.sync([], () => false);
  assert.is(stops.emptyForMs(container), undefined, "the engine has noticed");
  assert.is(await stops.begin(container), true, "nobody is left to be told, and the engine is not asked");
  stop.abort();
});

test("an engine is not asked to kill a container whose processes have just ended, but is where none could ever be seen", async () => {
  let left: number[] | undefined = [51];
  const stop = new AbortController();
  const stops = jobStops({
    ...KILLED,
    signal: stop.signal,
    everyMs: 60_000,
    pids: async () => left,
    isOf: () => true,
    kill: () => undefined,
  });
  const container = { id: "c1", name: "flynn-j1", pid: 51 };
  assert.is(await stops.begin(container), true);
  left = undefined; // its first process is gone
  assert.is(await stops.kill(container), true);
  assert.is.not(stops.emptyForMs(container), undefined, "and that is known from then on");
  const remote = { id: "c2", name: "flynn-j2" };
  stops.sync([container, remote], () => true);
  assert.is(await stops.kill(remote), false);
  stop.abort();
});

test("SIGTERM that is no stop reaches the app behind its shell, once, and nobody afterwards", async () => {
  const { child, exited, told } = await begun(["bash", "-c", `${node} & wait`]);
  const stop = new AbortController();
  const stops = jobStops({
    log: silentLog(),
    signal: stop.signal,
    isOf: () => true,
    pids: () => childrenOf(child.pid!),
  });
  const container = { id: "c1", name: "flynn-j1", pid: child.pid! };
  assert.is(await stops.tell(container), true);
  await exited;
  assert.equal((await told()).slice(0, 3), ["ready", "term", "ended"]);
  assert.is(stops.emptyForMs(container), undefined, "it is on no way out");
  stop.abort();
});

test("where the processes cannot be known or signalled, it says so and signals nobody", async () => {
  const common = { log: silentLog(), signal: AbortSignal.timeout(5_000) };
  const unknown = jobStops({ ...common, pids: async () => undefined });
  assert.is(await unknown.begin({ id: "c1", name: "flynn-j1" }), false);
  const refused = jobStops({
    ...common,
    pids: async () => [7],
    isOf: () => true,
    read: async () => [{ pid: 7, parent: 1, name: "x", argv: ["x"], takesTime: true, outputs: [] }],
    kill() {
      throw Object.assign(new Error("kill EPERM"), { code: "EPERM" });
    },
  });
  assert.is(await refused.begin({ id: "c1", name: "flynn-j1", pid: 7 }), false);
});

test("a process that cannot be read holds up nobody: it is told with the others, in time", async () => {
  const proc = join(directory, "slow-proc");
  for (const pid of [21, 22]) await mkdir(join(proc, String(pid), "fd"), { recursive: true });
  await writeFile(join(proc, "21/status"), "Name:\tsh\nState:\tS (sleeping)\nPPid:\t1\nSigCgt:\t0000000000000000\n");
  await writeFile(join(proc, "21/cmdline"), "sh\0");
  const hangs = join(proc, "22/status");
  await exec(["mkfifo", hangs]);
  try {
    const found = await readProcesses([21, 22], 200, { proc, cgroups: "" });
    assert.equal(
      found.map(({ pid, name, takesTime }) => [pid, name, takesTime]),
      [
        [21, "sh", false],
        [22, "", true],
      ],
    );
  } finally {
    await writeFile(hangs, ""); // lets the reader go
  }
});

test("a number that is another container's process by now is not signalled", async () => {
  const killed: number[] = [];
  const stops = jobStops({
    ...KILLED,
    signal: AbortSignal.timeout(5_000),
    pids: async () => [31, 32],
    isOf: (_, pid) => pid === 31,
    kill: (pid) => void killed.push(pid),
  });
  assert.is(await stops.begin({ id: "c1", name: "flynn-j1", pid: 31 }), true);
  assert.is(await stops.kill({ id: "c1", name: "flynn-j1", pid: 31 }), true);
  assert.equal(killed, [31, 31]);
  assert.is(isProcessOf({ id: "no-such-container" }, process.pid), false);
});

test("of a crowd each is told once, but the init", async () => {
  const crowd = Array.from({ length: 3_000 }, (_, n) => n + 40);
  const killed: number[] = [];
  const stop = new AbortController();
  const stops = jobStops({
    ...KILLED,
    signal: stop.signal,
    read: async (pids) => pids.map((pid) => ({ ...unread(pid), name: "docker-init", takesTime: false })),
    pids: async () => crowd,
    isOf: () => true,
    kill: (pid) => void killed.push(pid),
  });
  await stops.begin({ id: "c1", name: "flynn-j1", pid: 40 });
  stop.abort();
  assert.equal(killed, crowd.slice(1));
});

test("a look that fails once does not end the seeing-through", async () => {
  const killed: number[] = [];
  const stop = new AbortController();
  let looks = 0;
  const stops = jobStops({
    log: silentLog(),
    signal: stop.signal,
    everyMs: 5,
    isOf: () => true,
    kill: (pid) => void killed.push(pid),
    async pids() {
      looks++;
      if (looks === 4) throw new Error("not now");
      return looks > 5 ? [51] : [51, 52];
    },
    read: async (pids) =>
      pids.map((pid) => ({ ...unread(pid), parent: pid === 52 ? 51 : 1, name: "x", takesTime: pid === 52 })),
  });
  try {
    await stops.begin({ id: "c1", name: "flynn-j1", pid: 51 });
    await until(() => killed.includes(51), { what: "the shell's turn", timeoutMs: 10_000, everyMs: 5 });
    assert.equal(killed, [52, 51]);
  } finally {
    stop.abort();
  }
});

test.run();
