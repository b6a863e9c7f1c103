// Changes by two people at once, against a whole control: neither loses what is theirs.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { createRelease, getApp, getFormation, listReleases, updateApp, updateEnv } from "#api/apps.ts";
import type { Profile } from "#api/boot.ts";
import type { Client } from "#api/client.ts";
import { listDeployments } from "#api/deployments.ts";
import { isFault } from "#api/fault.ts";
import { DEFAULT_HEALTH } from "#api/jobs.ts";
import { createService } from "#api/services.ts";
import { until } from "#lib/time.ts";
import { changeApp, changeProfile } from "../../../cli/apps/change-app.ts";
import { withRig } from "../../control/rig.ts";

const params = { app: "hello" };
const refusal = (promise: Promise<unknown>) =>
  promise.then(
    () => undefined,
    (error: unknown) => error,
  );

/** The app with its first deployment over: control itself writes the app when it ends. */
async function deployed(admin: Client): Promise<void> {
  await admin.call(createService, { body: { name: "hello", image: "x", count: 0 } });
  const over = async () =>
    (await admin.call(listDeployments, { params })).items.every(({ state }) => state === "complete");
  await until(over, { what: "the end of the deployment", timeoutMs: 20_000, everyMs: 20 });
}

test("a change made between reading and writing is kept, and both hold", () =>
  withRig(async ({ admin }) => {
    await deployed(admin);
    const { signal } = new AbortController();
    const seen: unknown[] = [];
    const changed = await changeApp(admin, { ...params, signal }, (before) => {
      seen.push(before.build);
      return { build: { ...before.build, target: "web" } };
    });
    assert.equal([seen, changed.build], [[undefined], { target: "web" }], "alone it is made once");

    const asked: Promise<unknown>[] = [];
    const slow: typeof admin.read = async (endpoint, input) => {
      const found = await admin.read(endpoint, input);
      // Another person, before this one has written.
      if (asked.length === 0)
        asked.push(admin.call(updateApp, { params, body: { build: { target: "web", kind: "cnb" } } }));
      await asked[0];
      return found;
    };
    const both = await changeApp({ call: admin.call, read: slow }, { ...params, signal }, ({ build }) => ({
      build: { ...build, dockerfile: "deploy/Dockerfile" },
    }));
    assert.equal(both.build, { target: "web", kind: "cnb", dockerfile: "deploy/Dockerfile" });
  }));

test("two people change different parts of a profile at once, and both hold: nobody puts secrets back on disks unknowingly", () =>
  withRig(async ({ admin }) => {
    const { signal } = new AbortController();
    const wish = { name: "default", signal };
    let asked: Promise<unknown> | undefined;
    const slow: typeof admin.read = async (endpoint, input) => {
      const found = await admin.read(endpoint, input);
      asked ??= changeProfile(admin, wish, (before) => ({ ...before, secrets: "ram" }));
      await asked;
      return found;
    };
    const { profile: both } = await changeProfile({ call: admin.call, read: slow }, wish, (before) => ({
      ...before,
      tags: { ...before.tags, zone: "a" },
    }));
    assert.equal([both.secrets, both.tags], ["ram", { zone: "a" }]);
    const change = (before: Profile): Profile => ({ ...before, secrets: "ram" });
    const { profile: stored, made } = await changeProfile(admin, { ...wish, name: "storage" }, change);
    assert.equal([stored.name, stored.diskPolicy.mode, stored.secrets, made], ["storage", "ram", "ram", true]);
  }));

test("one who is overtaken twice is told, and has changed nothing", () =>
  withRig(async ({ admin }) => {
    await deployed(admin);
    let batchSize = 1;
    const slow: typeof admin.read = async (endpoint, input) => {
      const found = await admin.read(endpoint, input);
      await admin.call(updateApp, { params, body: { batchSize: ++batchSize } });
      return found;
    };
    const { signal } = new AbortController();
    const change = () => ({ build: { target: "web" } });
    const error = await refusal(changeApp({ call: admin.call, read: slow }, { ...params, signal }, change));
    assert.ok(isFault(error, "precondition"));
    assert.match((error as Error).message, /hello is being changed by somebody else; nothing of this was done/);
    const app = await admin.call(getApp, { params });
    assert.equal([app.build, app.batchSize], [undefined, 3]);
  }));

test("a release made on another than the app is headed for is refused, and is not made", () =>
  withRig(async ({ admin }) => {
    await admin.call(createService, { body: { name: "hello", image: "x", count: 0 } });
    const releases = async () => (await admin.call(listReleases, { params })).items;
    const [first] = await releases();
    const next = await admin.call(createRelease, { params, body: { basedOn: first!.id } });
    assert.is(next.version, 2);
    const error = await refusal(admin.call(createRelease, { params, body: { basedOn: next.id } }));
    assert.ok(isFault(error, "precondition"), "v2 was never deployed");
    assert.match((error as Error).message, /hello is headed for v1 by now/);
    assert.is((await releases()).length, 2);
    assert.ok(await admin.call(getFormation, { params }));
  }));

test("a release that is deployed as it is made leaves no moment for another's change to be undone in", () =>
  withRig(async ({ admin, store }) => {
    await deployed(admin);
    const newest = async () => (await admin.call(listReleases, { params })).items[0]!;
    const health = { ...DEFAULT_HEALTH, type: "http" as const, path: "/up" };
    for (const [order, first] of ["release", "variable"].entries()) {
      const before = await newest();
      const { seq } = store;
      const name = `A${order}`;
      const release = () =>
        admin.call(createRelease, {
          params,
          body: { processChanges: { web: { health } }, basedOn: before.id, deploy: true },
          idempotencyKey: `once-${order}`,
        });
      const variable = () => admin.call(updateEnv, { params, body: { env: { [name]: "1" } } });
      if (first === "variable") await variable();
      const made = await release().catch((error: unknown) => error);
      if (first === "release") {
        const written = (await admin.call(listDeployments, { params })).items[0]!;
        const { id, deploymentId } = made as Awaited<ReturnType<typeof release>>;
        assert.equal([written.id, written.toReleaseId], [deploymentId, id]);
        assert.is((await release()).deploymentId, deploymentId, "the same key gives the same deployment");
        await variable();
      } else assert.ok(isFault(made, "precondition"), String(made));
      const last = await newest();
      assert.ok(last.envNames.includes(name), "the variable is in what the app is headed for");
      assert.equal(last.processes["web"]!.health?.path, "/up");
      assert.ok(store.seq > seq);
      await until(async () => (await newest()).current, { what: "the deployment's end", timeoutMs: 20_000 });
    }
  }));

test.run();
