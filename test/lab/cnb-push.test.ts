// time limit: 600 s
// Cloud Native Buildpacks as a developer has them: an appliance, a host, git pushes, the real lifecycle in an uploaded builder image.
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Release } from "#api/apps.ts";
import type { Build } from "#api/builds.ts";
import { until } from "#lib/time.ts";
import { CNB_BUILDER, CNB_USER, writeCnbBuilder, writeCnbRun } from "./cnb-images.ts";
import { type Developer, developer, type Outcome, type Work } from "./developer.ts";
import { lifecycle } from "./lifecycle.ts";
import { ask, type Cluster, leavesNothing, seconds, settled, startCluster } from "./survival/cluster.ts";

interface Context extends Cluster {
  dev: Developer;
  work: Work;
  archives: { builder: string; run: string };
}

const SECRET = "s3cret-of-the-app";
const cnb = suite<Context>("cnb-push");

cnb.before(async (context) => {
  const programs = await lifecycle({ say: (line) => console.log(line) });
  Object.assign(context, await startCluster({ count: 1, appliance: { flags: ["--app-domain", "apps.test"] } }));
  const { appliance, scope } = context;
  context.dev = await developer(appliance, join(scope.folder, "work"));
  context.archives = { builder: join(scope.folder, "builder.tar"), run: join(scope.folder, "run.tar") };
  await writeCnbBuilder(context.archives.builder, programs);
  await writeCnbRun(context.archives.run);
  context.work = await context.dev.work("cnb");
});
cnb.after(({ scope }: Partial<Context>) => scope?.close());

const said = ({ stdout, stderr }: Outcome): string => `${stdout}${stderr}`;
const sound = async (outcome: Promise<Outcome>): Promise<string> => {
  const { code, stdout, stderr } = await outcome;
  assert.is(code, 0, stdout + stderr);
  return stdout;
};

/** What the server printed, without git's prefix. */
async function push(work: Work, code: 0 | 1 = 0): Promise<string> {
  const startedMs = performance.now();
  const outcome = await work.git("push", "flynn", "main");
  assert.is(outcome.code, code, said(outcome));
  console.log(`pushed in ${seconds(startedMs)} s`);
  const lines = outcome.stderr.split(/\r?\n|\r/).filter((line) => line.startsWith("remote: "));
  return lines.map((line) => line.slice("remote: ".length).trimEnd()).join("\n");
}

const page = async ({ appliance }: Context): Promise<string> => (await appliance.get("cnb.apps.test")).body.trim();

cnb(
  "a push whose project.toml names a builder that the cluster has not is refused with how to give it one",
  async ({ work }) => {
    await sound(work.flynn("create", "cnb"));
    const text = await push(work, 1);
    assert.match(text, /^-----> Building with Cloud Native Buildpacks \(project\.toml found\)$/m);
    assert.match(
      text,
      /^ ! {5}Push rejected, .* lab\.test\/cnb-builder:1, .*: flynn build builder upload lab\.test\/cnb-builder:1$/m,
    );
  },
);

