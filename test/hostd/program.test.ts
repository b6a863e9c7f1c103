// A whole hostd against a control over real TLS, with the fake engine: what it promises when control, engine or itself fail.
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Writable } from "node:stream";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { createClient, hostServerName } from "#api/client.ts";
import { hostLog } from "#api/logs.ts";
import { createLog, silentLog } from "#lib/log.ts";
import { until } from "#lib/time.ts";
import { type HostdConfig, loadHostdConfig } from "../../hostd/config.ts";
import { type FakeEngine, fakeEngine } from "../../hostd/engine/fake.ts";
import { explain } from "../../hostd/explain.ts";
import { type ProgramParts, runHostd } from "../../hostd/program.ts";
import { freePort } from "../lib/free-port.ts";
import { type FakeControl, fakeControl } from "./fake-control.ts";
import { IMAGE, job } from "./jobs.ts";

interface Rig {
  control: FakeControl;
  engine: FakeEngine;
  config: HostdConfig;
  directory: string;
  said: string[];
  start(): Promise<{ port: number; stop(): Promise<void> }>;
  report: () => FakeControl["reports"][number] | undefined;
  job: (id: string) => FakeControl["reports"][number]["jobs"][number] | undefined;
}

const rigs: (() => Promise<void>)[] = [];
test.after.each(async () => {
  for (const end of rigs.splice(0).reverse()) await end();
});

async function rig(engine = fakeEngine(), wayTo?: ProgramParts["wayTo"]): Promise<Rig> {
  const directory = await mkdtemp(join(tmpdir(), "flynn-hostd-"));
  const control = await fakeControl();
  const said: string[] = [];
  const destination = new Writable({
    write(chunk, _, done) {
      said.push(String(chunk));
      done();
    },
  });
  const configFlags = {
    controlUrls: [control.url],
    caPem: control.ca.caPem,
    joinToken: control.token,
    name: "box-1",
    stateDir: join(directory, "state"),
    runDir: join(directory, "run"),
    dockerCertsDir: join(directory, "certs.d"),
    ...(wayTo === undefined ? { address: "127.0.0.1" } : {}),
    manageNetwork: false,
    port: 0,
  };
  const file = join(directory, "hostd.json");
  await writeFile(file, JSON.stringify(configFlags));
  const config = loadHostdConfig({ file, env: {} });
  rigs.push(async () => {
    await control.stop();
    await rm(directory, { recursive: true, force: true });
  });
  const report = () => control.reports.at(-1);
  return {
    control,
    engine,
    config,
    directory,
    said,
    report,
    job: (id) => report()?.jobs.find((found) => found.id === id),
    async start() {
      const controller = new AbortController();
      const { promise: listening, resolve } = Promise.withResolvers<number>();
      const log = createLog("hostd", { destination });
      const ended = runHostd(config, controller.signal, { engine, log, wayTo, onListen: resolve });
      const stop = async () => {
        controller.abort();
        await ended;
      };
      rigs.push(stop);
      const port = await Promise.race([listening, ended.then(() => Promise.reject(new Error("hostd ended")))]);
      return { port, stop };
    },
  };
}
const happens = <T>(what: string, probe: () => T | Promise<T>) =>
  until(probe, { what, timeoutMs: 20_000, everyMs: 10 });
const isUp = ({ job: find }: Rig, id = "j1") => happens(`${id} up`, () => find(id)?.state === "up");

test("a fresh host joins once, runs its job, and reports it up with an address", async () => {
  const r = await rig();
  await r.start();
  r.control.push({ jobs: [job()] });
  await isUp(r);
  assert.is(r.control.joins, 1);
  assert.match(r.job("j1")?.address ?? "", /^100\.64\.7\./);
  const { facts, engine, term, seq } = r.report()!;
  assert.equal(engine, { healthy: true, version: "fake", reason: "" });
  assert.equal([term, seq], [1, 1]);
  assert.is(facts.address, "127.0.0.1");
  assert.ok(facts.capacity.cpuMillis >= 1000 && facts.capacity.memoryBytes > 0 && facts.capacity.diskBytes > 0);
  const made = r.engine.containers.get("flynn-j1")!.spec;
  assert.equal(made.env, {
    COLOUR: "blue",
    PORT: "8080",
    HOST_ID: "host-1",
    FLYNN_APP: "hello",
    FLYNN_RELEASE: "rel-1",
    FLYNN_JOB: "j1",
    FLYNN_PROCESS: "web",
  });
  assert.equal(r.engine.network, { name: "flynn", bridge: "flynn0", subnet: "100.64.7.0/24", gateway: "100.64.7.1" });
  const stages = r.control.reports.flatMap(({ events = [] }) => events.map(({ stage }) => stage));
  assert.equal(stages.sort(), ["docker", "ready"], "each boot step is told once");
});

