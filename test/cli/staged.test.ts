// time limit: 120 s
// Staged deployments and services from outside, as people type them, against a real control.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { createRelease } from "#api/apps.ts";
import { listDeployments } from "#api/deployments.ts";
import { type HttpRoute, listRoutes } from "#api/routes.ts";
import { createService } from "#api/services.ts";
import { until } from "#lib/time.ts";
import { certificatePin } from "#lib/x509.ts";
import { saveCluster } from "../../cli/clusters/clusters.ts";
import { clustersFile } from "../../cli/clusters/clusters-file.ts";
import { rig } from "../control/rig.ts";
import { invoke } from "./invoke.ts";

const directory = await mkdtemp(join(tmpdir(), "flynn-staged-"));
const env = { FLYNN_HOME: join(directory, "home"), HOME: directory };
const control = await rig();
const flynn = (...argv: string[]) => invoke(argv, { env, cwd: directory });
const params = { app: "hello" };

test.before(async () => {
  const { url, caPem, token, admin } = control;
  await saveCluster(clustersFile(env), { name: "rig", url, pin: certificatePin(caPem), caPem, token });
  for (const host of [await control.host("h1"), await control.host("h2")]) host.start();
  await admin.call(createService, { body: { name: "hello", image: "hello:1", count: 3, domain: "hello.test" } });
  await until(
    async () => (await admin.call(listDeployments, { params })).items.every(({ state }) => state === "complete"),
    { what: "hello being deployed", timeoutMs: 20_000, everyMs: 50 },
  );
});
test.after(async () => {
  await control.close();
  await rm(directory, { recursive: true, force: true });
});

const shareOf = async () => ((await control.admin.call(listRoutes)).items[0] as HttpRoute).canary?.percent;

test("a canary: one job with 5 % of the requests, then 20 %, then all of it", async () => {
  await control.admin.call(createRelease, { params, body: { env: { A: "1" } } });
  const begun = await flynn("-a", "hello", "deployment", "create", "v2", "--canary", "5%");
  assert.is(begun.code, 0, begun.err);
  assert.match(begun.out, /^v2 of hello waits, paused: web: new 1 of 3; to go on: flynn -a hello deployment resume/);
  assert.is(await shareOf(), 5);
  const more = await flynn("route", "update", "hello.test", "--canary", "20%");
  assert.match(more.out, /canary 20%/, more.err);
  assert.match((await flynn("route", "list")).out, /canary 20% for v2/);
  const next = await flynn("-a", "hello", "deployment", "resume", "--pause-after", "2");
  assert.match(next.out, /new 2 of 3/, next.err);
  assert.is(await shareOf(), 20, "on the way to the next pause it stays");
  const done = await flynn("-a", "hello", "deployment", "resume");
  assert.is(done.out, "Deployed v2 of hello\n", done.err);
  assert.is(await shareOf(), undefined);
  const none = await flynn("-a", "hello", "deployment", "resume");
  assert.is(none.code, 5);
  assert.match(none.err, /no deployment of hello is under way/);
});

test("a deployment is paused and cancelled without its id", async () => {
  await control.admin.call(createRelease, { params, body: { env: { A: "2" } } });
  const begun = await flynn("-a", "hello", "deployment", "create", "v3", "--pause-after", "1", "--detach");
  assert.match(begun.out, /^Deploying v3 of hello/, begun.err);
  const paused = await flynn("-a", "hello", "deployment", "pause");
  assert.match(paused.out, /v3 pauses/, paused.err);
  const back = await flynn("-a", "hello", "deployment", "cancel");
  assert.match(back.out, /Cancelling the deployment of v3/, back.err);
});

test("a share or a number that is none is refused with an example", async () => {
  for (const [argv, words] of [
    [["deployment", "create", "v2", "--canary", "150%"], /--canary 5%/],
    [["deployment", "create", "v2", "--pause-after", "0"], /--pause-after 1/],
    [["route", "update", "hello.test", "--release", "v2"], /--canary 5% --release v7/],
  ] as const) {
    const { code, err } = await flynn("-a", "hello", ...argv);
    assert.is(code, 2);
    assert.match(err, words);
  }
});

test("a service from outside is added, listed, shown, opened to an app and removed", async () => {
  const added = await flynn("service", "add", "legacy-db", "10.20.0.5:5432", "--description", "the old one");
  assert.match(
    added.out,
    /legacy-db is at 10\.20\.0\.5:5432; let an app reach it: flynn network allow APP legacy-db/,
    added.err,
  );
  assert.match((await flynn("service", "list")).out, /legacy-db +\(outside\)/);
  assert.match(
    (await flynn("service", "show", "legacy-db")).out,
    /runs outside of the cluster[\s\S]*10\.20\.0\.5:5432/,
  );
  const allowed = await flynn("network", "allow", "hello", "legacy-db", "--detach");
  assert.is(allowed.out, "Jobs of hello may open connections to legacy-db.\n", allowed.err);
  assert.match((await flynn("service", "update", "legacy-db", "10.20.0.6:5432")).out, /10\.20\.0\.6/);
  const removed = await flynn("service", "remove", "legacy-db");
  assert.is(removed.out, "Service legacy-db removed.\n", removed.err);
  assert.match((await flynn("service", "add", "db", "10.20.0.5")).err, /such as 10\.20\.0\.5:5432/);
});

test.run();
