// time limit: 240 s
// The lab's own parts, each on the real thing: scope, LAN, Docker hosts, images, container network, load, machine.
import { spawn } from "node:child_process";
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
  await runHello(one, "100.64.1.7", "job-1");
  await runHello(two, "100.64.2.7", "job-2");
  await until(async () => (await get(lan, "100.64.1.7")) === "Hello from hello job-1\n", {
    what: "an answer from h1",
    timeoutMs: 5_000,
  });
  await until(async () => (await get(lan, "100.64.2.7")) === "Hello from hello job-2\n", {
    what: "an answer from h2",
    timeoutMs: 5_000,
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
  await until(async () => (await load.progress()).requests > 20, { what: "20 requests", timeoutMs: 5_000 });
  assert.is((await load.progress()).failed, 0);
  await hosts[0]!.cut();
  await until(async () => (await load.progress()).failed > 5, { what: "failures", timeoutMs: 5_000 });
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

lab("after the process is killed the watchdog takes away what it made", async () => {
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
    const env = { ...process.env };
    delete env["FLYNN_LAB_RUN"];
    const victim = spawn(process.execPath, [program], { stdio: ["ignore", "pipe", "inherit"], env });
    let output = "";
    victim.stdout.on("data", (chunk) => {
      output += chunk;
    });
    await until(() => output.includes("made"), { what: "the victim's lab", timeoutMs: 20_000 });
    const [, id = "", inside = "", outside = ""] = /made (\S+) (\d+) (\d+)/.exec(output) ?? [];
    assert.match((await exec(["ip", "netns", "list"])).stdout, `${id}-victim`);
    victim.kill("SIGKILL");
    await until(
      () =>
        access(join(LAB_FOLDER, id)).then(
          () => false,
          () => true,
        ),
      { what: "the clean-up", timeoutMs: 15_000 },
    );
    assert.not.match((await exec(["ip", "netns", "list"])).stdout, id);
    for (const pid of [inside, outside]) assert.not.ok(await isAlive(pid), `process ${pid} is left`);
    await until(
      async () => (await exec(["find", "/sys/fs/cgroup", "-maxdepth", "2", "-name", `${id}*`])).stdout === "",
      { what: "the cgroups' end", timeoutMs: 5_000 },
    );
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

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

async function runHello(host: DockerHost, ip: string, job: string): Promise<void> {
  const made = await host.docker("POST", "/v1.41/containers/create?name=hello", {
    Image: "hello:latest",
    Env: ["PORT=8080", "FLYNN_APP=hello", `FLYNN_JOB=${job}`],
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
  assert.is((await host.docker("POST", "/v1.41/containers/hello/start")).status, 204);
}

lab.run();
