// time limit: 240 s
// The lab's own parts, each on the real thing: scope, LAN, Docker hosts, images, container network, load, machine.
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { access, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { exec } from "#lib/exec.ts";
import { until } from "#lib/time.ts";
import { type DockerHost, startDockerHost } from "./docker-host.ts";
import { writeAppImage } from "./image.ts";
import { LAB_FOLDER } from "./leftovers.ts";
import { startLoad } from "./load.ts";
import { type Lan, openLan } from "./network.ts";
import { openScope, type Scope } from "./scope.ts";

interface Context {
  scope: Scope;
  lan: Lan;
  hosts: DockerHost[];
}

const lab = suite<Context>("lab");

lab.before(async (context) => {
  context.scope = await openScope();
  context.lan = await openLan(context.scope);
  const startedMs = performance.now();
  context.hosts = await Promise.all(
    [1, 2].map((n) => startDockerHost(context.scope, context.lan, `h${n}`, `10.77.0.1${n}`)),
  );
  console.log(`two Docker hosts in ${Math.round(performance.now() - startedMs)} ms`);
  const image = await writeAppImage(join(context.scope.folder, "hello.tar"), "hello");
  for (const [index, host] of context.hosts.entries()) {
    await loadImage(host, image.path);
    await joinContainerNetwork(context, host, index + 1);
  }
});

lab.after(async (context) => {
  await context.scope.close();
});

lab("a container answers the appliance and other hosts on its own address", async ({ lan, hosts }) => {
  const [one, two] = hosts as [DockerHost, DockerHost];
  await runApp(one, "hello", "100.64.1.7", "job-1");
  await runApp(two, "hello", "100.64.2.7", "job-2");
  await until(async () => (await get(lan, "100.64.1.7")) === "Hello from hello job-1\n", {
    what: "an answer from h1",
    timeoutMs: 30_000,
  });
  await until(async () => (await get(lan, "100.64.2.7")) === "Hello from hello job-2\n", {
    what: "an answer from h2",
    timeoutMs: 30_000,
  });
  assert.is((await one.exec(["curl", "-s", "-m", "2", "http://100.64.2.7:8080/"])).stdout, "Hello from hello job-2\n");
});

lab("load counts what is answered and, with the link cut, what is not", async ({ scope, lan, hosts }) => {
  const load = await startLoad(scope, lan, {
    url: "http://100.64.1.7:8080/",
    requestsPerSecond: 50,
    timeoutMs: 500,
    expect: ["Hello from hello"],
  });
  await until(async () => (await load.progress()).requests > 20, { what: "20 requests", timeoutMs: 30_000 });
  assert.is((await load.progress()).failed, 0);
  await hosts[0]!.cut();
  await until(async () => (await load.progress()).failed > 5, { what: "failures", timeoutMs: 30_000 });
  await hosts[0]!.heal();
  const result = await load.stop();
  assert.ok(
    result.failed > 5 &&
      result.failures.every((failure) => failure.why === "timeout" || failure.why === "EHOSTUNREACH"),
    JSON.stringify(result.failures.slice(0, 3)),
  );
  assert.ok(result.answers["Hello from hello"]! >= 20);
});

lab("a container outlives the kill of dockerd and is known to the next one", async ({ lan, hosts }) => {
  const host = hosts[0]!;
  await host.killDocker();
  assert.is(await get(lan, "100.64.1.7"), "Hello from hello job-1\n");
  await host.startDocker();
  const running = JSON.parse((await host.docker("GET", "/v1.41/containers/json")).body) as unknown[];
  assert.is(running.length, 1);
  assert.is(await get(lan, "100.64.1.7"), "Hello from hello job-1\n");
});

lab("SIGTERM ends the test app within its grace, with code 0", async ({ hosts }) => {
  const host = hosts[1]!;
  const startedMs = performance.now();
  await host.docker("POST", "/v1.41/containers/hello/stop?t=8");
  assert.ok(performance.now() - startedMs < 4_000, "was killed after its grace");
  const { State } = JSON.parse((await host.docker("GET", "/v1.41/containers/hello/json")).body) as {
    State: { ExitCode: number };
  };
  assert.is(State.ExitCode, 0);
});

lab(
  "a power cut ends everything on the host; power brings Docker back with its disk, or without",
  async ({ lan, hosts }) => {
    const host = hosts[0]!;
    await host.powerCut();
    assert.is(await get(lan, "100.64.1.7"), undefined);
    await host.powerOn();
    const all = JSON.parse((await host.docker("GET", "/v1.41/containers/json?all=1")).body) as { State: string }[];
    assert.equal(
      all.map((container) => container.State),
      ["exited"],
    );
    await host.powerCut();
    await host.powerOn({ fresh: true });
    assert.is((await host.docker("GET", "/v1.41/images/json")).body.trim(), "[]");
  },
);

lab("each host has its own /etc/docker and /run", async ({ hosts }) => {
  await writeFile(join(hosts[0]!.dockerConfigFolder, "mark"), "one");
  assert.is((await hosts[0]!.exec(["cat", "/etc/docker/mark"])).stdout, "one");
  await hosts[1]!.exec(["cat", "/etc/docker/mark"]).then(
    () => assert.unreachable("h2 sees the folder of h1"),
    () => undefined,
  );
});

lab("there is no way out of the lab", async ({ lan, hosts }) => {
  const routes = (await lan.exec(["ip", "route"])).stdout;
  assert.not.match(routes, /default/);
  assert.match((await hosts[0]!.exec(["ip", "route"])).stdout, /default via 10\.77\.0\.1/);
});

lab("each test app does what it is for", async ({ scope, lan, hosts }) => {
  const host = hosts[1]!;
  for (const app of ["slow", "crasher", "never-healthy", "logger"] as const) {
    await loadImage(host, (await writeAppImage(join(scope.folder, `${app}.tar`), app)).path);
  }
  await runApp(host, "slow", "100.64.2.21", "job-s");
  await runApp(host, "crasher", "100.64.2.22", "job-c");
  await runApp(host, "never-healthy", "100.64.2.23", "job-n");
  await runApp(host, "logger", "100.64.2.24", "job-l");
  const within = (what: string, timeoutMs: number) => ({ what, timeoutMs });
  await until(
    async () => (await get(lan, "100.64.2.21")) === "Hello from slow job-s\n",
    within("slow's answer", 8_000),
  );
  const listening = /(\d{4}-\d\d-\d\dT\S+) listening on/.exec(await logOf(host, "slow"))?.[1] ?? "";
  assert.ok(
    Date.parse(listening) - Date.parse((await state(host, "slow")).StartedAt) >= 2_900,
    `slow listened at ${listening}`,
  );
  await until(async () => (await state(host, "crasher")).Status === "exited", within("crasher's end", 5_000));
  assert.is((await state(host, "crasher")).ExitCode, 3);
  assert.match(await logOf(host, "crasher"), "fatal: no database");
  await until(
    async () => /line 0[\s\S]*line 1[\s\S]*line 2/.test(await logOf(host, "logger")),
    within("three lines", 5_000),
  );
  assert.is(await get(lan, "100.64.2.24"), "Hello from logger job-l\n");
  assert.is((await state(host, "never-healthy")).Status, "running");
  assert.is(await get(lan, "100.64.2.23"), undefined);
});

lab("the same inputs make the same image, and another architecture another one", async ({ scope }) => {
  const hashed = async (name: string, options: { architecture?: string } = {}) => {
    const { path, id } = await writeAppImage(join(scope.folder, name), "hello", options);
    return {
      id,
      sha: createHash("sha256")
        .update(await readFile(path))
        .digest("hex"),
    };
  };
  assert.equal(await hashed("one.tar"), await hashed("two.tar"));
  assert.is.not((await hashed("arm.tar", { architecture: "arm64" })).id, (await hashed("one.tar")).id);
});

for (const name of ["SIGKILL", "SIGINT", "SIGTERM", "SIGHUP"] as const) {
  lab(`after ${name} nothing is left of what a lab process made`, async () => {
    const folder = await mkdtemp(join(tmpdir(), "flynn-harness-"));
    try {
      const program = join(folder, "victim.ts");
      const from = (file: string) => JSON.stringify(fileURLToPath(new URL(file, import.meta.url)));
      await writeFile(
        program,
        `import { openScope } from ${from("scope.ts")};
import { openLan } from ${from("network.ts")};
import { startDockerHost } from ${from("docker-host.ts")};
const scope = await openScope();
const lan = await openLan(scope, { ip: "10.78.0.1" });
const host = await startDockerHost(scope, lan, "victim", "10.78.0.11");
const inside = await host.spawn(["sleep", "1000"]);
const outside = await lan.spawn(["sleep", "1000"]);
console.log("made " + scope.id + " " + inside.pid + " " + outside.pid);
await new Promise(() => setInterval(() => {}, 1000));
`,
      );
      const victim = spawn(process.execPath, [program], { stdio: ["ignore", "pipe", "inherit"] });
      let output = "";
      victim.stdout.on("data", (chunk) => {
        output += chunk;
      });
      await until(() => /made .*\n/.test(output), { what: "the victim's lab", timeoutMs: 20_000 });
      const [, id = "", inside = "", outside = ""] = /made (\S+) (\d+) (\d+)/.exec(output) ?? [];
      assert.match((await exec(["ip", "netns", "list"])).stdout, `${id}-victim`);
      victim.kill(name);
      await until(() => isMissing(join(LAB_FOLDER, id)), { what: "the clean-up", timeoutMs: 15_000 });
      assert.not.match((await exec(["ip", "netns", "list"])).stdout, id);
      for (const pid of [inside, outside]) assert.not.ok(await isAlive(pid), `process ${pid} is left`);
      assert.is((await exec(["find", "/sys/fs/cgroup", "-maxdepth", "2", "-name", `${id}*`])).stdout, "");
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
}

function isMissing(path: string): Promise<boolean> {
  return access(path).then(
    () => false,
    () => true,
  );
}

interface ContainerState {
  Status: string;
  ExitCode: number;
  StartedAt: string;
}

async function state(host: DockerHost, name: string): Promise<ContainerState> {
  const { body } = await host.docker("GET", `/v1.41/containers/${name}/json`);
  return (JSON.parse(body) as { State: ContainerState }).State;
}

async function logOf(host: DockerHost, name: string): Promise<string> {
  return (await host.docker("GET", `/v1.41/containers/${name}/logs?stdout=1&stderr=1&timestamps=1`)).body;
}

async function isAlive(pid: string): Promise<boolean> {
  const status = await readFile(`/proc/${pid}/status`, "utf8").catch(() => "");
  return status !== "" && !/^State:\s+Z/m.test(status);
}

async function get(lan: Lan, ip: string): Promise<string | undefined> {
  return lan.exec(["curl", "-s", "-m", "1", `http://${ip}:8080/`]).then(
    ({ stdout }) => stdout,
    () => undefined,
  );
}

function loadImage(host: DockerHost, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const headers = { "content-type": "application/x-tar" };
    const asked = request(
      { socketPath: host.dockerSocket, method: "POST", path: "/v1.41/images/load?quiet=1", headers },
      (answer) => {
        const chunks: Buffer[] = [];
        answer.on("data", (chunk: Buffer) => chunks.push(chunk));
        answer.on("end", () =>
          answer.statusCode === 200 ? resolve() : reject(new Error(Buffer.concat(chunks).toString("utf8"))),
        );
      },
    );
    asked.on("error", reject);
    createReadStream(path).pipe(asked);
  });
}

async function joinContainerNetwork({ lan, hosts }: Context, host: DockerHost, n: number): Promise<void> {
  const created = await host.docker("POST", "/v1.41/networks/create", {
    Name: "flynn",
    Driver: "bridge",
    IPAM: { Config: [{ Subnet: `100.64.${n}.0/24`, Gateway: `100.64.${n}.1` }] },
    Options: { "com.docker.network.bridge.name": "flynn", "com.docker.network.bridge.enable_ip_masquerade": "false" },
  });
  assert.is(created.status, 201, created.body);
  for (const source of ["100.64.0.0/16", "10.77.0.0/24"]) {
    await host.exec(["iptables", "-w", "-I", "DOCKER-USER", "-s", source, "-o", "flynn", "-j", "ACCEPT"]);
  }
  await lan.exec(["ip", "route", "replace", `100.64.${n}.0/24`, "via", host.ip]);
  for (const other of hosts.filter((each) => each !== host))
    await other.exec(["ip", "route", "replace", `100.64.${n}.0/24`, "via", host.ip]);
}

async function runApp(host: DockerHost, app: string, ip: string, job: string): Promise<void> {
  const made = await host.docker("POST", `/v1.41/containers/create?name=${app}`, {
    Image: `${app}:latest`,
    Env: ["PORT=8080", `FLYNN_APP=${app}`, `FLYNN_JOB=${job}`],
    HostConfig: {
      NetworkMode: "flynn",
      CapDrop: ["ALL"],
      SecurityOpt: ["no-new-privileges"],
      Memory: 64 << 20,
      PidsLimit: 256,
    },
    NetworkingConfig: { EndpointsConfig: { flynn: { IPAMConfig: { IPv4Address: ip } } } },
  });
  assert.is(made.status, 201, made.body);
  assert.is((await host.docker("POST", `/v1.41/containers/${app}/start`)).status, 204);
}

lab.run();
