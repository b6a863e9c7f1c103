// time limit: 120 s
// The router as a program, with control away: what it serves comes from its own copy of the last target.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { RouterTarget } from "#api/router-agents.ts";
import { exec } from "#lib/exec.ts";
import { readText } from "#lib/files.ts";
import { processId, signalProcess } from "#lib/process-id.ts";
import { until } from "#lib/time.ts";
import { newCsr, newKeyPem } from "#lib/x509.ts";
import { backupState, restoreState } from "../../control/store/restore.ts";
import { withControl } from "../api/control-process.ts";
import { freePort } from "../lib/free-port.ts";
import { onSmallDisk } from "../lib/small-disk.ts";
import { get, origin, startLoad, target } from "./rig.ts";

const MAIN = new URL("../../router/main.ts", import.meta.url).pathname;

interface Program {
  child: ChildProcess;
  stderr: () => string;
  ended: Promise<unknown>;
}

async function prepare(served: RouterTarget, more: Record<string, unknown> = {}, place = tmpdir()) {
  const directory = await mkdtemp(join(place, "router-main-"));
  const port = await freePort();
  const config = {
    controlUrls: [`https://127.0.0.1:${await freePort()}`],
    caPem: await newCsr(newKeyPem(), "nobody"),
    joinToken: "none",
    stateDir: directory,
    bind: "127.0.0.1",
    httpPort: port,
    httpsPort: 0,
    manageRoutes: false,
    backends: 4,
    slots: 4,
    ...more,
  };
  const file = join(directory, "config.json");
  await writeFile(file, JSON.stringify(config));
  await writeFile(join(directory, "target.json"), JSON.stringify(served));
  const programs: Program[] = [];
  const start = (...argv: string[]): Program => {
    const child = spawn(process.execPath, [MAIN, "--config", file, ...argv], { stdio: ["ignore", "pipe", "pipe"] });
    let stderr = "";
    child.stderr!.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
    const program = { child, stderr: () => stderr, ended: once(child, "close") };
    programs.push(program);
    return program;
  };
  const record = async () =>
    JSON.parse(await readFile(join(directory, "haproxy", "haproxy.json"), "utf8")) as {
      master: { pid: number; startTicks: number };
      workers: { pid: number; startTicks: number }[];
    };
  const end = async () => {
    for (const { child, ended } of programs) {
      if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
      await ended;
    }
    const left = await record().catch(() => undefined);
    for (const each of left ? [left.master, ...left.workers] : []) await signalProcess(each, "SIGKILL");
    await rm(directory, { recursive: true, force: true });
  };
  const configure = (settings: object) => writeFile(file, JSON.stringify({ ...config, ...settings }));
  return { directory, port, start, configure, record, end };
}

const says = (program: Program, text: string) =>
  until(() => program.stderr().includes(text), {
    what: `"${text}"`,
    timeoutMs: 15_000,
    everyMs: 20,
  }).catch((cause: unknown) => {
    throw new Error(`it said ${program.stderr()}`, { cause });
  });

test("kill -9 of the router: traffic goes on, and the next run adopts HAProxy without a reload; SIGTERM ends both", async () => {
  const a = await origin("a");
  const rig = await prepare(target(4, [{ app: "hello", routes: ["a.test"], jobs: [a] }]));
  try {
    const first = rig.start();
    await says(first, "router serves");
    const before = await rig.record();
    const load = startLoad(rig.port, "a.test", 4);
    await until(() => load.count() > 50, { what: "traffic", timeoutMs: 30_000, everyMs: 5 });
    first.child.kill("SIGKILL");
    await first.ended;
    const from = load.count();
    await until(() => load.count() > from + 50, { what: "traffic without the router", timeoutMs: 30_000, everyMs: 5 });
    const second = rig.start();
    await says(second, "router serves");
    assert.match(second.stderr(), "haproxy adopted");
    assert.equal(await rig.record(), before, "the same master and the same worker");
    const reports = second
      .stderr()
      .split("\n")
      .find((line) => line.includes("router serves"))!;
    const { generation, reloads, healthy } = JSON.parse(reports) as Record<string, unknown>;
    assert.equal({ generation, reloads, healthy }, { generation: 4, reloads: 0, healthy: true });
    await load.stop();
    assert.equal(load.failures, []);
    second.child.kill("SIGTERM");
    await second.ended;
    assert.is(await processId(before.master.pid), undefined);
    assert.is(second.child.exitCode, 0);
  } finally {
    await rig.end();
    await a.close();
  }
});

test("HAProxy killed while the router was dead is started again by the next run, with the same routes", async () => {
  const a = await origin("a");
  const rig = await prepare(target(4, [{ app: "hello", routes: ["a.test"], jobs: [a] }]));
  try {
    const first = rig.start();
    await says(first, "router serves");
    const before = await rig.record();
    first.child.kill("SIGKILL");
    await first.ended;
    await signalProcess(before.master, "SIGKILL");
    const second = rig.start();
    await says(second, "router serves");
    assert.is((await get(rig.port, "a.test")).body, "a");
    assert.is.not((await rig.record()).master.pid, before.master.pid);
  } finally {
    await rig.end();
    await a.close();
  }
});

test("with keepHaproxy a stopped router leaves HAProxy serving", async () => {
  const a = await origin("a");
  const rig = await prepare(target(4, [{ app: "hello", routes: ["a.test"], jobs: [a] }]), { keepHaproxy: true });
  try {
    const first = rig.start();
    await says(first, "router serves");
    first.child.kill("SIGTERM");
    await first.ended;
    assert.is((await get(rig.port, "a.test")).body, "a");
  } finally {
    await rig.end();
    await a.close();
  }
});

