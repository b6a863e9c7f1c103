// Changing variables and services onto what was read: two at once lose nothing of either, and what changed nothing stands in nobody's way.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { createApp, createRelease, getEnv, updateEnv } from "#api/apps.ts";
import type { Client } from "#api/client.ts";
import { listDeployments } from "#api/deployments.ts";
import { Fault } from "#api/fault.ts";
import { createService, deleteService, getService, updateService } from "#api/services.ts";
import { getStatus } from "#api/status.ts";
import { withRig } from "../rig.ts";

const quiet = { loops: false };
const params = { app: "hello" };

async function outcome(act: Promise<unknown>): Promise<string> {
  return act.then(
    () => "done",
    (error: unknown) => {
      assert.instance(error, Fault, String(error));
      return (error as Fault).code;
    },
  );
}
/** Without what says how the rest of the reply was. */
const versionOf = (etag: string | undefined) => etag?.replace(/-[^"]*/, "");
const etagOf = async (admin: Client): Promise<string> => (await admin.read(getEnv, { params })).etag!;

test("of two changes of variables onto the same state one wins, and the other is told before anything is made", () =>
  withRig(async ({ admin, store }) => {
    await admin.call(createApp, { body: { name: "hello" } });
    const empty = await etagOf(admin);
    const change = (env: Record<string, string | null>, ifMatch: string) =>
      admin.read(updateEnv, { params, body: { env }, ifMatch });
    const first = await change({ A: "1" }, empty);
    const { seq } = store;
    assert.is(await outcome(change({ B: "2" }, empty)), "precondition");
    assert.is(store.seq, seq);
    assert.is(versionOf(first.etag), versionOf(await etagOf(admin)), "the answer names what it made");
    assert.is(await outcome(change({ B: "2" }, first.etag!)), "done");

    const at = await etagOf(admin);
    const both = await Promise.all([outcome(change({ C: "3" }, at)), outcome(change({ D: "4" }, at))]);
    assert.equal(both, ["done", "precondition"]);
    assert.equal((await admin.call(getEnv, { params })).env, { A: "1", B: "2", C: "3" });
    assert.is(await outcome(admin.call(updateEnv, { params, body: { env: { D: "4" } } })), "done");
  }, quiet));

test("the same values again make no release, before an image and after; nothing is deployed before there is one", () =>
  withRig(async ({ admin }) => {
    await admin.call(createApp, { body: { name: "hello" } });
    const set = (env: Record<string, string | null>) => admin.call(updateEnv, { params, body: { env } });
    const first = await set({ A: "1" });
    assert.equal([first.release.version, first.unchanged, first.deploymentId], [1, undefined, undefined]);
    const { seq } = (await admin.call(getStatus)) ?? {};
    const again = await set({ A: "1", GONE: null });
    assert.equal([again.release.version, again.unchanged], [1, true]);
    assert.is((await admin.call(getStatus)).seq, seq);
    assert.equal((await admin.call(listDeployments, { params })).items, []);
    assert.equal((await admin.call(getEnv, { params })).env, { A: "1" });
    assert.is((await set({ A: "2" })).release.version, 2);
    const service = { params: { app: "other" } };
    await admin.call(createService, { body: { name: "other", image: "other:1", env: { A: "1" } } });
    const same = await admin.call(updateEnv, { ...service, body: { env: { A: "1" } } });
    assert.equal([same.release.version, same.unchanged, same.deploymentId], [1, true, undefined]);
    assert.ok((await admin.call(updateEnv, { ...service, body: { env: { A: "2" } } })).deploymentId);
  }, quiet));

test("a release that left the variables as they were is in nobody's way; one that is on its way with others is", () =>
  withRig(async ({ admin }) => {
    await admin.call(createService, { body: { name: "hello", image: "hello:1", env: { A: "1" } } });
    // The first release is being deployed: what is read is what a change is made onto.
    assert.equal((await admin.call(getEnv, { params })).env, { A: "1" });
    const at = await etagOf(admin);
    await admin.call(updateService, { params: { name: "hello" }, body: { image: "hello:2" } });
    await admin.call(createRelease, { params, body: { description: "never deployed", env: { X: "9" } } });
    const patch = (name: string) =>
      outcome(admin.call(updateEnv, { params, body: { env: { [name]: "2" } }, ifMatch: at }));
    assert.is(await patch("B"), "done");
    assert.is(await patch("C"), "precondition");
    const before = await etagOf(admin);
    await admin.call(updateEnv, { params, body: { env: { A: "0" } } });
    await admin.call(updateEnv, { params, body: { env: { A: "1" } } });
    assert.is(await etagOf(admin), before);
  }, quiet));

test("a service is scaled, given an image and deleted only as it was read", () =>
  withRig(async ({ admin }) => {
    const of = { params: { name: "web" } };
    await admin.call(createService, { body: { name: "web", image: "hello:1" } });
    const { etag: first } = await admin.read(getService, of);
    const second = await admin.read(updateService, { ...of, body: { image: "hello:2", count: 2 }, ifMatch: first });
    assert.is(
      await outcome(admin.call(updateService, { ...of, body: { image: "hello:3" }, ifMatch: first })),
      "precondition",
    );
    assert.is(await outcome(admin.call(deleteService, { ...of, ifMatch: first })), "precondition");
    assert.is(versionOf((await admin.read(getService, of)).etag), versionOf(second.etag));
    assert.is.not(versionOf(second.etag), versionOf(first));
    const both = await Promise.all(
      ["hello:3", "hello:4"].map((image) =>
        outcome(admin.call(updateService, { ...of, body: { image }, ifMatch: second.etag })),
      ),
    );
    assert.equal(both.sort(), ["done", "precondition"]);
    const { etag: last } = await admin.read(getService, of);
    assert.is(await outcome(admin.call(deleteService, { ...of, ifMatch: last })), "done");
  }, quiet));

test.run();
