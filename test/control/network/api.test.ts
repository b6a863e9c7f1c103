// Rules and reach through the real API, with hosts that follow their targets and report what they enforce.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { createApp, deleteApp, updateEnv } from "#api/apps.ts";
import { listDeployments } from "#api/deployments.ts";
import { type Fault, isFault } from "#api/fault.ts";
import { listJobs } from "#api/jobs.ts";
import * as network from "#api/network.ts";
import type { Reach } from "#api/reach.ts";
import { reportRouter } from "#api/router-agents.ts";
import { createService } from "#api/services.ts";
import { listEvents } from "#api/status.ts";
import { until } from "#lib/time.ts";
import { keys, PREFIX } from "../../../control/keys.ts";
import { type FakeHost, type Rig, withRig } from "../rig.ts";
import { surplus } from "../surplus.ts";

const WAIT = { timeoutMs: 10_000 };
const quiet = { loops: false };

const refusal = (asked: Promise<unknown>): Promise<Fault> =>
  asked.then(
    () => assert.unreachable("was not refused"),
    (error: unknown) => (isFault(error) ? error : assert.unreachable(String(error))),
  ) as Promise<Fault>;

const allow = (rig: Rig, from: string, to: string) =>
  rig.admin.call(network.createNetworkRule, { body: { from: { name: from }, to: { name: to } } });

async function apps(rig: Rig, ...names: string[]): Promise<string[]> {
  const made = [];
  for (const name of names) made.push((await rig.admin.call(createApp, { body: { name } })).id);
  return made;
}

/** A service with one job that is up; gives the app's id and the job's address. */
async function service(rig: Rig, name: string): Promise<{ appId: string; address: string; hostId: string }> {
  await rig.admin.call(createService, { body: { name, image: "x", count: 1 } });
  const job = await until(
    async () => (await rig.admin.call(listJobs, { params: { app: name } })).items.find(({ state }) => state === "up"),
    { what: `a job of ${name}`, ...WAIT },
  );
  return { appId: job.appId, address: job.address!, hostId: job.hostId! };
}

const seen = (host: FakeHost, what: string, holds: (reach: Reach) => boolean) =>
  until(() => (host.target?.reach && holds(host.target.reach) ? host.target.reach : undefined), { what, ...WAIT });
const names = (reach: Reach) => reach.apps.map(({ appId }) => appId).sort();

test("a rule reaches the hosts of both apps at once, its removal too, and no other host hears of it", () =>
  withRig(async (rig) => {
    const fleet = [await rig.host(), await rig.host(), await rig.host()];
    for (const host of fleet) host.start();
    const [blog, db] = [await service(rig, "blog"), await service(rig, "db")];
    assert.is.not(blog.hostId, db.hostId);
    const of = (hostId: string) => fleet.find(({ id }) => id === hostId)!;
    const [sender, receiver] = [of(blog.hostId), of(db.hostId)];
    const other = fleet.find((host) => host !== sender && host !== receiver)!;
    assert.equal(names(await seen(sender, "its own app", ({ apps }) => apps[0]?.addresses.length === 1)), [blog.appId]);
    await seen(other, "no app", ({ apps }) => apps.length === 0);
    const { version } = other.target!.reach!;

    const rule = await allow(rig, "blog", "db");
    assert.equal([rule.from.name, rule.to.name, rule.to.kind], ["blog", "db", "app"]);
    for (const host of [sender, receiver]) {
      const reach = await seen(host, "the rule", ({ apps }) => apps.length === 2);
      assert.ok(reach.version >= rule.version);
      assert.equal(
        reach.apps,
        [
          { appId: blog.appId, addresses: [blog.address], to: [db.appId] },
          { appId: db.appId, addresses: [db.address], to: [] },
        ].sort((a, b) => (a.appId < b.appId ? -1 : 1)),
      );
    }
    const removed = await rig.admin.call(network.deleteNetworkRule, { params: { id: rule.id } });
    for (const [host, appId] of [[sender, blog.appId] as const, [receiver, db.appId] as const]) {
      const reach = await seen(host, "the rule's end", ({ apps }) => apps.length === 1);
      assert.ok(reach.version >= removed.version);
      assert.equal(names(reach), [appId]);
      assert.equal(reach.apps[0]!.to, []);
    }
    assert.is(other.target!.reach!.version, version);
  }));

