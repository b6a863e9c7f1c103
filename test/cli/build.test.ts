// time limit: 120 s
// Builds by the CLI, against a whole control: what is sent of a directory, the text as a push prints it, exit codes, settings.
import { chmod, mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { createGunzip, gzipSync } from "node:zlib";
import * as tar from "tar-stream";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { getApp } from "#api/apps.ts";
import type { Build } from "#api/builds.ts";
import { exec } from "#lib/exec.ts";
import { certificatePin } from "#lib/x509.ts";
import { saveCluster } from "../../cli/clusters/clusters.ts";
import { clustersFile } from "../../cli/clusters/clusters-file.ts";
import { archiveKind } from "../../cli/deploy/archive-kind.ts";
import { changedSettings, settingWords } from "../../cli/deploy/build-settings.ts";
import { sourceArchive } from "../../cli/deploy/source-tree.ts";
import { archive, NODE_APP, type World, withWorld } from "../control/builds/world.ts";
import { type Invoked, type InvokeOptions, invoke } from "./invoke.ts";

interface Desk extends World {
  directory: string;
  flynn(line: string, options?: InvokeOptions): Promise<Invoked>;
}

async function withDesk(body: (desk: Desk) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), "flynn-build-"));
  const env = { FLYNN_HOME: join(directory, ".home"), HOME: directory, GIT_CONFIG_NOSYSTEM: "1" };
  try {
    await withWorld(async (world) => {
      const { url, caPem, token } = world.control;
      await saveCluster(clustersFile(env), { name: "rig", url, pin: certificatePin(caPem), caPem, token });
      await mkdir(join(directory, "app"));
      const cwd = join(directory, "app");
      const flynn = (line: string, options: InvokeOptions = {}) => invoke(line.split(" "), { env, cwd, ...options });
      await world.create("hello");
      await body({ ...world, directory: cwd, flynn });
    });
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

const write = async (directory: string, files: Record<string, string>): Promise<void> => {
  for (const [name, content] of Object.entries(files)) {
    await mkdir(join(directory, name, ".."), { recursive: true });
    await writeFile(join(directory, name), content);
  }
};
const git = (cwd: string, ...args: string[]) =>
  exec(["git", "-c", "user.name=t", "-c", "user.email=t@t", "-c", "init.defaultBranch=main", ...args], {
    cwd,
    env: { PATH: process.env["PATH"], HOME: cwd, GIT_CONFIG_NOSYSTEM: "1" },
  });

/** `name content`, or `name -> target`, or `name*` for an executable. */
async function sentOf(directory: string): Promise<{ names: string[]; commit: string | undefined }> {
  const env = { PATH: process.env["PATH"], HOME: directory };
  const { archive: sent, commit } = await sourceArchive({ directory, env, signal: new AbortController().signal });
  const extract = tar.extract();
  extract.end(await buffer(sent.pipe(createGunzip())));
  const names: string[] = [];
  for await (const entry of extract) {
    const { name, type, linkname, mode } = entry.header;
    names.push(type === "symlink" ? `${name} -> ${linkname}` : `${name}${mode & 0o100 ? "*" : ""}`);
    entry.resume();
  }
  return { names: names.sort(), commit };
}

test("deploy . prints the build's text on stderr as a push does and the answer on stdout", () =>
  withDesk(async ({ directory, flynn, log, host }) => {
    await write(directory, { Procfile: "web: node server.js\n", "server.js": "1" });
    const { code, out, err } = await flynn("deploy -a hello .");
    assert.is(code, 0, err);
    assert.is(out, "Deployed v1 of hello\n");
    assert.is(err, await log("hello", "1"));
    assert.match(err, /^-----> Building hello\n/);
    const json = await flynn("deploy -a hello . --json");
    const build = JSON.parse(json.out) as Build;
    assert.equal([json.code, build.state, build.version, build.number], [0, "succeeded", 2, 2]);
    assert.equal(host.specs.length, 2);
  }));

test("a build that fails makes deploy exit non-zero with the reason, --json too", () =>
  withDesk(async ({ directory, flynn, host }) => {
    await write(directory, { Procfile: "web: x\n" });
    host.script = () => ({
      output: "-----> npm ci\n",
      result: { exitCode: 1, reason: "failed to compile Node.js app" },
    });
    const { code, out, err } = await flynn("deploy -a hello .");
    assert.equal([code, out], [1, ""]);
    assert.match(
      err,
      /-----> npm ci\n ! {5}Push rejected, failed to compile Node\.js app\nerror: build 1 failed: failed to compile/,
    );
    const json = await flynn("deploy -a hello . --json");
    assert.equal([json.code, (JSON.parse(json.out) as Build).state], [1, "failed"]);
    assert.is((await flynn("build log -a hello -f 1")).code, 1);
  }));

test("Ctrl-C ends the watching, says that the build goes on, and it does", () =>
  withDesk(async ({ directory, flynn, host, ended }) => {
    await write(directory, { Procfile: "web: x\n" });
    const held = Promise.withResolvers<void>();
    host.script = () => ({ during: () => held.promise });
    const interrupt = new AbortController();
    let said = "";
    const onErr = (text: string) => {
      said += text;
      if (text.includes("Building with")) interrupt.abort(new Error("SIGINT"));
    };
    await flynn("deploy -a hello .", { signal: interrupt.signal, onErr }).then(
      () => assert.unreachable("it was interrupted"),
      () => undefined,
    );
    assert.match(said, /the build goes on in the cluster: `flynn -a hello build log -f build-\S+` shows it/);
    held.resolve();
    assert.is((await ended("hello", "1")).state, "succeeded");
  }));

test("an archive of a source is built, gzipped or not; --detach only queues it; flags of images are refused in words", () =>
  withDesk(async ({ directory, flynn, ended }) => {
    const plain = join(directory, "src.tar");
    const zipped = join(directory, "src.tar.gz");
    await writeFile(plain, await archive(NODE_APP));
    await writeFile(zipped, gzipSync(await archive(NODE_APP)));
    assert.is((await flynn(`deploy -a hello --archive ${plain}`)).out, "Deployed v1 of hello\n");
    assert.match(
      (await flynn(`deploy -a hello --archive ${zipped} --detach`)).out,
      /^Build 2 of hello is queued \(build-\S+\)\n$/,
    );
    assert.is((await ended("hello", "2")).state, "succeeded");
    const wrong = await flynn(`deploy -a hello --archive ${zipped} --port 3000`);
    assert.equal([wrong.code, wrong.out], [2, ""]);
    assert.match(wrong.err, /--port is for images; for a source, write it into the Procfile or app\.json/);
    const both = await flynn("deploy -a hello . --image x");
    assert.match(both.err, /deploy one thing, not x and \.: a directory \(flynn deploy \.\)/);
    const none = await flynn("deploy -a hello nowhere");
    assert.match(none.err, /read the source .*nowhere/);
  }));

test("what is refused of a source is told before anything is built", () =>
  withDesk(async ({ directory, flynn }) => {
    await write(directory, { Procfile: "web\n" });
    const { code, err } = await flynn("deploy -a hello .");
    assert.is(code, 2);
    assert.match(err, /^error: Procfile, line 1: /);
    assert.match((await flynn("build list -a hello")).err, /no builds yet/);
  }));

test("builds are listed, shown, read and cancelled, by number or id, the newest when none is named", () =>
  withDesk(async ({ directory, flynn, log, host, reaches }) => {
    await write(directory, { Procfile: "web: x\n" });
    await flynn("deploy -a hello .");
    const list = await flynn("build list -a hello");
    assert.match(list.out, /^BUILD +ID +STATE +KIND +COMMIT +RELEASE/);
    assert.match(list.out, /^1 +build-\S+ +succeeded +buildpacks +v1 /m);
    assert.match(
      (await flynn("build show -a hello")).out,
      /^Build: +1 \(build-\S+\)\nState: +succeeded\nKind: +buildpacks\n/,
    );
    assert.is((await flynn("build log -a hello")).out, await log("hello", "1"));
    assert.is((await flynn("build log -a hello -f 1")).out, await log("hello", "1"));
    assert.is((await flynn("build show -a hello 7")).code, 3);
    host.script = () => ({ during: () => new Promise(() => undefined), silent: true });
    await flynn("deploy -a hello . --detach");
    await reaches("hello", "2", "building");
    assert.is((await flynn("build cancel -a hello")).out, "Cancelling build 2 of hello\n");
    const followed = await flynn("build log -a hello -f");
    assert.equal(
      [followed.code, / ! {5}Push rejected, the build was cancelled by admin\n$/.test(followed.out)],
      [1, true],
    );
    assert.is((await flynn("build cancel -a hello 2")).code, 5);
  }));

test("settings are set, shown and taken away; the cache is cleared", () =>
  withDesk(async ({ control, flynn }) => {
    assert.is((await flynn("build settings -a hello")).out, "");
    const set = await flynn(
      "build set -a hello kind=dockerfile dockerfile=deploy/Dockerfile memory=2GB timeout=20m arg.V=1",
    );
    assert.is(
      set.out,
      "hello is built with kind=dockerfile dockerfile=deploy/Dockerfile memory=1.9GiB timeout=20m arg.V=1\n",
      set.err,
    );
    const { build } = await control.admin.call(getApp, { params: { app: "hello" } });
    assert.equal(build, {
      kind: "dockerfile",
      dockerfile: "deploy/Dockerfile",
      limits: { memoryBytes: 2e9, timeoutMs: 1_200_000 },
      args: { V: "1" },
    });
    assert.is(
      (await flynn("build unset -a hello kind dockerfile memory timeout arg.V")).out,
      "hello is built as its source says\n",
    );
    assert.is((await control.admin.call(getApp, { params: { app: "hello" } })).build, undefined);
    for (const [word, why] of [
      ["kind=nix", /write it as buildpacks or dockerfile or cnb/],
      ["memory=lots", /write it as 2GiB/],
      ["colour=red", /there is no build setting colour; there are kind/],
      ["dockerfile=../x", /dockerfile/],
      ["kind", /NAME=VALUE/],
    ] as const) {
      const { code, err } = await flynn(`build set -a hello ${word}`);
      assert.equal([code, why.test(err)], [2, true], err);
    }
    assert.match((await flynn("build cache clear -a hello")).out, /^The build cache of hello is cleared/);
  }));

test("settings come back as the words they were set with", () => {
  const words = [
    "kind=cnb",
    "buildpacks=nodejs,python",
    "target=web",
    "builder=artifact-1",
    "run-image=artifact-2",
    "cpu=0.5",
    "memory=2GiB",
    "disk=8GiB",
    "pids=99",
    "timeout=90s",
    "arg.A=b=c",
  ];
  assert.equal(settingWords(changedSettings({}, words)), words);
});

test("of a git work tree the tracked and the new files are sent, not the ignored, the deleted, nor .git; submodules too", async () => {
  const directory = await mkdtemp(join(tmpdir(), "flynn-tree-"));
  try {
    await write(directory, {
      ".gitignore": "*.log\nnode_modules/\n",
      a: "1",
      "b/run": "x",
      gone: "1",
      "x.log": "1",
      "node_modules/m": "1",
    });
    await chmod(join(directory, "b/run"), 0o755);
    await symlink("b/run", join(directory, "l"));
    await git(directory, "init", "-q");
    await git(directory, "add", ".");
    await git(directory, "commit", "-qm", "one");
    const head = (await git(directory, "rev-parse", "HEAD")).stdout.trim();
    const all = ["./.gitignore", "./a", "./b/run*", "./gone", "./l -> b/run"];
    assert.equal(await sentOf(directory), { names: all, commit: head }, "exactly a commit: its name is sent along");
    await rm(join(directory, "gone"));
    await write(directory, { "new file": "1" });
    const now = ["./.gitignore", "./a", "./b/run*", "./l -> b/run", "./new file"];
    assert.equal(await sentOf(directory), { names: now, commit: undefined });
    assert.equal((await sentOf(join(directory, "b"))).names, ["./run*"], "a directory of a work tree is sent alone");
    await mkdir(join(directory, "sub"));
    await write(join(directory, "sub"), { s: "1", "t.tmp": "1", ".gitignore": "*.tmp\n" });
    await git(join(directory, "sub"), "init", "-q");
    await git(join(directory, "sub"), "add", ".");
    await git(join(directory, "sub"), "commit", "-qm", "one");
    await git(directory, "-c", "advice.addEmbeddedRepo=false", "add", "sub");
    assert.equal(
      (await sentOf(directory)).names.filter((name) => name.includes("sub")),
      ["./sub/.gitignore", "./sub/s"],
    );
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});

test("of a directory without git every file is sent; one without files is refused", async () => {
  const directory = await mkdtemp(join(tmpdir(), "flynn-tree-"));
  try {
    await write(directory, { "a/b": "1", c: "", ".env": "1" });
    assert.equal(await sentOf(directory), { names: ["./.env", "./a/b", "./c"], commit: undefined });
    await mkdir(join(directory, "empty"));
    assert.match(String(await sentOf(join(directory, "empty")).catch(String)), /there are no files in/);
    assert.match(
      String(await sentOf(join(directory, "c")).catch(String)),
      /is not a directory; an archive is sent with --archive/,
    );
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});

test("an image is told from a source by what it holds, not by its name", async () => {
  const directory = await mkdtemp(join(tmpdir(), "flynn-kind-"));
  try {
    const cases: [string, Buffer, string][] = [
      ["saved", await archive({ "a.json": "{}", "manifest.json": '[{"Config":"a.json","Layers":[]}]' }), "image"],
      ["oci", await archive({ "oci-layout": "{}" }), "image"],
      ["web app", await archive({ "manifest.json": '{"name":"my app"}', Procfile: "web: x" }), "source"],
      ["nested", await archive({ "x/manifest.json": '[{"Layers":[]}]' }), "source"],
      ["no tar", Buffer.from("hello".repeat(500)), "image"],
      ["cut off", (await archive(NODE_APP)).subarray(0, 1_300), "source"],
    ];
    for (const [what, bytes, kind] of cases)
      for (const content of [bytes, gzipSync(bytes)]) {
        await writeFile(join(directory, "x"), content);
        assert.is(await archiveKind(join(directory, "x")), kind, what);
      }
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});

test.run();