const HELLO = { app: "hello", routes: ["a.test"] };

test("started on a full disk it adopts HAProxy, which serves without a break; what it served is what is wanted, and no room is needed", () =>
  onSmallDisk(async (disk) => {
    const a = await origin("a");
    const rig = await prepare(target(4, [{ ...HELLO, jobs: [a] }]), {}, disk.path);
    try {
      const first = rig.start();
      await says(first, "router serves");
      const before = await rig.record();
      const load = startLoad(rig.port, "a.test", 4);
      first.child.kill("SIGKILL");
      await first.ended;
      await disk.fill();
      const second = rig.start();
      await says(second, "router serves");
      const from = load.count();
      await until(() => load.count() > from + 50, { what: "traffic", timeoutMs: 30_000, everyMs: 5 });
      await load.stop();
      assert.equal(load.failures, []);
      assert.equal(healthOf(second), { healthy: true, reason: "" });
      assert.equal(await rig.record(), before, "the same master and the same worker");
    } finally {
      await rig.end();
      await a.close();
    }
  }));

test("HAProxy that ended too is started on a full disk with what it served last, and is found by the next run", () =>
  onSmallDisk(async (disk) => {
    const a = await origin("a");
    const rig = await prepare(target(4, [{ ...HELLO, jobs: [a] }]), {}, disk.path);
    try {
      const first = rig.start();
      await says(first, "router serves");
      const before = await rig.record();
      first.child.kill("SIGKILL");
      await first.ended;
      for (const each of [before.master, ...before.workers]) await signalProcess(each, "SIGKILL");
      await disk.fill();
      const second = rig.start();
      await says(second, "router serves");
      assert.is((await get(rig.port, "a.test")).body, "a");
      second.child.kill("SIGKILL");
      await second.ended;
      const third = rig.start();
      await says(third, "router serves");
      assert.match(third.stderr(), "haproxy adopted");
    } finally {
      await rig.end();
      await a.close();
    }
  }));

test("one that cannot serve before there is room on its disk says so once in words, and serves as soon as there is some", () =>
  onSmallDisk(async (disk) => {
    const a = await origin("a");
    const rig = await prepare(target(4, [{ ...HELLO, jobs: [a] }]), {}, disk.path);
    try {
      await disk.fill();
      const program = rig.start();
      await says(program, "the router's disk is full or read-only (look: df -h");
      assert.match(program.stderr(), "HAProxy starts once there is room");
      await disk.free();
      await says(program, "haproxy started");
      assert.is((await get(rig.port, "a.test")).body, "a");
      assert.is(program.child.exitCode, null, "it was the same run");
    } finally {
      await rig.end();
      await a.close();
    }
  }));

function healthOf(program: Program): unknown {
  const line = program
    .stderr()
    .split("\n")
    .find((text) => text.includes("router serves"));
  const { healthy, reason } = JSON.parse(line ?? "{}") as Record<string, unknown>;
  return { healthy, reason };
}

test("explain says which route, pool and slot would serve a request, and why none", async () => {
  const a = await origin("a");
  const rig = await prepare(target(4, [{ app: "hello", routes: ["a.test/api"], jobs: [a] }]));
  try {
    await says(rig.start(), "router serves");
    const argv = [process.execPath, MAIN, "--config", join(rig.directory, "config.json"), "explain"];
    const { stdout } = await exec([...argv, "a.test/api/x"]);
    assert.is(
      stdout,
      `request   a.test/api/x\nroute     a.test/api\npool      hello/web\nbackend   be_0001, 4 slots, 1 to serve\nslot      be_0001/s1 a 127.0.0.1:${a.port} up, HAProxy: ready up\n`,
    );
    const none = await exec([...argv, "a.test/other"]);
    assert.match(none.stdout, "none: no app has a route for a.test; it has routes for /api only -> 404");
  } finally {
    await rig.end();
    await a.close();
  }
});

test("a wrong configuration is an error before anything starts", async () => {
  const rig = await prepare(target(1, []), { httpPrt: 80, stateDir: "/tmp/bad dir" });
  try {
    const program = rig.start();
    await program.ended;
    assert.is(program.child.exitCode, 1);
    assert.match(program.stderr(), "httpPrt");
  } finally {
    await rig.end();
  }
});

test("one that control's older state does not know joins again with the token of its next start, in the same run", () =>
  withControl(async ({ root, url, caPem, token, restart }) => {
    const [directory, backup] = [join(root, "control", "store"), join(root, "backup")];
    await backupState(directory, backup);
    const a = await origin("a");
    const more = { controlUrls: [url], caPem, joinToken: await token("router"), keepHaproxy: true };
    const rig = await prepare(target(4, [{ ...HELLO, jobs: [a] }]), more);
    try {
      const identity = async () =>
        (JSON.parse((await readText(join(rig.directory, "identity.json"))) ?? "{}") as { id?: string }).id;
      const first = rig.start();
      const before = await until(identity, { what: "its join", timeoutMs: 30_000 });
      first.child.kill("SIGTERM");
      await first.ended;
      await restart(async () => void (await restoreState({ directory, from: backup, replace: true, now: new Date() })));
      await rig.configure({ joinToken: await token("router") });
      const second = rig.start();
      await says(second, "router serves");
      await says(second, "joined again");
      assert.is.not(await identity(), before);
      assert.is(second.child.exitCode, null, "it was the same run");
    } finally {
      await rig.end();
      await a.close();
    }
  }));

test.run();
