// time limit: 300 s
// One box, as `npm start` makes it: `flynn up` with the box's own Docker as a host, an image of that Docker deployed by name,
// the services API, and a second start that goes on where the first ended.
import { createReadStream } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { ExecError } from "#lib/exec.ts";
import { readJson } from "#lib/files.ts";
import { until } from "#lib/time.ts";
import { type DockerHost, startDockerHost } from "./docker-host.ts";
import { writeAppImage } from "./image.ts";
import { openLan } from "./network.ts";
import type { Running } from "./process.ts";
import { openScope, type Scope } from "./scope.ts";

interface Context {
  scope: Scope;
  box: DockerHost;
  up: Running;
}

const TREE = fileURLToPath(new URL("../..", import.meta.url));
const CLI = [process.execPath, join(TREE, "cli/main.ts")];
const ADDRESS = "10.77.0.21";
const lab = suite<Context>("single box");

const environment = ({ scope }: Context) => {
  const home = join(scope.folder, "home"); // git keeps its settings there too
  return { ...process.env, HOME: home, FLYNN_HOME: home, NO_COLOR: "1" };
};
const state = ({ scope }: Context) => join(scope.folder, "state");
const startUp = async (context: Context) => {
  context.up = await context.box.spawn(
    [...CLI, "up", "--state", state(context), "--address", ADDRESS, "--http-port", "8088", "--https-port", "8443"],
    { name: "box-up", env: environment(context), graceMs: 30_000 },
  );
  await context.up.waitFor(/the appliance is up/, 90_000);
};
const flynn = async (context: Context, ...argv: string[]): Promise<string> =>
  (
    await context.box.exec([...CLI, ...argv], {
      env: environment(context),
      cwd: context.scope.folder,
      timeoutMs: 120_000,
    })
  ).stdout;
const exitOf = (context: Context, ...argv: string[]): Promise<number | undefined> =>
  flynn(context, ...argv).then(
    () => 0,
    (error: unknown) => (error instanceof ExecError ? error.exitCode : undefined),
  );
const get = async ({ box }: Context, host: string): Promise<string> =>
  (await box.exec(["curl", "-sS", "-m", "5", "-H", `Host: ${host}`, `http://${ADDRESS}:8088/`])).stdout;
const api = async (
  context: Context,
  method: string,
  path: string,
  body?: unknown,
): Promise<{ status: number; body: Record<string, unknown> }> => {
  const token = (await readJson<{ clusters: { token: string }[] }>(join(context.scope.folder, "home/clusters.json")))!
    .clusters[0]!.token;
  const argv = [
    "curl",
    "-sS",
    "-m",
    "60",
    "--cacert",
    join(state(context), "control/pki/ca.pem"),
    "--resolve",
    `control.flynn.internal:7777:${ADDRESS}`,
    "-X",
    method,
    "-H",
    `Authorization: Bearer ${token}`,
    "-w",
    "\n%{http_code}",
  ];
  if (body !== undefined) argv.push("-H", "content-type: application/json", "--data-binary", JSON.stringify(body));
  const { stdout } = await context.box.exec([...argv, `https://control.flynn.internal:7777${path}`]);
  const end = stdout.lastIndexOf("\n");
  return {
    status: Number(stdout.slice(end + 1)),
    body: JSON.parse(stdout.slice(0, end) || "{}") as Record<string, unknown>,
  };
};

lab.before(async (context) => {
  context.scope = await openScope();
  const lan = await openLan(context.scope);
  context.box = await startDockerHost(context.scope, lan, "box", ADDRESS);
  const image = await writeAppImage(join(context.scope.folder, "hello.tar"), "hello");
  await loadImage(context.box, image.path);
  await startUp(context);
});

lab.after(async ({ scope }) => {
  await scope.close();
});

lab("the box is a host of its own cluster, every part is well, and the CLI knows the cluster", async (context) => {
  await until(async () => (await exitOf(context, "status")) === 0, { what: "no part down", timeoutMs: 60_000 });
  await until(async () => (JSON.parse(await flynn(context, "status", "--json")) as { state: string }).state === "ok", {
    what: "status ok",
    timeoutMs: 60_000,
    everyMs: 500,
  });
  const hosts = JSON.parse(await flynn(context, "host", "list", "--json")) as
    | { name: string; state: string }[]
    | { items: { state: string }[] };
  const list = Array.isArray(hosts) ? hosts : hosts.items;
  assert.equal(
    list.map(({ state: is }) => is),
    ["ready"],
  );
});