test("Docker is given the registry's trust before the first pull, with the key for nobody else", async () => {
  const r = await rig();
  await r.start();
  r.control.push({ jobs: [job()] });
  await happens("pull", () => r.engine.calls.includes(`pull ${IMAGE}`));
  const certs = join(r.directory, "certs.d", "127.0.0.1:5000");
  assert.is(await readFile(join(certs, "ca.crt"), "utf8"), r.control.ca.caPem);
  assert.match(await readFile(join(certs, "client.cert"), "utf8"), /BEGIN CERTIFICATE/);
  assert.is((await stat(join(certs, "client.key"))).mode & 0o777, 0o600);
});

test("when control moves to an address that it named before, the host follows it there, and finds it after a restart too", async () => {
  const r = await rig();
  const first = await r.start();
  const newPort = await freePort();
  const controlUrls = [`https://127.0.0.1:${newPort}`];
  r.control.push({ jobs: [job()], controlUrls });
  await isUp(r);
  await r.control.stop();
  r.control.port = newPort;
  await r.control.start();
  const reportsHere = (what: string) => {
    const before = r.control.reports.length;
    return happens(what, () => r.control.reports.length > before);
  };
  await reportsHere("a report at the new address");
  r.control.push({ jobs: [job(), job({ id: "j2", app: "other" })], controlUrls });
  await isUp(r, "j2");
  await first.stop();
  await r.start();
  await reportsHere("a report at the new address after a restart");
});

test("a hostd that is started again adopts what runs, restarts nothing, and joins no second time", async () => {
  const r = await rig();
  const first = await r.start();
  r.control.push({ jobs: [job(), job({ id: "j2", app: "other" })] });
  await isUp(r);
  await isUp(r, "j2");
  await happens("a report after the one that told the boot steps", () => {
    const told = r.control.reports.findLastIndex(({ events }) => events !== undefined);
    return told >= 0 && r.control.reports.length > told + 1;
  });
  await first.stop();
  r.engine.calls.length = 0;
  r.control.reports.length = 0;
  await r.start();
  await isUp(r);
  await isUp(r, "j2");
  await happens("another look", () => r.engine.calls.filter((call) => call === "list").length > 2);
  assert.not.ok(
    r.control.reports.some(({ events }) => events !== undefined),
    "boot steps are told once per boot, not once per hostd",
  );
  assert.equal(
    r.engine.calls.filter((call) => /^(create|start|remove|signal|pull)/.test(call)),
    [],
  );
  assert.is(r.control.joins, 1);
  assert.ok(
    r.control.reports.every(({ jobs }) => jobs.every(({ state, restarts }) => state === "up" && restarts === 0)),
  );
});

test("a host that keeps secrets in RAM writes no variable to its state, and after a reboot its jobs wait for control", async () => {
  const r = await rig();
  Object.assign(r.config, { secrets: "ram" });
  await mkdir(r.config.stateDir, { recursive: true });
  await writeFile(join(r.config.stateDir, "target.json"), '{"jobs":[{"env":{"COLOUR":"tell-nobody"}}]}');
  const first = await r.start();
  r.control.push({ jobs: [job({ env: { COLOUR: "tell-nobody" } })] });
  await isUp(r);
  await first.stop();
  const files = (await readdir(r.config.stateDir, { recursive: true, withFileTypes: true })).filter((one) =>
    one.isFile(),
  );
  assert.ok(files.length > 2, "it has a state");
  for (const { parentPath, name } of files)
    assert.not.match(await readFile(join(parentPath, name), "utf8"), "tell-nobody", name);
  // As a reboot leaves it: no container, nothing in /run, control away.
  await rm(r.config.runDir, { recursive: true });
  r.engine.containers.clear();
  r.engine.calls.length = 0;
  await r.control.stop();
  const second = await r.start();
  await happens("a look", () => r.engine.calls.includes("list"));
  assert.not.ok(r.engine.calls.some((call) => call.startsWith("create")));
  await second.stop();
});

