// deploy, against a control that says what the test tells it to.
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Deployment } from "#api/deployments.ts";
import { deadline } from "#lib/time.ts";
import { closeFakes, type FakeControl, fakeControl } from "./fake-control.ts";

const directory = await mkdtemp(join(tmpdir(), "flynn-deploy-"));
const archive = join(directory, "hello.tar");
await writeFile(archive, Buffer.alloc(300_000, 7));

const APP = {
  id: "app-1",
  name: "hello",
  strategy: "rolling",
  deployTimeoutMs: 120_000,
  createdAt: "2026-01-01T00:00:00Z",
};
const deployment = (changed: Partial<Deployment>): Deployment => ({
  id: "deployment-1",
  appId: "app-1",
  toReleaseId: "release-1",
  toVersion: 3,
  strategy: "rolling",
  state: "running",
  step: "",
  reason: "",
  logTail: [],
  processes: {},
  createdAt: "2026-01-01T00:00:00Z",
  ...changed,
});
const RELEASE = {
  id: "release-1",
  appId: "app-1",
  version: 3,
  processes: {},
  envNames: [],
  description: "",
  createdAt: "",
  createdBy: "",
  current: false,
};

async function ready(): Promise<FakeControl> {
  const control = await fakeControl();
  control.on("GET /v1/apps/hello", { json: APP });
  control.on("POST /v1/artifacts", {
    json: {
      id: "artifact-1",
      appId: "app-1",
      digest: `sha256:${"ab".repeat(32)}`,
      architecture: "amd64",
      sizeBytes: 1,
    },
    status: 201,
  });
  control.on("POST /v1/apps/app-1/releases", { json: { ...RELEASE, deploymentId: "deployment-1" }, status: 201 });
  control.on("GET /v1/apps/app-1/deployments/deployment-1", { json: deployment({ state: "pending" }) });
  return control;
}
const bodyOf = (control: FakeControl, what: string) =>
  JSON.parse(control.asked.find((asked) => asked.what === what)!.body.toString()) as Record<string, unknown>;

test("an archive is uploaded whole, released and deployed, each step said once, the answer alone on stdout", async () => {
  const control = await ready();
  control.on("GET /v1/apps/hello/deployments/deployment-1", {
    items: [
      deployment({ step: "web: 0 of 1 new jobs healthy" }),
      deployment({ step: "web: 0 of 1 new jobs healthy" }),
      deployment({ step: "routers take in the new jobs" }),
      deployment({ state: "complete", step: "done" }),
    ],
  });
  const { code, out, err } = await control.flynn(["deploy", "--archive", archive, "-a", "hello"]);
  assert.is(code, 0, err);
  assert.is(out, "Deployed v3 of hello\n");
  const uploaded = control.asked.find(({ what }) => what === "POST /v1/artifacts")!;
  assert.is(uploaded.body.length, 300_000);
  assert.is(uploaded.headers["content-type"], "application/x-tar");
  assert.is(uploaded.headers.authorization, "Bearer secret-token");
  assert.is(uploaded.query["app"], "app-1");
  assert.equal(bodyOf(control, "POST /v1/apps/app-1/releases"), { artifactId: "artifact-1", deploy: true });
  const lines = err.split("\n");
  assert.is(lines.filter((line) => line === "v3: web: 0 of 1 new jobs healthy").length, 1);
  assert.ok(lines.includes("v3: routers take in the new jobs"));
  assert.ok(lines.some((line) => line.startsWith("uploaded sha256:abab")));
});

test("a failed deployment prints the reason and the last log lines once, and exits 1", async () => {
  const control = await ready();
  const line = {
    at: "2026-01-01T00:00:01.5Z",
    app: "hello",
    process: "web",
    jobId: "job-9",
    stream: "stderr" as const,
    source: "app" as const,
  };
  control.on("GET /v1/apps/hello/deployments/deployment-1", {
    items: [
      deployment({ state: "failed", reason: "web job-9 keeps crashing", logTail: [{ ...line, line: "no config" }] }),
    ],
  });
  const { code, out, err } = await control.flynn(["deploy", "--archive", archive, "-a", "hello"]);
  assert.is(code, 1);
  assert.is(out, "");
  assert.match(err, "2026-01-01T00:00:01.5Z app[web.job-9]: no config\n");
  assert.is(err.split("web job-9 keeps crashing").length, 2);
  assert.match(err, "error: v3 of hello failed: web job-9 keeps crashing");
});

