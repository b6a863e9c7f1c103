// time limit: 120 s
// The text of a push, word for word, as far as control writes it: builds on hosts whose logs are served as hostd serves them.
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { updateApp } from "#api/apps.ts";
import { createRoute } from "#api/routes.ts";
import { silentLog } from "#lib/log.ts";
import { logRoute } from "../../../hostd/logs/route.ts";
import { type KeptLine, logStore } from "../../../hostd/logs/store.ts";
import { startHostServer } from "../../../hostd/server.ts";
import { matchesGolden } from "../../golden/golden.ts";
import { factsOf } from "../rig.ts";
import { type Files, type World, withWorld } from "./world.ts";

const ADDRESS = "127.77.7.1";
const COMMIT = "4f0c5a1e0123456789abcdef0123456789abcdef";

const NODE: Files = { Procfile: "web: node server.js\nrelease: npm run migrate\n", "package.json": "{}" };
const OUTPUT =
  "-----> Node.js app detected\n-----> Installing dependencies\n       added 12 packages\n-----> Build succeeded\n";

interface Stage extends World {
  /** What the jobs of the app print, by process. */
  prints: Record<string, string[]>;
}

/** A world whose host serves logs, on a loopback address of its own. */
function withStage(body: (stage: Stage) => Promise<void>): Promise<void> {
  return withWorld(async (world) => {
    const { control, host, create } = world;
    const store = logStore({ directory: join(control.directory, "host-log"), onError: () => undefined });
    const identity = { certificate: host.certificate, key: host.key, caPem: control.caPem };
    const routes = [logRoute({ store, keepAliveMs: 500 })];
    const server = await startHostServer({ routes, identity, host: ADDRESS, port: 7779, log: silentLog() });
    const prints: Stage["prints"] = {};
    const printed = new Set<string>();
    const report = host.report.bind(host);
    const facts = { ...factsOf("h1", 1), address: ADDRESS };
    host.report = async (more = {}) => {
      for (const { id, app, process } of host.target?.jobs ?? []) {
        if (printed.has(id)) continue;
        printed.add(id);
        const log = await store.open(app);
        for (const [n, line] of (prints[process] ?? []).entries()) {
          const at = new Date(Date.now() + n).toISOString().replace("Z", "000Z");
          const kept: KeptLine = { at, app, process, jobId: id, stream: "stdout", source: "app", line };
          log.append([kept]);
        }
      }
      return report({ facts, ...more });
    };
    try {
      host.script = () => ({ output: OUTPUT, result: { processes: { web: "npm start" } } });
      await create("hello");
      await control.admin.call(createRoute, { body: { app: "hello", domain: "hello.example" } as never });
      await body({ ...world, prints });
    } finally {
      await host.stop();
      await server.close();
      await store.close?.();
    }
  });
}

const normal = (text: string): string => text.replaceAll(/job-[0-9a-v]{16}/g, "job-ID");

async function push({ send, ended, log }: World, name: string, files: Files): Promise<void> {
  const build = await ended("hello", (await send("hello", files, { commit: COMMIT })).id);
  const text = normal(await log("hello", build.id));
  assert.not.match(text, /[\u0000-\u0009\u000b-\u001f\u007f]/, "no escape codes, no tabs");
  for (const line of text.replace(/\n$/, "").split("\n"))
    assert.match(line, /^(-----> \S| {7}\S| ! {5}\S|=====> \S|$)/);
  matchesGolden(`push-${name}.txt`, text);
}

test("a first push, and a second one", () =>
  withStage(async (stage) => {
    stage.prints["release"] = ["> migrate", "3 tables made"];
    await push(stage, "first", NODE);
    stage.prints["release"] = ["> migrate", "nothing to do"];
    await push(stage, "second", NODE);
  }));

test("a push whose build fails", () =>
  withStage(async (stage) => {
    stage.host.script = () => ({
      output:
        "-----> Node.js app detected\n-----> Installing dependencies\n       npm error missing: left-pad@1.0.0\n !     npm ci failed\n",
      result: { exitCode: 1, reason: "failed to compile Node.js app: npm ci failed" },
    });
    await push(stage, "failed-build", NODE);
  }));

test("a push whose release command fails", () =>
  withStage(async (stage) => {
    stage.prints["release"] = ["> migrate", "error: relation users exists already"];
    stage.host.taskExit = 1;
    await push(stage, "failed-release", NODE);
  }));

test("a push whose processes never become healthy", () =>
  withStage(async (stage) => {
    const { control, host, prints } = stage;
    await control.admin.call(updateApp, { params: { app: "hello" }, body: { deployTimeoutMs: 2_000 } });
    prints["web"] = ["listening on 3000"];
    const report = host.report.bind(host);
    host.report = (more = {}) => {
      for (const { id } of host.target?.jobs ?? [])
        host.states.set(id, { state: "unhealthy", reason: "port 8080 does not answer" });
      return report(more);
    };
    await push(stage, "failed-health", { Procfile: "web: node server.js\n" });
  }));

test.run();