test("what a host enforces is shown beside what it should, and one too old to say so is shown as such", () =>
  withRig(async (rig) => {
    const [current, behind, old, silent] = [await rig.host(), await rig.host(), await rig.host(), await rig.host()];
    behind.enforced = () => 0;
    old.enforced = () => undefined;
    for (const host of [current, behind, old]) host.start();
    const states = async () =>
      (await rig.admin.call(network.listNetworkHosts)).items.map(({ name, state }) => `${name} ${state}`).sort();
    const wanted = ["h1 current", "h2 behind", "h3 unsupported", "h4 silent"];
    await until(async () => JSON.stringify(await states()) === JSON.stringify(wanted), { what: "the states", ...WAIT });
    assert.is(silent.target, undefined);
  }));

test("an old job stays until the hosts that its app may be reached from have taken in the new one", () =>
  withRig(async (rig) => {
    const fleet = [await rig.host(), await rig.host()];
    for (const host of fleet) host.start();
    const [blog, db] = [await service(rig, "blog"), await service(rig, "db")];
    await allow(rig, "blog", "db");
    const receiver = fleet.find(({ id }) => id === db.hostId)!;
    const version = (await seen(receiver, "the rule", ({ apps }) => apps.length === 2)).version;
    receiver.enforced = () => version;
    await rig.admin.call(updateEnv, { params: { app: "blog" }, body: { env: { A: "1" } } });
    const deployment = async () => (await rig.admin.call(listDeployments, { params: { app: "blog" } })).items[0]!;
    await until(async () => /the network takes in the new jobs/.test((await deployment()).step), {
      what: "the wait",
      ...WAIT,
    });
    const jobs = (await rig.admin.call(listJobs, { params: { app: "blog" } })).items;
    assert.is(jobs.find(({ address }) => address === blog.address)?.desired, "run");
    receiver.enforced = () => receiver.target?.reach?.version;
    await until(async () => (await deployment()).state === "complete", { what: "the deployment", ...WAIT });
  }));

test("after a restart of control a host's version goes on from where it was", () =>
  withRig(async (rig) => {
    const host = await rig.host();
    host.start();
    const { appId } = await service(rig, "blog");
    const { version } = await seen(host, "its app", ({ apps }) => apps[0]?.addresses.length === 1);
    const { term } = host.target!;
    await host.stop();
    await rig.restart();
    host.start();
    await until(() => host.target!.term > term, { what: "the new term", ...WAIT });
    assert.ok(host.target!.reach!.version >= version);
    assert.equal(names(host.target!.reach!), [appId]);
  }));

test("the same pair again is answered with the rule there is; who asks twice at once gets one rule", () =>
  withRig(async (rig) => {
    await apps(rig, "blog", "db");
    const rule = await allow(rig, "blog", "db");
    assert.equal(await allow(rig, "blog", "db"), rule);
    const both = await Promise.all([allow(rig, "db", "blog"), allow(rig, "db", "blog")]);
    assert.is(both[0].id, both[1].id);
    assert.is((await rig.admin.call(network.listNetworkRules)).items.length, 2);
  }, quiet));

test("a rule names two apps that are there, and an app reaches itself without one", () =>
  withRig(async (rig) => {
    await apps(rig, "blog", "db");
    for (const [from, to] of [
      ["blog", "nosuch"],
      ["nosuch", "db"],
    ] as const) {
      const { code, message } = await refusal(allow(rig, from, to));
      assert.is(`${code}: ${message}`, "not-found: no app nosuch");
    }
    const own = await refusal(allow(rig, "blog", "blog"));
    assert.is(own.code, "invalid");
    assert.match(own.message, /blog reaches its own jobs without a rule/);
    assert.is((await refusal(rig.admin.call(network.getNetworkRule, { params: { id: "rule-x" } }))).code, "not-found");
    assert.is((await refusal(rig.admin.call(network.deleteNetworkRule, { params: { id: "x" } }))).code, "not-found");
  }, quiet));

