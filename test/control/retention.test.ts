// What is kept and what goes: the last ten releases and all that is in use; images of what went leave the registry, once nothing
// speaks of them, and a busy registry is asked again.
import { test } from "uvu";
import * as assert from "uvu/assert";
import * as apps from "#api/apps.ts";
import type { Artifact } from "#api/artifacts.ts";
import { rollbackApp } from "#api/deployments.ts";
import type { Fault } from "#api/fault.ts";
import { type Log, silentLog } from "#lib/log.ts";
import { until } from "#lib/time.ts";
import { releasesOf } from "../../control/apps/find.ts";
import { type DeadImage, imageSweeper } from "../../control/image-sweep.ts";
import { keys, PREFIX } from "../../control/keys.ts";
import { retentionLoop, trimEvents } from "../../control/retention.ts";
import type { Store } from "../../control/store/store.ts";
import { surplusPortions } from "../../control/surplus.ts";
import { type Rig, withRig } from "./rig.ts";
import { surplus } from "./surplus.ts";

const quiet = { loops: false };
const HOUR_MS = 3_600_000;
const digestOf = (n: number): string => `sha256:${String(n).padStart(64, "0")}`;
const artifact = (id: string, appId: string, n: number): Artifact => ({
  id,
  appId,
  repository: `apps/${appId}`,
  digest: digestOf(n),
  source: "x",
  sizeBytes: 1,
  architecture: "amd64",
  createdAt: new Date().toISOString(),
});

/** An app with releases v1 to v13, each of an artifact of its own; v2 is the current one. */
async function thirteen(rig: Rig): Promise<{ app: apps.App; ids: string[] }> {
  const app = await rig.admin.call(apps.createApp, { body: { name: "hello" } });
  const ids: string[] = [];
  for (let n = 1; n <= 13; n++) {
    const made = artifact(`artifact-${n}`, app.id, n);
    await rig.store.commit({ actor: "test", mutations: [{ key: keys.artifact(made.id), value: made }] });
    ids.push((await rig.admin.call(apps.createRelease, { params: { app: app.id }, body: { artifactId: made.id } })).id);
  }
  await rig.store.commit({
    actor: "test",
    mutations: [{ key: keys.app(app.id), value: { ...app, releaseId: ids[1] } }],
  });
  return { app, ids };
}
const turn = (rig: Rig, atMs = Date.now()) => rig.store.commit({ actor: "test", mutations: surplus(rig.store, atMs) });
const dead = (rig: Rig) => rig.store.list<DeadImage>(PREFIX.deadImages).map(({ value }) => value.digest);

test("the last ten stay and the one that runs; the list says which go next, and a rollback to one that went says so", () =>
  withRig(async (rig) => {
    const { app } = await thirteen(rig);
    const params = { app: app.id };
    const { items } = await rig.admin.call(apps.listReleases, { params });
    const marked = items.filter(({ collectable }) => collectable).map(({ version }) => version);
    assert.equal(marked, [3, 1]);
    await turn(rig);
    assert.equal(
      releasesOf(rig.store, app.id).map(({ version }) => version),
      [2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13],
    );
    assert.equal(dead(rig).sort(), [digestOf(1), digestOf(3)]);
    assert.is(rig.store.get(keys.artifact("artifact-3")), undefined);
    assert.ok(rig.store.get(keys.artifact("artifact-2")));
    const back = async (release: string) =>
      await rig.admin.call(rollbackApp, { params, body: { release } }).then(
        () => "taken",
        (error: Fault) => `${error.code}: ${error.message}`,
      );
    assert.match(await back("v3"), /^gone: v3 was collected: the last 10 releases are kept.*there are v2, v4/);
    assert.match(await back("v99"), /^not-found: no release v99/);
    const left = await rig.admin.call(apps.listReleases, { params });
    assert.ok(left.items.every(({ collectable }) => collectable === undefined));
    assert.equal(surplus(rig.store, Date.now()), []);
  }, quiet));