test("a connection that breaks while watching is made again, and the deployment is watched on", async () => {
  const control = await ready();
  control.on(
    "GET /v1/apps/hello/deployments/deployment-1",
    { items: [deployment({ step: "one" })], drop: true },
    { drop: true },
    { items: [deployment({ step: "two" }), deployment({ state: "complete" })] },
  );
  const { code, err } = await control.flynn(["deploy", "--archive", archive, "-a", "hello"]);
  assert.is(code, 0, err);
  assert.match(err, /v3: one\n(.*\n)*v3: two\n/);
});

test("a token that is refused while watching ends it at once", async () => {
  const control = await ready();
  control.on("GET /v1/apps/hello/deployments/deployment-1", {
    fault: "forbidden",
    message: "no permission app:read",
    status: 403,
  });
  const { code, err } = await control.flynn(["deploy", "--archive", archive, "-a", "hello"]);
  assert.is(code, 4);
  assert.match(err, "error: no permission app:read");
});

test("--detach does not watch; --json prints the deployment", async () => {
  const control = await ready();
  const { code, out } = await control.flynn(["deploy", "--archive", archive, "-a", "hello", "--detach", "--json"]);
  assert.is(code, 0);
  assert.is((JSON.parse(out) as Deployment).id, "deployment-1");
  assert.not.ok(control.asked.some(({ what }) => what.startsWith("GET /v1/apps/hello/deployments")));
});

test("with --detach it returns while the deployment still runs, and says how to name it", async () => {
  const control = await ready();
  control.on("GET /v1/apps/hello/deployments/deployment-1", { items: [deployment({ step: "one" })], hold: true });
  const detached = control.flynn(["deploy", "--archive", archive, "-a", "hello", "--detach"]);
  const { code, out } = await deadline(detached, 30_000, "the end of the command");
  assert.is(code, 0);
  assert.is(out, "Deploying v3 of hello (deployment deployment-1)\n");
});

test("port, health path, command and variables change web and keep what else there is", async () => {
  const control = await ready();
  control.on("GET /v1/apps/app-1/releases", {
    json: {
      items: [
        { ...RELEASE, current: true, processes: { web: { port: 8080, memoryBytes: 1e8 }, worker: { port: null } } },
      ],
    },
  });
  const line = ["deploy", "--archive", archive, "-a", "hello", "--detach", "--port", "3000", "--health-path", "/up"];
  const { code, err } = await control.flynn([...line, "-e", "A=1", "-e", "B=x=y", "--", "node", "server.js", "-v"]);
  assert.is(code, 0, err);
  const body = bodyOf(control, "POST /v1/apps/app-1/releases") as {
    env: unknown;
    processes: Record<string, Record<string, unknown>>;
  };
  assert.equal(body.env, { A: "1", B: "x=y" });
  assert.equal(body.processes["worker"], { port: null });
  const { health, ...web } = body.processes["web"]!;
  assert.equal(web, { port: 3000, memoryBytes: 1e8, command: ["node", "server.js", "-v"] });
  assert.is((health as { type: string; path: string }).path, "/up");
  assert.is((health as { type: string }).type, "http");
});

test("an app that is not there is not made by deploying", async () => {
  const control = await fakeControl();
  control.on("GET /v1/apps/nope", { fault: "not-found", message: "no app nope", status: 404 });
  const { code, err } = await control.flynn(["deploy", "--archive", archive, "-a", "nope"]);
  assert.is(code, 3);
  assert.match(err, "error: no app nope; create it first: flynn create nope");
});

test("an upload that is refused says control's reason, not that the connection broke", async () => {
  const control = await ready();
  control.on("POST /v1/artifacts", {
    fault: "invalid",
    message: "the image is for arm64, hosts are amd64",
    status: 400,
  });
  const { code, err } = await control.flynn(["deploy", "--archive", archive, "-a", "hello"]);
  assert.is(code, 2);
  assert.match(err, "error: the image is for arm64, hosts are amd64");
});