lab("deploy --image takes an image of the local Docker, and the route answers from it", async (context) => {
  await flynn(context, "create", "hello");
  await flynn(context, "-a", "hello", "route", "add", "http", "hello.example");
  await flynn(context, "-a", "hello", "deploy", "--image", "hello:latest");
  await flynn(context, "-a", "hello", "scale", "web=2");
  await until(async () => (await get(context, "hello.example")).startsWith("Hello from hello job-"), {
    what: "an answer",
    timeoutMs: 15_000,
  });
  assert.match(await flynn(context, "-a", "hello", "log", "-n", "50"), /app\[web\.job-[^\]]+\]: listening on 8080/);
});

lab(
  "an image that is not there, an app that is not there and a wrong flag end with their own exit codes",
  async (context) => {
    assert.is(await exitOf(context, "-a", "hello", "deploy", "--image", "nosuch:image"), 3);
    assert.is(await exitOf(context, "-a", "nosuch", "ps"), 3);
    assert.is(await exitOf(context, "ps", "--bogus"), 2);
    assert.is(await exitOf(context, "create", "hello"), 5);
  },
);

lab("one call makes a service of a local image; it scales, streams its log, and is deleted", async (context) => {
  const made = await api(context, "POST", "/v1/services", {
    name: "svc",
    image: "hello:latest",
    count: 1,
    port: 8080,
    domain: "svc.example",
    env: { GREETING: "One call" },
  });
  assert.is(made.status, 202, JSON.stringify(made.body));
  await until(async () => (await get(context, "svc.example")).startsWith("One call"), {
    what: "the service answering",
    timeoutMs: 30_000,
  });
  // A deployment that has just ended still lets its old jobs finish: scaling waits for that.
  await until(async () => (await api(context, "PATCH", "/v1/services/svc", { count: 2 })).status === 202, {
    what: "scaling",
    timeoutMs: 20_000,
    everyMs: 300,
  });
  await until(
    async () => {
      const { instances } = (await api(context, "GET", "/v1/services/svc")).body as {
        instances: { healthy: boolean }[];
      };
      return instances.filter(({ healthy }) => healthy).length === 2;
    },
    { what: "two healthy instances", timeoutMs: 30_000, everyMs: 300 },
  );
  const log = (await api(context, "GET", "/v1/services/svc/log?lines=10")).body as { items: { line: string }[] };
  assert.ok(
    log.items.some(({ line }) => line.includes("listening on 8080")),
    JSON.stringify(log),
  );
  assert.is((await api(context, "DELETE", "/v1/services/svc")).status, 200);
  await until(async () => (await api(context, "GET", "/v1/services/svc")).status === 404, {
    what: "the service gone",
    timeoutMs: 10_000,
  });
  await until(
    async () =>
      !JSON.parse((await context.box.docker("GET", "/containers/json?all=1")).body).some(
        (c: { Labels: Record<string, string> }) => c.Labels["flynn.app"] === "svc",
      ),
    { what: "its containers gone", timeoutMs: 40_000, everyMs: 500 },
  );
});

lab(
  "ended by SIGINT it leaves the apps' containers running, and a second start goes on where it was",
  async (context) => {
    const containers = async () =>
      (JSON.parse((await context.box.docker("GET", "/containers/json")).body) as { Id: string }[])
        .map(({ Id }) => Id)
        .sort();
    const before = await containers();
    await context.up.kill("SIGINT");
    const { code } = await context.up.exited;
    assert.is(code, 130, "interrupted, as every command says it");
    assert.equal(await containers(), before);
    await startUp(context);
    await until(async () => (await get(context, "hello.example")).startsWith("Hello from hello job-"), {
      what: "the same app answering",
      timeoutMs: 30_000,
      everyMs: 300,
    });
    assert.equal(await containers(), before, "nothing was restarted");
    assert.not.match(context.up.output(), /admin token/, "the token is shown once only");
  },
);

async function loadImage(host: DockerHost, path: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const req = request(
      {
        socketPath: host.dockerSocket,
        method: "POST",
        path: "/v1.41/images/load",
        headers: { "content-type": "application/x-tar" },
      },
      (reply) => {
        reply.resume();
        reply.once("end", () =>
          reply.statusCode === 200 ? resolve() : reject(new Error(`image load answered ${reply.statusCode}`)),
        );
      },
    );
    req.once("error", reject);
    createReadStream(path).pipe(req);
  });
}

lab.run();