test("a release with a formation, a deployment to come or a job is kept; so is an artifact that builds are made on", () =>
  withRig(async (rig) => {
    const { app, ids } = await thirteen(rig);
    const now = new Date().toISOString();
    const value = rig.store.get<apps.App>(keys.app(app.id))!.value;
    await rig.store.commit({
      actor: "test",
      mutations: [
        { key: keys.app(app.id), value: { ...value, build: { builder: "artifact-3" } } },
        { key: keys.formation(app.id, ids[0]!), value: { appId: app.id, releaseId: ids[0], processes: {} } },
      ],
    });
    await turn(rig);
    assert.equal(
      releasesOf(rig.store, app.id)
        .slice(0, 3)
        .map(({ version }) => version),
      [1, 2, 4],
    );
    assert.ok(rig.store.get(keys.artifact("artifact-3")), `kept as a builder at ${now}`);
    assert.equal(dead(rig), []);
  }, quiet));

/** Writes records as they are. */
const put = (rig: Rig, records: Record<string, object>) =>
  rig.store.commit({
    actor: "test",
    mutations: Object.entries(records).map(([key, value]) => ({ key, value })),
  });
const goes = (rig: Rig, atMs = Date.now()) =>
  surplus(rig.store, atMs)
    .filter(({ value }) => value === null)
    .map(({ key }) => key)
    .sort();

test("a release that a job still runs, or a deployment is to bring, is kept; one of an ended job or deployment is not", () =>
  withRig(async (rig) => {
    const { app, ids } = await thirteen(rig);
    const release = (n: number) => keys.release(app.id, ids[n - 1]!);
    const job = (id: string, n: number, state: string) => ({ id, appId: app.id, releaseId: ids[n - 1], state });
    const deployment = (id: string, state: string) => ({
      [keys.deployment(app.id, id)]: { id, appId: app.id, toReleaseId: ids[2], state, createdAt: "", toVersion: 3 },
    });
    await put(rig, {
      [keys.job(app.id, "live")]: job("live", 1, "stopping"),
      [keys.job(app.id, "over")]: job("over", 3, "down"),
      ...deployment("old", "complete"),
    });
    assert.equal(goes(rig), [keys.artifact("artifact-3"), release(3)]);
    await put(rig, deployment("new", "pending"));
    assert.equal(goes(rig), []);
    for (const state of ["failed", "cancelled"]) {
      await put(rig, deployment("new", state));
      assert.equal(goes(rig), [keys.artifact("artifact-3"), release(3)], state);
    }
    await put(rig, { [keys.job(app.id, "over")]: job("over", 3, "lost") });
    assert.ok(goes(rig).includes(release(3)));
  }, quiet));

test("an image that a kept release uses as well, or builds are made on, stays when another release of it goes", () =>
  withRig(async (rig) => {
    const { app, ids } = await thirteen(rig);
    const params = { app: app.id };
    await rig.admin.call(apps.createRelease, { params, body: { artifactId: "artifact-1" } });
    assert.equal(goes(rig), [
      keys.artifact("artifact-3"),
      keys.artifact("artifact-4"),
      ...[0, 2, 3].map((n) => keys.release(app.id, ids[n]!)).sort(),
    ]);
    const now = rig.store.get<apps.App>(keys.app(app.id))!.value;
    await put(rig, { [keys.app(app.id)]: { ...now, build: { runImage: "artifact-4" } } });
    assert.not(goes(rig).includes(keys.artifact("artifact-4")));
  }, quiet));

test("join tokens and spent grants go when they are over, and not a moment before", () =>
  withRig(async (rig) => {
    const atMs = Date.parse("2026-01-01T00:00:00.000Z");
    const over = (ms: number) => ({ expiresAt: new Date(atMs + ms).toISOString() });
    await put(rig, {
      [keys.joinToken("valid")]: over(0),
      [keys.joinToken("expired")]: over(-1),
      [keys.usedGrant("valid")]: over(60_000),
      [keys.usedGrant("expired")]: over(-60_000),
    });
    assert.equal(goes(rig, atMs), [keys.joinToken("expired"), keys.usedGrant("expired")]);
  }, quiet));

test("the last thirty ended deployments and fifty ended builds stay, and whatever has not ended", () =>
  withRig(async (rig) => {
    const app = await rig.admin.call(apps.createApp, { body: { name: "hello" } });
    const named = (letter: string, n: number) => `${letter}${String(n).padStart(2, "0")}`;
    const records: Record<string, object> = {};
    for (let n = 0; n < 53; n++) {
      const [d, b, createdAt] = [named("d", n), named("b", n), new Date(n).toISOString()];
      const state = n === 0;
      if (n < 33)
        records[keys.deployment(app.id, d)] = { id: d, state: state ? "running" : "failed", createdAt, toVersion: 1 };
      records[keys.build(app.id, b)] = { id: b, appId: app.id, number: n, state: state ? "building" : "succeeded" };
      records[keys.buildPlan(app.id, b)] = { settings: {} };
    }
    await put(rig, records);
    const old = (letter: string) => [1, 2].map((n) => named(letter, n));
    assert.equal(
      goes(rig),
      [
        ...old("d").map((id) => keys.deployment(app.id, id)),
        ...old("b").flatMap((id) => [keys.build(app.id, id), keys.buildPlan(app.id, id)]),
      ].sort(),
    );
  }, quiet));