cnb(
  "with the builder uploaded by that name, project.toml's builder, files, buildpacks and variables count, and the app is live",
  async (context) => {
    const { work, archives, appliance } = context;
    await sound(
      work.flynn("build", "builder", "upload", archives.builder, "--name", CNB_BUILDER, "--run", archives.run),
    );
    await work.commit("again", { "note.txt": "1" });
    const text = await push(work);
    for (const line of text.split("\n").filter(Boolean)) assert.match(line, /^(-----> |=====> | {7}| ! {4,5}|$)/, line);
    for (const words of [
      /^ {7}Builder lab\.test\/cnb-builder:1 \(by the app's settings\)$/m,
      /^ {7}project\.toml: files without spec\/$/m,
      /^ {7}project\.toml: variables OF_PROJECT, GREETING$/m,
      /^ {7}project\.toml: buildpacks lab\/shell@1\.0\.0$/m,
      new RegExp(`^-----> Shell buildpack as ${CNB_USER}$`, "m"),
      /^ {7}of project\.toml: a variable, good day$/m,
      /^ {7}spec is left out$/m,
      /^ {7}Default types for the build -> web, worker$/m,
      /^=====> .*v1.* deployed/m,
    ])
      assert.match(text, words);
    assert.is(await page(context), "Hello from cnb, build 1,");
    const { items: builds } = await ask<{ items: Build[] }>(appliance, "GET", "/v1/apps/cnb/builds");
    assert.equal(
      builds.map(({ state, kind, detected }) => [state, kind, detected]),
      [
        ["succeeded", "cnb", "lab/shell@1.0.0"],
        ["failed", undefined, undefined],
      ],
    );
    const { items: releases } = await ask<{ items: Release[] }>(appliance, "GET", "/v1/apps/cnb/releases");
    assert.equal(Object.keys(releases[0]!.processes), ["web", "worker"]);
    await sound(work.flynn("scale", "worker=1"));
    const jobs = await settled(appliance, "cnb", 2);
    assert.equal(jobs.map(({ process }) => process).sort(), ["web", "worker"]);
  },
);

cnb(
  "the second push reuses the app's cache, and the app's variables go before project.toml's, unseen in log, containers and images",
  async (context) => {
    const { work, hosts } = context;
    await sound(work.flynn("env", "set", "GREETING=morning", `TOKEN=${SECRET}`));
    await work.commit("quiet", { "build.sh": 'echo "secret of $(echo "$TOKEN" | head -c 6)... is here"\n' });
    const filters = encodeURIComponent(JSON.stringify({ label: ["flynn.build"] }));
    const pushing = { isOver: false };
    const pushed = push(work).finally(() => {
      pushing.isOver = true;
    });
    const containers = new Set<string>();
    while (!pushing.isOver) {
      const { body } = await hosts[0]!.docker("GET", `/containers/json?all=1&filters=${filters}`);
      for (const { Id, Labels } of JSON.parse(body) as { Id: string; Labels: Record<string, string> }[]) {
        if (Labels["flynn.job"]) continue;
        const found = (await hosts[0]!.docker("GET", `/containers/${Id}/json`)).body;
        assert.not.match(found, SECRET);
        if (found.includes('"Id"')) containers.add(Id);
      }
    }
    const text = await pushed;
    assert.ok(containers.size >= 3, `${containers.size} containers were looked at`);
    assert.match(text, /^ {7}variable morning; file morning$/m);
    assert.match(text, /^ {7}secret of s3cret\.\.\. is here$/m);
    assert.match(text, /^ {7}build 2 with this cache$/m);
    assert.not.match(text, SECRET);
    assert.not.match(await sound(work.flynn("build", "log")), SECRET);
    const images = JSON.parse((await hosts[0]!.docker("GET", "/images/json?all=1")).body) as { Id: string }[];
    for (const { Id } of images) {
      assert.not.match((await hosts[0]!.docker("GET", `/images/${Id}/json`)).body, SECRET);
      assert.not.match((await hosts[0]!.docker("GET", `/images/${Id}/history`)).body, SECRET);
    }
    assert.is(await page(context), "Hello from cnb, build 2, morning");
  },
);

cnb(
  "run and exec have the environment of the launcher, as words and as a line, and exit codes pass through",
  async (context) => {
    const { work } = context;
    assert.match(await sound(work.flynn("run", "--", "env")), /^COUNT=2$/m);
    assert.is(
      await sound(work.flynn("run", "--", 'echo "$COUNT and $FROM_RUN_IMAGE in $(pwd)"')),
      "2 and 1 in /workspace\n",
    );
    const words = await work.flynn("run", "--", "sh", "-c", 'echo "$COUNT"; echo err >&2; exit 7');
    assert.equal([words.code, words.stdout], [7, "2\n"], words.stderr);
    const web = (await settled(context.appliance, "cnb", 2)).find(({ process }) => process === "web");
    const exec = await work.flynn("exec", web!.id, "--", "sh", "-c", 'echo "$COUNT in $(pwd)"; exit 3');
    assert.equal([exec.code, exec.stdout], [3, "2 in /workspace\n"], exec.stderr);
  },
);

cnb("without project.toml the settings say so, and a cleared cache begins anew", async (context) => {
  const { work } = context;
  await sound(work.flynn("build", "set", "kind=cnb"));
  await sound(work.flynn("build", "cache", "clear"));
  await work.commit("plain", { "project.toml": undefined, Procfile: "worker: echo working $COUNT; sleep 600\n" });
  const text = await push(work);
  assert.match(text, /^-----> Building with Cloud Native Buildpacks \(by the app's settings\)$/m);
  assert.match(text, /^ {7}build 1 with this cache$/m);
  assert.match(text, /^ {7}Procfile declares types {5}-> worker$/m);
  assert.is(await page(context), "Hello from cnb, build 1, morning");
  await settled(context.appliance, "cnb", 2);
  await until(async () => /app\[worker\.\S+\]: working 1$/m.test(await sound(work.flynn("log", "-n", "50"))), {
    what: "the Procfile's line in the worker, with the variable of a layer",
    timeoutMs: 10_000,
  });
});

cnb(
  "nothing of builds is left on the host but the newest cache, and nothing on the machine",
  async ({ hosts, scope }) => {
    const { body } = await hosts[0]!.docker("GET", "/volumes");
    const { Volumes } = JSON.parse(body) as { Volumes: { Name: string }[] | null };
    assert.is(Volumes?.length, 1, JSON.stringify(Volumes));
    await leavesNothing(scope);
  },
);

cnb.run();
