// What is kept and what goes: the last ten releases and all that is in use; images of what went leave the registry, once nothing
// speaks of them, and a busy registry is asked again.
import { test } from "uvu";
import * as assert from "uvu/assert";
import * as apps from "#api/apps.ts";
import type { Artifact } from "#api/artifacts.ts";
import { rollbackApp } from "#api/deployments.ts";
import type { Fault } from "#api/fault.ts";
import { silentLog } from "#lib/log.ts";
import { releasesOf } from "../../control/apps/find.ts";
import { type DeadImage, imageSweeper } from "../../control/image-sweep.ts";
import { keys, PREFIX } from "../../control/keys.ts";
import { surplus } from "../../control/retention.ts";
import { type Rig, withRig } from "./rig.ts";

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

test.run();