test("an upload that no release took up stays a day; one that a release uses stays", () =>
  withRig(async (rig) => {
    const app = await rig.admin.call(apps.createApp, { body: { name: "hello" } });
    const [unused, used] = [artifact("artifact-1", app.id, 1), artifact("artifact-2", app.id, 2)];
    await put(rig, { [keys.artifact(unused.id)]: unused, [keys.artifact(used.id)]: used });
    await rig.admin.call(apps.createRelease, { params: { app: app.id }, body: { artifactId: used.id } });
    const madeMs = Date.parse(unused.createdAt);
    assert.equal(goes(rig, madeMs + 24 * HOUR_MS), []);
    assert.equal(goes(rig, madeMs + 24 * HOUR_MS + 1), [keys.artifact(unused.id)]);
  }, quiet));

test("a deleted app goes with all that is its own once its last job ended, and nothing of another app with it", () =>
  withRig(async (rig) => {
    const { app } = await thirteen(rig);
    const other = await rig.admin.call(apps.createApp, { body: { name: "other" } });
    const now = rig.store.get<apps.App>(keys.app(app.id))!.value;
    const records = (id: string) => ({
      [keys.job(id, "j1")]: { id: "j1", appId: id, state: "stopping" },
      [keys.build(id, "b1")]: { id: "b1", appId: id, number: 1, state: "failed" },
      [keys.buildPlan(id, "b1")]: { settings: {} },
      [keys.taskEnv(id, "j1")]: {},
    });
    await put(rig, { ...records(app.id), ...records(other.id), [keys.app(app.id)]: { ...now, deleting: true } });
    const its = () => goes(rig).filter((key) => key.includes(app.id) || key.startsWith(PREFIX.artifacts));
    assert.equal(its(), [], "a job of it still runs");
    await put(rig, { [keys.job(app.id, "j1")]: { id: "j1", appId: app.id, state: "down" } });
    const gone = goes(rig);
    assert.ok(gone.includes(keys.app(app.id)));
    assert.is(gone.filter((key) => key.startsWith(keys.releasesOf(app.id))).length, 13);
    assert.is(gone.filter((key) => key.startsWith(PREFIX.artifacts)).length, 13);
    for (const key of Object.keys(records(app.id))) assert.ok(gone.includes(key), key);
    assert.not(gone.some((key) => key.includes(other.id)));
    assert.is(dead(rig).length, 0);
    await turn(rig);
    assert.is(dead(rig).length, 13, "its images leave the registry");
    assert.equal(surplus(rig.store, Date.now()), []);
  }, quiet));

test("what a one-off job was given is forgotten when it is over", () =>
  withRig(async (rig) => {
    const app = await rig.admin.call(apps.createApp, { body: { name: "hello" } });
    const job = (id: string, state: string) => ({
      [keys.taskEnv(app.id, id)]: {},
      [keys.job(app.id, id)]: { id, appId: app.id, state },
    });
    await put(rig, { ...job("runs", "up"), ...job("over", "down"), [keys.taskEnv(app.id, "gone")]: {} });
    assert.equal(goes(rig), [keys.taskEnv(app.id, "gone"), keys.taskEnv(app.id, "over")]);
  }, quiet));

test("a builder that only project.toml named stays while the app's newest build was made by it", () =>
  withRig(async (rig) => {
    const app = await rig.admin.call(apps.createApp, { body: { name: "hello" } });
    const createdAt = new Date(Date.now() - 48 * HOUR_MS).toISOString();
    const old = [1, 2, 3].map((n) => ({ ...artifact(`artifact-${n}`, app.id, n), createdAt }));
    const build = (number: number) => [
      { key: keys.build(app.id, `b${number}`), value: { id: `b${number}`, appId: app.id, number, state: "failed" } },
      { key: keys.buildPlan(app.id, `b${number}`), value: { settings: { builder: `artifact-${number}` } } },
    ];
    const kept = old.map((value) => ({ key: keys.artifact(value.id), value }));
    await rig.store.commit({ actor: "test", mutations: [...kept, ...build(1), ...build(2)] });
    await turn(rig);
    const left = old.filter(({ id }) => rig.store.get(keys.artifact(id)) !== undefined);
    assert.equal(
      left.map(({ id }) => id),
      ["artifact-2"],
    );
  }, quiet));

