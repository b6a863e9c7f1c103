// Deploy settings: words become the fields the API takes, what is shown is what can be set, nonsense is refused by its name.
import { Compile } from "typebox/compile";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type App, ProcessChanges, type ProcessType, updateApp } from "#api/apps.ts";
import { Fault } from "#api/fault.ts";
import { DEFAULT_HEALTH } from "#api/jobs.ts";
import { deployChanges, deployWords } from "../../cli/deploy/deploy-settings.ts";
import { closeFakes, fakeControl } from "./fake-control.ts";

test.after.each(closeFakes);

const app: App = {
  id: "app-1",
  name: "hello",
  strategy: "rolling",
  deployTimeoutMs: 120_000,
  createdAt: "2026-01-01T00:00:00Z",
};
const processes: Record<string, ProcessType> = { web: { port: 8080 }, worker: { port: null } };
const changes = (words: string[], unset = false) => deployChanges({ app, processes }, words, unset);
const refusal = (...words: string[]): string => {
  try {
    changes(words);
  } catch (error) {
    if (error instanceof Fault) return error.message;
    throw error;
  }
  return "taken";
};

test("words become changes of the app and of single processes; several of one check add up", () => {
  const made = changes([
    "strategy=in-batches",
    "batch-size=2",
    "timeout=5m",
    "branch=release/1",
    "web.health=/up",
    "web.health-status=200,204",
    "web.health-interval=500ms",
    "web.stop-timeout=1m",
    "web.timeout=10m",
    "worker.stable=5s",
    "worker.one-per-host=true",
  ]);
  assert.equal(made, {
    app: { strategy: "in-batches", batchSize: 2, deployTimeoutMs: 300_000, deployBranch: "release/1" },
    processes: {
      web: {
        health: { ...DEFAULT_HEALTH, type: "http", path: "/up", status: "200,204", intervalMs: 500 },
        stopTimeoutMs: 60_000,
        deployTimeoutMs: 600_000,
      },
      worker: { health: { ...DEFAULT_HEALTH, type: "none", stableMs: 5_000 }, antiAffinity: true },
    },
  });
});

test("unset gives each its default again", () => {
  assert.equal(changes(["strategy", "batch-size", "timeout", "branch", "web.stop-timeout", "web.timeout"], true), {
    app: { strategy: "rolling", batchSize: null, deployTimeoutMs: 120_000, deployBranch: null },
    processes: { web: { stopTimeoutMs: null, deployTimeoutMs: null } },
  });
});

test("what is shown can be set as it stands, and is then what is shown", () => {
  const custom: Record<string, ProcessType> = {
    web: {
      port: 80,
      health: { ...DEFAULT_HEALTH, type: "http", path: "/a=b", status: "200-299", stableMs: 1_500, fall: 5 },
      stopTimeoutMs: 0,
      deployTimeoutMs: 90_000,
      antiAffinity: true,
    },
    worker: { port: null, health: { ...DEFAULT_HEALTH, type: "none" } },
  };
  const settled: App = { ...app, strategy: "one-down-one-up", batchSize: 7, deployBranch: "main" };
  const words = deployWords(settled, custom);
  const made = deployChanges({ app: settled, processes: custom }, words);
  const merge = (name: string) =>
    Object.fromEntries(
      Object.entries({ ...custom[name], ...made.processes[name] }).filter(([, value]) => value !== null),
    ) as unknown as ProcessType;
  assert.equal(deployWords({ ...settled, ...made.app } as App, { web: merge("web"), worker: merge("worker") }), words);
  assert.ok(words.includes("web.stable=1500ms") && words.includes("web.stop-timeout=0s"), words.join(" "));
});

test("what is made of any word is what the API takes", () => {
  const body = Compile(updateApp.body!);
  const change = Compile(ProcessChanges);
  const all = deployWords({ ...app, batchSize: 1, deployBranch: "a" }, { web: { port: 1, deployTimeoutMs: 1_000 } });
  for (const word of all) {
    for (const made of [changes([word]), changes([word.split("=")[0]!], true)]) {
      assert.ok(body.Check(made.app), word);
      for (const one of Object.values(made.processes)) assert.ok(change.Check(one), `${word} ${JSON.stringify(one)}`);
    }
  }
  assert.ok(all.length > 10);
});

test("nonsense is refused by its name", () => {
  assert.match(refusal("strategy=fast"), /^strategy=fast: write it as rolling or all-at-once/);
  assert.match(refusal("speed=9"), /no deploy setting speed; there are strategy, .*web\.health/);
  assert.match(refusal("web.speed=9"), /no deploy setting speed/);
  assert.match(refusal("nope.health=tcp"), /no process nope; the app has web, worker/);
  assert.match(refusal("constructor.health=tcp"), /no process constructor/);
  assert.match(refusal("timeout=5"), /write it as a time from 1s to 1h/);
  assert.match(refusal("batch-size=0"), /a number from 1 to 1000/);
  assert.match(refusal("web.health=up"), /tcp, none, or a path/);
  assert.match(refusal("web.health-status=200"), /need a path/);
  assert.match(refusal("web.health=/up", "web.health-status=ok"), /200,204 or 200-299/);
  assert.match(refusal("web.one-per-host=yes"), /true or false/);
  assert.match(refusal("strategy="), /to take it away: flynn deploy unset strategy/);
  assert.match(refusal("strategy"), /NAME=VALUE/);
});

test("set and limit are one request that makes and deploys, onto what was read; overtaken once, it is made from the newest", async () => {
  const control = await fakeControl();
  const release = (version: number) => ({
    id: `release-${version}`,
    appId: "app-1",
    version,
    artifactId: "artifact-1",
    processes: { web: { port: 8080 } },
    envNames: [],
    description: "",
    createdAt: "2026-01-01T00:00:00Z",
    createdBy: "a",
    current: true,
  });
  control.on("GET /v1/apps/hello", { json: app });
  control.on("GET /v1/apps/hello/releases", { json: { items: [release(1)] } }, { json: { items: [release(2)] } });
  const made = { json: { ...release(3), current: false, deploymentId: "deployment-1" }, status: 201 };
  control.on(
    "POST /v1/apps/app-1/releases",
    { fault: "precondition", message: "hello is headed for v2 by now", status: 412 },
    made,
  );
  const { code, out, err } = await control.flynn("deploy set web.health=/up --detach -a hello");
  assert.equal([code, out], [0, "Created release v3\n"], err);
  control.on("POST /v1/apps/hello/releases", made);
  assert.is((await control.flynn("limit set web memory=1GB --detach -a hello")).code, 0);

  const posts = control.asked.filter(({ what }) => what.startsWith("POST"));
  const bodies = posts.map(({ body }) => JSON.parse(String(body)) as Record<string, unknown>);
  assert.equal(
    posts.map(({ what }) => what),
    ["POST /v1/apps/app-1/releases", "POST /v1/apps/app-1/releases", "POST /v1/apps/hello/releases"],
  );
  assert.equal(
    bodies.map(({ basedOn, deploy }) => [basedOn, deploy]),
    [
      ["release-1", true],
      ["release-2", true],
      [undefined, true],
    ],
  );
});

test.run();