test("a deleted app takes its rules along, and a new app of that name has none", () =>
  withRig(async (rig) => {
    await apps(rig, "blog", "db", "mail");
    await allow(rig, "blog", "db");
    await allow(rig, "mail", "blog");
    await allow(rig, "mail", "db");
    const about = await rig.admin.call(network.listNetworkRules, { query: { app: "blog" } });
    assert.equal(about.items.map(({ from, to }) => `${from.name} ${to.name}`).sort(), ["blog db", "mail blog"]);
    await rig.admin.call(deleteApp, { params: { app: "blog" } });
    await apps(rig, "blog");
    const left = (await rig.admin.call(network.listNetworkRules)).items;
    assert.equal(
      left.map(({ from, to }) => `${from.name} ${to.name}`),
      ["mail db"],
    );
    assert.is(rig.store.count(PREFIX.networkPairs), 1);
  }, quiet));

test("who opened and closed what stands among the events", () =>
  withRig(async (rig) => {
    await apps(rig, "blog", "db");
    const { id } = await allow(rig, "blog", "db");
    await rig.admin.call(network.deleteNetworkRule, { params: { id } });
    const { items } = await rig.admin.call(listEvents, { query: { type: "network-rule" } });
    assert.equal(
      items.reverse().map(({ type, app, message }) => `${type} ${app}: ${message}`),
      [
        "network-rule.created db: jobs of blog may open connections to jobs of db",
        "network-rule.removed db: jobs of blog may no longer open connections to jobs of db",
      ],
    );
    assert.ok(items.every(({ actor }) => actor !== ""));
  }, quiet));

test("a rule whose app is not there any more is collected", () =>
  withRig(async (rig) => {
    const [blog] = await apps(rig, "blog", "db");
    const { id } = await allow(rig, "blog", "db");
    assert.equal(surplus(rig.store, Date.now()), []);
    await rig.store.commit({ actor: "test", mutations: [{ key: keys.app(blog!), value: null }] });
    const gone = surplus(rig.store, Date.now()).map(({ key }) => key);
    assert.equal(gone, [
      keys.networkRule(id),
      keys.networkPair(blog!, rig.store.get<string>(keys.appName("db"))!.value),
    ]);
  }, quiet));

test("where routers are is kept over a restart of control, so that hosts go on letting them in", () =>
  withRig(async (rig) => {
    const host = await rig.host();
    host.start();
    const router = await rig.router();
    await seen(host, "a reach", ({ routers }) => routers.length === 1);
    await router.stop();
    await router.client.call(reportRouter, {
      params: { id: router.id },
      body: {
        ...{ term: rig.store.term, generation: 0, healthy: true, reason: "", reloads: 0, refused: [], draining: [] },
        ...{ address: "10.1.0.200", ports: [8080] },
      },
    });
    const open = { address: "10.1.0.200", ports: ["3000-3500", "8080"] };
    await seen(host, "the router", (reach) => reach.routers.includes("10.1.0.200"));
    await host.stop();
    await rig.restart();
    const settings = await rig.admin.call(network.getNetwork);
    assert.ok(settings.routers.includes("10.1.0.200"));
    assert.equal(
      settings.open.find(({ address }) => address === open.address),
      open,
    );
    assert.ok(settings.closed.includes("10.1.0.200/32"));
  }));

test("the cluster's settings are what control was started with", () =>
  withRig(
    async (rig) => {
      const { appNetwork, egress, closed } = await rig.admin.call(network.getNetwork);
      assert.equal([appNetwork, egress], ["cluster", "none"]);
      assert.ok(closed.includes("10.20.0.0/16"));
    },
    { ...quiet, appNetwork: "cluster", appEgress: "none", closedNetworks: ["10.20.0.0/16"] },
  ));

test.run();