test("an image leaves the registry an hour later, unless another artifact speaks of it; a busy registry is asked again", () =>
  withRig(async (rig) => {
    const { app } = await thirteen(rig);
    await turn(rig);
    const copy = { ...artifact("artifact-copy", "app-other", 3), repository: `apps/${app.id}` };
    await rig.store.commit({ actor: "test", mutations: [{ key: keys.artifact(copy.id), value: copy }] });
    const asked: string[] = [];
    let busy = true;
    let collected = 0;
    let nowMs = Date.now();
    const sweeper = imageSweeper({
      store: rig.store,
      log: silentLog(),
      now: () => nowMs,
      images: {
        remove: async (repository, digest) => {
          asked.push(`${repository} ${digest}`);
          return !busy;
        },
        collect: async () => {
          collected++;
          return true;
        },
      },
    });
    const { signal } = new AbortController();
    await sweeper.sweep(signal);
    assert.equal([asked, collected], [[], 0], "not at once");
    nowMs += HOUR_MS + 1_000;
    await sweeper.sweep(signal);
    assert.equal(asked, [`apps/${app.id} ${digestOf(1)}`], "the one that is used elsewhere is not asked for");
    assert.equal([dead(rig), collected], [[digestOf(1)], 0]);
    busy = false;
    await sweeper.sweep(signal);
    assert.equal([dead(rig), collected, asked.length], [[], 1, 2]);
    await sweeper.sweep(signal);
    assert.is(collected, 1, "layers are collected when images went, not at every turn");
  }, quiet));

test("every turn of the loop deletes what is over and lets images go, and a turn that fails is not the last", () =>
  withRig(async (rig) => {
    const stop = new AbortController();
    let sweeps = 0;
    const sweep = async () => {
      if (++sweeps === 1) throw new Error("the registry is down");
    };
    await put(rig, { [keys.joinToken("expired")]: { expiresAt: "2020-01-01T00:00:00.000Z" } });
    const options = { log: silentLog(), signal: stop.signal, images: { sweep }, everyMs: 5 };
    const { seq } = rig.store;
    const running = retentionLoop(rig.store, options);
    await until(() => sweeps > 2, { what: "a third turn", timeoutMs: 30_000, everyMs: 5 });
    assert.is(rig.store.get(keys.joinToken("expired")), undefined);
    stop.abort();
    await running;
    assert.is(rig.store.seq, seq + 1, "a turn with nothing to forget writes nothing");
  }, quiet));

test("what the store refuses to forget is told of, and tried again", () =>
  withRig(async (rig) => {
    const stop = new AbortController();
    await put(rig, { [keys.joinToken("expired")]: { expiresAt: "2020-01-01T00:00:00.000Z" } });
    const told: unknown[] = [];
    const log = { ...silentLog(), warn: ({ what }: { what?: unknown }) => void told.push(what) } as unknown as Log;
    let refusals = 0;
    const commit = () => {
      refusals++;
      return Promise.reject(new Error("the disk is full"));
    };
    const store = Object.create(rig.store, { commit: { value: commit } }) as Store;
    const options = { log, signal: stop.signal, images: { sweep: async () => {} }, everyMs: 5 };
    const running = retentionLoop(store, options);
    await until(() => refusals > 1, { what: "a second turn", timeoutMs: 30_000, everyMs: 5 });
    stop.abort();
    await running;
    assert.equal(told, Array(refusals).fill("records"));
  }, quiet));

test("a registry that fails loses nothing: the names wait", () =>
  withRig(async (rig) => {
    await thirteen(rig);
    await turn(rig);
    const sweeper = imageSweeper({
      store: rig.store,
      log: silentLog(),
      now: () => Date.now() + 2 * HOUR_MS,
      images: { remove: () => Promise.reject(new Error("down")), collect: async () => true },
    });
    await sweeper.sweep(new AbortController().signal);
    assert.is(dead(rig).length, 2);
  }, quiet));