test("an image is taken from the local Docker as a stream", async () => {
  const control = await ready();
  const socket = join(directory, "docker.sock");
  const docker = createServer((req, res) => {
    if (req.url === "/images/hello%3Alatest/json") return void res.end(JSON.stringify({ Size: 200_000 }));
    if (req.url === "/images/hello%3Alatest/get") return void res.end(Buffer.alloc(250_000, 3));
    res.writeHead(404).end("{}");
  });
  docker.unref();
  await new Promise<void>((resolve) => docker.listen(socket, resolve));
  const env = { DOCKER_HOST: `unix://${socket}` };
  const { code, err } = await control.flynn("deploy --image hello:latest -a hello --detach", { env });
  assert.is(code, 0, err);
  const uploaded = control.asked.find(({ what }) => what === "POST /v1/artifacts")!;
  assert.is(uploaded.body.length, 250_000);
  assert.is(uploaded.query["source"], "hello:latest");
  const missing = await control.flynn("deploy --image other -a hello", { env });
  assert.is(missing.code, 3);
  assert.match(missing.err, "the local Docker has no image other");
  docker.closeAllConnections();
  await new Promise((resolve) => docker.close(resolve));
  const dead = await control.flynn("deploy --image hello -a hello", { env });
  assert.is(dead.code, 1);
  assert.match(dead.err, `the local Docker does not answer at ${socket}`);
});

test("a builder is uploaded and set with its run image; the other build settings stay, and nothing is set of half an upload", async () => {
  const control = await ready();
  const before = { ...APP, build: { args: { A: "1" }, runImage: "artifact-0" } };
  control.on("GET /v1/apps/hello", { json: before });
  control.on("PATCH /v1/apps/app-1", { json: { ...APP, build: { builder: "artifact-1", runImage: "artifact-1" } } });
  const { code, out, err } = await control.flynn(`build builder upload ${archive} --run ${archive} -a hello`);
  assert.is(code, 0, err);
  assert.match(out, /^hello has the builder artifact-1; what it builds runs on the run image artifact-1\n$/);
  const asked = control.asked.map(({ what }) => what);
  assert.is(asked.filter((what) => what === "POST /v1/artifacts").length, 2);
  const changed = control.asked.find(({ what }) => what === "PATCH /v1/apps/app-1")!;
  assert.equal(JSON.parse(String(changed.body)), {
    build: { args: { A: "1" }, runImage: "artifact-1", builder: "artifact-1" },
  });
  const sources = () =>
    control.asked.filter(({ what }) => what === "POST /v1/artifacts").map(({ query }) => query["source"]);
  const sent = sources().length;
  const named = await control.flynn(
    `build builder upload ${archive} --name heroku/builder:24 --run ${archive} -a hello`,
  );
  assert.is(named.code, 0, named.err);
  assert.equal(sources().slice(sent), ["heroku/builder:24", archive.slice(-200)]);
  const half = await control.flynn(`build builder upload ${archive} --run ${join(directory, "none")} -a hello`, {
    env: { DOCKER_HOST: `unix://${directory}/no.sock` },
  });
  assert.is(half.code, 1);
  assert.match(half.err, /the local Docker does not answer/);
  assert.is(control.asked.filter(({ what }) => what === "PATCH /v1/apps/app-1").length, 2);
});

for (const [line, words] of [
  ["deploy -a hello --image x --archive y", "--image NAME"],
  ["deploy -a hello --archive x --port 70000", "--port 70000"],
  ["deploy -a hello --archive x --port 1e3", "--port 1e3"],
  ["deploy -a hello --archive x --env A", "NAME=VALUE"],
  ["deploy --archive x", "which app?"],
] as const)
  test(`flynn ${line} is wrong usage`, async () => {
    const control = await fakeControl();
    const { code, err } = await control.flynn(line);
    assert.is(code, 2);
    assert.match(err, words);
    assert.is(control.asked.length, 0);
  });

test.after.each(closeFakes);
test.after(() => rm(directory, { recursive: true, force: true }));
test.run();
