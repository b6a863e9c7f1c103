// An appliance that runs here is found by the ports it has, and spoken of by its state folder; what it was started with is kept.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { processId } from "#lib/process-id.ts";
import { findProblems } from "../../../cli/up/checks.ts";
import { loadUpConfig } from "../../../cli/up/config.ts";
import type { Part } from "../../../cli/up/parts.ts";
import { keepSettings, keptSettings, runningUp, stateDirAtPort, stateDirOf } from "../../../cli/up/running.ts";
import { invoke } from "../invoke.ts";

const directory = await mkdtemp(join(tmpdir(), "flynn-running-"));
const stateDir = join(directory, "state");

test("the parts of an appliance tell its state folder, and no other program does", () => {
  for (const [command, found] of [
    ["/usr/bin/node /tree/control/main.ts --config /srv/a/run/control.json", "/srv/a"],
    ["node /tree/router/main.ts --config /srv/a/run/router.json", "/srv/a"],
    ["node /tree/hostd/main.ts run --config /srv/a/run/hostd.json", "/srv/a"],
    ["docker-registry serve /srv/a/run/registry-push.yml", "/srv/a"],
    ["haproxy -W -S /srv/a/router/m.sock,mode,600 -f /srv/a/router/haproxy.cfg", "/srv/a"],
    ["sshd: /usr/sbin/sshd -D -f /srv/a/run/sshd_config [listener]", "/srv/a"],
    ["nginx -c /etc/nginx/nginx.conf", undefined],
    ["node /tree/router/main.ts", undefined],
    ["", undefined],
  ] as const)
    assert.is(stateDirOf(command), found, command);
});

/** A process that has a port and is called as a part of that appliance is. */
async function withPart(work: (port: number) => Promise<void>): Promise<void> {
  const listen = `const s = require("node:net").createServer().listen(0, "127.0.0.1", () => console.log(s.address().port));`;
  const path = join(stateDir, "run", "control.json");
  const child = spawn(process.execPath, ["-e", listen, "main.ts", "--", "--config", path], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  try {
    const [line] = (await once(child.stdout, "data", { signal: AbortSignal.timeout(30_000) })) as [Buffer];
    await work(Number(String(line)));
  } finally {
    child.kill("SIGKILL");
    await once(child, "exit");
  }
}
const upJson = async (text: string): Promise<void> => {
  await mkdir(join(stateDir, "run"), { recursive: true });
  await writeFile(join(stateDir, "run", "up.json"), text);
};

test("ports that a running appliance has are told as its own, with the way to end it", () =>
  withPart(async (port) => {
    await upJson(JSON.stringify(await processId(process.pid)));
    assert.is((await runningUp(stateDir))?.pid, process.pid);
    assert.is(await stateDirAtPort(port), stateDir);
    const flags = { stateDir: join(directory, "second"), host: false };
    const config = loadUpConfig({ flags, env: {}, root: false });
    const ports: Part["ports"] = [{ protocol: "tcp", port }];
    const part: Part = { name: "router", argv: [], file: { path: "", content: "" }, stateDir: "", ports };
    const both: Part[] = [part, { ...part, name: "control" }];
    const found = await findProblems(config, both, { PATH: process.env["PATH"] });
    const ours = found.filter(({ what }) => what.includes(String(port)));
    assert.is(ours.length, 1, "one appliance is one problem");
    assert.match(ours[0]!.what, `state ${stateDir} (pid ${process.pid})`);
    assert.match(ours[0]!.todo, `flynn down --state ${stateDir}`);
  }));

test("a part that its appliance left behind is a process like any other", () =>
  withPart(async (port) => {
    await upJson(JSON.stringify({ pid: process.pid, startTicks: 1 }));
    assert.is(await stateDirAtPort(port), undefined);
  }));

test("doctor looks at the appliance that runs here, as it was started, wherever its state is", () =>
  withPart(async (port) => {
    await upJson(JSON.stringify(await processId(process.pid)));
    const flags = { stateDir, host: false, ssh: false, port, dockerSocket: "/nonexistent/docker.sock" };
    const config = loadUpConfig({ flags, env: {}, root: true });
    await keepSettings(config);
    assert.equal(await keptSettings(stateDir), config);
    const env = { HOME: directory, FLYNN_HOME: directory, FLYNN_UP_PORT: String(port) };
    const { err, out } = await invoke(["doctor"], { env: { ...env, PATH: process.env["PATH"] } });
    assert.match(err, `the appliance that runs here has its state in ${stateDir}`);
    assert.not.match(`${out}${err}`, /no appliance|Docker/);
    assert.not.match(out, `tcp port ${port}`, "its own ports are no complaint");
  }));

test.after(() => rm(directory, { recursive: true, force: true }));
test.run();