test("the release to roll back to, and what tells of it, survive any number of failed ones", () =>
  withRig(async (rig) => {
    const { app, ids } = await thirteen(rig);
    const put13 = async (id: string, order: number, over: object) => {
      const value = { id, appId: app.id, toReleaseId: ids[1], toVersion: 2, order, createdAt: "", ...over };
      await put(rig, { [keys.deployment(app.id, id)]: value });
    };
    await put13("first", 1, { state: "complete", toReleaseId: ids[0], toVersion: 1 });
    await put13("second", 2, { state: "complete", fromReleaseId: ids[0] });
    for (let n = 0; n < 45; n++)
      await put13(`failed-${n}`, 3 + n, {
        state: "failed",
        fromReleaseId: ids[1],
        toReleaseId: ids[12],
        toVersion: 13,
      });
    await turn(rig);
    const kept = rig.store.list<{ id: string }>(keys.deploymentsOf(app.id)).map(({ value }) => value.id);
    assert.is(kept.length, 31);
    assert.ok(kept.includes("second") && !kept.includes("first"));
    assert.equal(
      releasesOf(rig.store, app.id)
        .slice(0, 2)
        .map(({ version }) => version),
      [1, 2],
    );
    const back = await rig.admin.call(rollbackApp, { params: { app: app.id }, body: {} });
    assert.is(back.toVersion, 1);
  }, quiet));

test("a record that cannot be judged keeps nothing else from going", () =>
  withRig(async (rig) => {
    await thirteen(rig);
    const bad = await rig.admin.call(apps.createApp, { body: { name: "bad" } });
    await put(rig, {
      [keys.networkRule("broken")]: { id: "broken" },
      [`${keys.buildsOf(bad.id)}b`]: { id: "b", state: 7 },
      [keys.release(bad.id, "r")]: { id: "r" },
    });
    await rig.store.commit({ actor: "test", mutations: [{ key: keys.deployment(bad.id, "d"), value: "text" }] });
    const failed: string[] = [];
    const gone = surplus(rig.store, Date.now(), (_, what) => failed.push(what));
    assert.ok(
      gone.some(({ key }) => key.startsWith(PREFIX.releases)),
      "the other app's releases go",
    );
    assert.ok(failed.includes(keys.networkRule("broken")));
  }, quiet));

test("events are trimmed as fast as they come", () =>
  withRig(async (rig) => {
    const stop = new AbortController();
    for (let n = 0; n < 30_000; n += 1_000) {
      const mutations = Array.from({ length: 1_000 }, (_, at) => ({ key: keys.event(n + at), value: { seq: n + at } }));
      await rig.store.commit({ actor: "test", mutations });
    }
    const once = new AbortController();
    const commit = () => {
      once.abort();
      return Promise.reject(new Error("the disk is full"));
    };
    const refusing = Object.create(rig.store, { commit: { value: commit } }) as Store;
    const refused = await trimEvents(refusing, once.signal).catch((error: Error) => error.message);
    assert.is(refused, "the disk is full", "what the store refuses is told to whoever asked");
    await trimEvents(rig.store, stop.signal);
    assert.is(rig.store.count(PREFIX.events), 10_000);
    assert.ok(rig.store.get(keys.event(29_999)));
  }, quiet));

test("with thousands of apps the look has turns for others in it, and what is used meanwhile stays", () =>
  withRig(async (rig) => {
    const apps = Array.from({ length: 50 }, (_, n) => ({ id: `app-${n}`, name: `app-${n}`, deleting: true }));
    await rig.store.commit({
      actor: "test",
      mutations: apps.map((app) => ({ key: keys.app(app.id), value: app })),
    });
    const looking = surplusPortions(rig.store, Date.now(), undefined, 0);
    const portions: string[][] = [];
    for (const portion of looking) {
      portions.push(portion.map(({ key }) => key));
      // Somebody makes an app of the same name again before its turn comes.
      const used = { key: keys.app("app-49"), value: { id: "app-49", name: "app-49" } };
      if (portions.length === 1) await rig.store.commit({ actor: "test", mutations: [used] });
    }
    assert.ok(portions.length > 50, `${portions.length} portions`);
    assert.equal(new Set(portions.flat()), new Set(apps.slice(0, 49).map(({ id }) => keys.app(id))));
  }));

test.run();
