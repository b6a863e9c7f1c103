// Cloud Native Buildpacks in control: which builder a build is told, what project.toml may say, and what its release runs.
import { Readable } from "node:stream";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { listReleases, updateApp } from "#api/apps.ts";
import { type Artifact, createArtifact } from "#api/artifacts.ts";
import { type Files, type World, withWorld } from "./world.ts";

const toml = (builder: string, more = ""): string =>
  `[_]\nschema-version = "0.2"\n[io.buildpacks]\nbuilder = "${builder}"\n${more}`;
const upload = ({ control }: World, app: string, source: string, bytes: number): Promise<Artifact> =>
  control.admin.call(createArtifact, { query: { app, source }, upload: Readable.from([Buffer.alloc(bytes)]) });
const push = async ({ send, ended, log }: World, files: Files) => {
  const build = await ended("hello", (await send("hello", files)).id);
  return { ...build, log: await log("hello", build.id) };
};
const result = { detected: "heroku/nodejs@3.5.0", processes: { web: "node server.js", worker: "node worker.js" } };

test("the builder that project.toml names is the one that its host is told; processes start by the image's own entrypoints", () =>
  withWorld(async (world) => {
    const { control, host } = world;
    await world.create("hello");
    host.script = () => ({ image: Buffer.from("image"), result });
    const other = await upload(world, "hello", "paketo/builder", 1);
    const builder = await upload(world, "hello", "heroku/builder:24", 2);
    const run = await upload(world, "hello", "heroku/heroku:24", 3);
    const set = (build: object) =>
      control.admin.call(updateApp, { params: { app: "hello" }, body: { build } as never });
    await set({ builder: other.id, runImage: run.id });
    const source = { "project.toml": toml("docker.io/heroku/builder:24"), Procfile: "clock: node clock.js\n" };
    const build = await push(world, source);
    assert.is(build.state, "succeeded", build.reason);
    assert.match(build.log, "-----> Building with Cloud Native Buildpacks (project.toml found)\n");
    assert.match(build.log, "\n       Builder heroku/builder:24 (by project.toml)\n");
    const spec = host.specs.at(-1)!;
    assert.is(spec.kind, "cnb");
    assert.match(spec.image!, `${builder.repository}@${builder.digest}`);
    assert.match(spec.runImage!, `${run.repository}@${run.digest}`);
    const { items } = await control.admin.call(listReleases, { params: { app: "hello" } });
    assert.equal(items[0]!.processes, {
      clock: { port: null, entrypoint: ["/cnb/lifecycle/launcher"], command: ["node clock.js"] },
      web: { port: 8080, entrypoint: ["/cnb/process/web"] },
      worker: { port: null, entrypoint: ["/cnb/process/worker"] },
    });
    await set({ kind: "cnb", builder: other.id, runImage: run.id });
    const again = await push(world, source);
    assert.match(
      again.log,
      "Warning: project.toml names the builder docker.io/heroku/builder:24; the app's settings go before it\n",
    );
    assert.match(host.specs.at(-1)!.image!, other.digest);
  }));

test("a builder of another app, and one that nobody uploaded, are refused before any host is asked", () =>
  withWorld(async (world) => {
    await world.create("hello");
    await world.create("other");
    await upload(world, "other", "heroku/builder:24", 2);
    const build = await push(world, { "project.toml": toml("heroku/builder:24") });
    assert.is(build.state, "failed");
    assert.match(
      build.reason,
      /^project\.toml names the builder heroku\/builder:24, which is not in .* this app: flynn build builder upload heroku\/builder:24$/,
    );
    assert.match(build.log, "\n !     Push rejected, project.toml names the builder heroku/builder:24");
    assert.equal(world.host.specs, []);
  }));

test("a project.toml that is wrong rejects a build that goes by it, with the line, and no other", () =>
  withWorld(async (world) => {
    const { control } = world;
    await world.create("hello");
    await upload(world, "hello", "b", 2);
    const refused = async (text: string) => (await push(world, { "project.toml": text, Procfile: "web: x\n" })).reason;
    assert.match(await refused("[io.buildpacks\n"), /^project\.toml: line 1: /);
    assert.match(await refused(toml("b", 'exlude = ["x"]\n')), /^project\.toml: there is no io\.buildpacks\.exlude$/);
    assert.match(
      await refused(toml("b", '[[io.buildpacks.group]]\nuri = "https://e.test/b.tgz"\n')),
      /would have to be fetched/,
    );
    await control.admin.call(updateApp, { params: { app: "hello" }, body: { build: { kind: "buildpacks" } } });
    const build = await push(world, { "project.toml": "[io.buildpacks\n", Procfile: "web: x\n" });
    assert.is(build.state, "succeeded", build.reason);
  }));

test("what of project.toml is passed over is said in the push", () =>
  withWorld(async (world) => {
    await world.create("hello");
    await upload(world, "hello", "b", 2);
    world.host.script = () => ({ image: Buffer.from("image"), result });
    const text = `[io.buildpacks]\nbuilder = "b"\n[[io.buildpacks.build.env]]\nname = "A"\nvalue = "s3cret-value"\nexec-env = ["test"]\n`;
    const { log } = await push(world, { "project.toml": text });
    assert.match(log, " !     Warning: project.toml names no schema-version; it is read as schema 0.2\n");
    assert.match(
      log,
      " !     Warning: project.toml: io.buildpacks.build.env A is for test alone, not for production\n",
    );
    assert.not.match(log, "s3cret-value");
  }));

test.run();