test("with control away a restarted hostd goes on from its kept target and stops nothing", async () => {
  const r = await rig();
  const first = await r.start();
  r.control.push({ jobs: [job()] });
  await isUp(r);
  await first.stop();
  await r.control.stop();
  // Somebody else's container, and one that crashed meanwhile.
  r.engine.add(
    {
      ...r.engine.containers.get("flynn-j1")!.spec,
      name: "flynn-old",
      labels: { "flynn.job": "old", "flynn.app": "old" },
    },
    "running",
  );
  r.engine.exit("flynn-j1", 1);
  await r.start();
  await happens("restart of the crashed job", () => r.engine.containers.get("flynn-j1")?.status === "running");
  assert.is(r.engine.containers.get("flynn-old")?.status, "running");
  await r.control.start();
  r.control.push({ jobs: [job()] });
  await happens("end of the unknown container", () => !r.engine.containers.has("flynn-old"));
  assert.is(r.engine.containers.get("flynn-j1")?.status, "running");
});

test("a target of an older term is refused; a newer one counts", async () => {
  const r = await rig();
  await r.start();
  r.control.push({ term: 5, jobs: [job()] });
  await isUp(r);
  r.control.push({ term: 4, jobs: [] });
  await happens("refusal", () => r.said.some((line) => line.includes("its term 4 is older than 5")));
  assert.is(r.engine.containers.get("flynn-j1")?.status, "running");
  r.control.push({ term: 6, jobs: [] });
  await happens("end of the job", () => r.engine.containers.size === 0);
});

test("a crashed job is told with its last line and started again", async () => {
  const r = await rig();
  await r.start();
  r.control.push({ jobs: [job()] });
  await isUp(r);
  r.engine.print("flynn-j1", "Error: no database");
  r.engine.exit("flynn-j1", 1);
  await happens("crash report", () =>
    r.control.reports.some(({ jobs }) => jobs[0]?.reason === "exited 1: Error: no database"),
  );
  await happens("restart", () => r.job("j1")?.state === "up" && r.job("j1")?.restarts === 1);
});

test("a stopped job ends with SIGTERM, is reported down and its container is gone", async () => {
  const r = await rig();
  await r.start();
  r.control.push({ jobs: [job()] });
  await isUp(r);
  r.control.push({ jobs: [job({ desired: "stop" })] });
  await happens("down", () => r.job("j1")?.state === "down");
  await happens("removal", () => r.engine.containers.size === 0);
  assert.ok(r.engine.calls.includes("signal SIGTERM flynn-j1"));
  assert.not.ok(r.engine.calls.includes("signal SIGKILL flynn-j1"));
});

test("a process that ignores SIGTERM is killed after its grace", async () => {
  const r = await rig(fakeEngine({ onTerm: () => undefined }));
  await r.start();
  r.control.push({ jobs: [job({ stopTimeoutMs: 1 })] });
  await isUp(r);
  r.control.push({ jobs: [job({ stopTimeoutMs: 1, desired: "stop" })] });
  await happens("SIGKILL", () => r.engine.calls.includes("signal SIGKILL flynn-j1"));
  await happens("removal", () => r.engine.containers.size === 0);
});

test("a pull that fails is told with its reason and tried again", async () => {
  const r = await rig();
  r.engine.fail("pull", new Error("manifest unknown"));
  await r.start();
  r.control.push({ jobs: [job()] });
  await happens("reason", () => r.job("j1")?.reason === "pulling image, attempt 2: manifest unknown");
  assert.is(r.job("j1")?.state, "starting");
  r.engine.fail("pull", undefined);
  await isUp(r);
});

test("an engine that hangs is reported unhealthy while its jobs keep their state, and recovers", async () => {
  const r = await rig();
  await r.start();
  r.control.push({ jobs: [job()] });
  await isUp(r);
  r.engine.fail("probe", new Error("the engine does not answer"));
  r.engine.fail("list", new Error("the engine does not answer"));
  await happens("unhealthy report", () => r.report()?.engine.healthy === false);
  assert.is(r.report()?.engine.reason, "the engine does not answer");
  assert.is(r.job("j1")?.state, "up");
  r.engine.fail("probe", undefined);
  r.engine.fail("list", undefined);
  await happens("healthy report", () => r.report()?.engine.healthy === true);
  assert.is(r.engine.containers.get("flynn-j1")?.id, "c1", "nothing was restarted");
});

