// time limit: 120 s
// Builds from source to deployment against a whole control and hosts that speak the agents' endpoints.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { listReleases } from "#api/apps.ts";
import { listBuilds } from "#api/builds.ts";
import { archive, followed, NODE_APP, withWorld } from "./world.ts";

test("a source archive becomes a build, an image, a release and a deployment, and its log says so in the agreed words", () =>
  withWorld(async ({ control, host, create, send, ended, log }) => {
    await create("hello");
    const commit = "0123456789abcdef0123456789abcdef01234567";
    const made = await send("hello", NODE_APP, { commit });
    assert.is(made.number, 1);
    const following = followed(control, "hello", made.id);
    const build = await ended("hello", made.id);
    console.log(await log("hello", made.id), build, host.failures);
    assert.is(build.state, "succeeded", build.reason);
    assert.is(await following, await log("hello", made.id));
    assert.equal(host.sources[0], await archive(NODE_APP));
    const { items } = await control.admin.call(listReleases, { params: { app: "hello" } });
    assert.is(items[0]!.commit, commit);
    assert.is(items[0]!.buildId, build.id);
    assert.equal(items[0]!.processes, { web: { port: 8080, command: ["node server.js"] } });
    assert.is((await control.admin.call(listBuilds, { params: { app: "hello" } })).items.length, 1);
  }));

test.run();