test("control reads a job's lines from the host, of a removed container too", async () => {
  const r = await rig();
  const { port } = await r.start();
  r.control.push({ jobs: [job()] });
  await isUp(r);
  r.engine.print("flynn-j1", "hello from the app");
  r.control.push({ jobs: [] });
  await happens("removal", () => r.engine.containers.size === 0);
  const identity = await r.control.ca.issue({ subject: "O=flynn:control,CN=control", names: ["client"] });
  const client = createClient({
    urls: [`https://127.0.0.1:${port}`],
    caPem: r.control.ca.caPem,
    serverName: hostServerName("host-1"),
    identity,
  });
  const { items } = await client.call(hostLog, { query: { app: "hello", appId: "app-1" } });
  client.close();
  const lines = items.map(({ source, line }) => `${source}: ${line}`);
  assert.ok(lines.includes("app: hello from the app"), lines.join("\n"));
  assert.ok(lines.includes("system: State changed from starting to up"), lines.join("\n"));
});

test("explain tells the decision, its inputs, and no secret", async () => {
  const r = await rig();
  await r.start();
  r.control.push({ jobs: [job({ env: { PASSWORD: "hunter2" } })] });
  await isUp(r);
  const text = await happens("records on disk", async () => {
    const told = await explain({ stateDir: r.config.stateDir, targetDir: r.config.stateDir, jobId: "j1" }).catch(
      () => "",
    );
    return told.startsWith("j1: nothing to do: runs, as wanted") ? told : undefined;
  });
  assert.match(text, /PASSWORD/);
  assert.not.match(text, /hunter2/);
  const error = await explain({ stateDir: r.config.stateDir, targetDir: r.config.stateDir, jobId: "nobody" }).catch(
    (caught: unknown) => caught,
  );
  assert.match((error as Error).message, /neither in the target nor on this host/);
});

test("a removed host that is booted with a fresh token joins anew; with the spent one it does not forget itself", async () => {
  const r = await rig();
  const first = await r.start();
  await happens("first report", () => r.report());
  await first.stop();
  r.control.hostId = "host-2";
  const spent = await r.start();
  await happens("refusal", () => r.said.some((line) => line.includes("report did not reach control")));
  await spent.stop();
  assert.is(r.control.joins, 1);
  r.config.joinToken = "fjt_fresh";
  r.control.token = "fjt_fresh";
  const controller = new AbortController();
  const error = await runHostd(r.config, controller.signal, { engine: r.engine, log: silentLog() }).catch(
    (caught: unknown) => caught,
  );
  assert.match((error as Error).message, /joins anew/);
  r.control.reports.length = 0;
  await r.start();
  await happens("report as the new host", () => r.report());
  assert.is(r.control.joins, 2);
});

test("an address of a job that ended is not given to the next one, also by a hostd that has started anew", async () => {
  const r = await rig();
  const first = await r.start();
  r.control.push({ jobs: [job()] });
  await isUp(r);
  const address = r.job("j1")?.address;
  assert.is(address, "100.64.7.2");
  r.control.push({ jobs: [] });
  await happens("its end", () => r.engine.containers.size === 0 && r.report()?.jobs.length === 0);
  await first.stop();
  await r.start();
  r.control.push({ jobs: [job({ id: "j2" })] });
  await isUp(r, "j2");
  assert.is(r.job("j2")?.address, "100.64.7.3");
});

test("a torn state file and a torn target cost nothing that runs", async () => {
  const r = await rig();
  const first = await r.start();
  r.control.push({ jobs: [job()] });
  await isUp(r);
  await first.stop();
  await writeFile(join(r.config.stateDir, "state.json"), '{"records": [{"jobId"');
  await writeFile(join(r.config.stateDir, "target.json"), "\0\0\0");
  r.control.reports.length = 0;
  await r.start();
  await isUp(r);
  assert.is(r.engine.containers.get("flynn-j1")?.id, "c1");
  assert.is(r.control.joins, 1);
});

test("a host without an address is not ready and says so; one that comes, or is another, shows within seconds", async () => {
  let address: string | undefined;
  const it = await rig(fakeEngine(), async () => address);
  const host = await it.start();
  await happens("a report without an address", () => it.report()?.facts.address === undefined && it.report());
  assert.is(it.report()?.engine.healthy, false);
  assert.match(it.report()?.engine.reason ?? "", /no address by which control reaches it/);
  address = "10.77.0.11";
  await happens("the address", () => it.report()?.facts.address === "10.77.0.11");
  await happens("health", () => it.report()?.engine.healthy === true);
  address = "10.77.0.12";
  await happens("the next address", () => it.report()?.facts.address === "10.77.0.12");
  await host.stop();
});

test.run();
