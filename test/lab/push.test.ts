// time limit: 1500 s
// The developer's day on real parts: an appliance and three hosts, git over HTTPS and SSH, real builds in containers, real apps.
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Build } from "#api/builds.ts";
import { until } from "#lib/time.ts";
import { makeAuthority } from "../package-registry.ts";
import { type Developer, developer, type Outcome, type Work } from "./developer.ts";
import { stackArchives } from "./stack-archives.ts";
import {
  ask,
  type Cluster,
  jobsOf,
  leavesNothing,
  loadOn,
  seconds,
  settled,
  startCluster,
  unharmed,
} from "./survival/cluster.ts";

interface Context extends Cluster {
  dev: Developer;
  /** Of the authority that alone vouches for the registry outside. */
  authorityFolder: string;
}

/** Outside of every private range, in the lab's namespace alone. */
const REGISTRY = "11.0.0.2";

const PACKAGES = fileURLToPath(new URL("package-registry.ts", import.meta.url));
const push = suite<Context>("push");

push.before(async (context) => {
  await stackArchives({ say: (line) => console.log(line), signal: AbortSignal.timeout(900_000) });
  context.authorityFolder = await mkdtemp(join(tmpdir(), "flynn-authority-"));
  const { ca } = await makeAuthority(context.authorityFolder, REGISTRY);
  const builds = ["--build-ca", ca, "--build-env", `npm_config_registry=https://${REGISTRY}/`];
  Object.assign(context, await startCluster({ appliance: { flags: ["--app-domain", "apps.test", ...builds] } }));
  const { appliance, scope } = context;
  context.dev = await developer(appliance, join(scope.folder, "work"));
  const startedMs = performance.now();
  console.log(await appliance.flynn(["stack", "build", "--offline"], { timeoutMs: 600_000 }));
  console.log(`stack in the registry in ${seconds(startedMs)} s`);
  await appliance.flynn(["host", "tags", "h3", "build="]);
});

push.after(async ({ scope, authorityFolder }: Partial<Context>) => {
  await scope?.close();
  if (authorityFolder !== undefined) await rm(authorityFolder, { recursive: true, force: true });
});

const said = ({ stdout, stderr }: Outcome): string => `${stdout}${stderr}`;
/** What the server printed, without git's prefix. */
const remote = (outcome: Outcome): string =>
  outcome.stderr
    .split(/\r?\n|\r/)
    .filter((line) => line.startsWith("remote: "))
    .map((line) => line.slice("remote: ".length).trimEnd())
    .join("\n");

async function pushed(work: Work, ...more: string[]): Promise<string> {
  const startedMs = performance.now();
  const outcome = await work.git("push", ...(more.length > 0 ? more : ["flynn", "main"]));
  assert.is(outcome.code, 0, said(outcome));
  console.log(`pushed ${work.folder.split("/").at(-1)} in ${seconds(startedMs)} s`);
  return remote(outcome);
}

async function refused(work: Work, ...more: string[]): Promise<string> {
  const outcome = await work.git("push", ...(more.length > 0 ? more : ["flynn", "main"]));
  assert.is(outcome.code, 1, said(outcome));
  return said(outcome);
}

async function create({ dev }: Context, app: string, name = app, ...flags: string[]): Promise<Work> {
  const work = await dev.work(app, name);
  const { code, stdout, stderr } = await work.flynn("create", name, ...flags);
  assert.is(code, 0, stderr);
  assert.is(stdout, `Created ${name}\nhttp://${name}.apps.test/\n`);
  return work;
}

const page = async ({ appliance }: Context, app: string, path = "/") => {
  const { status, body } = await appliance.get(`${app}.apps.test`, path);
  assert.is(status, 200, body);
  return body;
};

push("git push of a Node.js app over HTTPS: built, released, served, and said in the agreed words", async (context) => {
  const work = await create(context, "node");
  const text = await pushed(work);
  assert.match(text, /^-----> .*Node\.js/m);
  assert.match(text, /^=====> .*v\d+.* deployed/m);
  assert.not.match(text, "\x1b");
  for (const line of text.split("\n").filter(Boolean)) assert.match(line, /^(-----> |=====> | {7}| ! {4,5}|$)/, line);
  assert.match(await page(context, "node"), /node/i);
  const job = (await settled(context.appliance, "node", 1))[0]!;
  assert.is(job.process, "web");
  const { items } = await ask<{ items: Build[] }>(context.appliance, "GET", "/v1/apps/node/builds");
  assert.equal(
    items.map(({ number, state, kind }) => [number, state, kind]),
    [[1, "succeeded", "buildpacks"]],
  );
  const hosts = await ask<{ items: { id: string; name: string }[] }>(context.appliance, "GET", "/v1/hosts");
  assert.is(hosts.items.find(({ id }) => id === items[0]!.hostId)?.name, "h3", "built on the host tagged for it");
});

push(
  "packages come through a proxy that opens TLS, trusted by the build with --build-ca and by nothing after",
  async (context) => {
    const { appliance, authorityFolder } = context;
    // A machine of its own: addresses of the appliance are closed to builds.
    const outside = await appliance.lan.host("outside", "10.77.0.99");
    await outside.exec(["ip", "addr", "add", `${REGISTRY}/32`, "dev", "eth0"]);
    await appliance.lan.exec(["ip", "route", "add", `${REGISTRY}/32`, "via", outside.ip]);
    const registry = await outside.spawn([process.execPath, PACKAGES, authorityFolder, REGISTRY, "443"]);
    await registry.waitFor(/registry at/, 20_000);
    const work = await create(context, "node", "behind");
    const manifest = { name: "behind", version: "1.0.0", private: true, dependencies: { greeting: "1.0.0" } };
    await work.commit("a package of the registry", {
      "package.json": JSON.stringify({ ...manifest, scripts: { start: "node server.js" } }),
      "package-lock.json": undefined,
      "server.js": `require("node:http").createServer((request, response) => response.end(JSON.stringify([require("greeting"),
      Object.keys(process.env).filter((name) => /CERT|CA_|cafile|registry/.test(name))]))).listen(process.env.PORT);`,
    });
    await pushed(work);
    assert.equal(JSON.parse(await page(context, "behind")), ["hello from the registry behind the proxy", []]);
  },
);

push("a second push under load moves only the change and fails no request", async (context) => {
  const work = await context.dev.work("node", "node");
  assert.is((await work.flynn("remote", "add", "-a", "node")).code, 0);
  await work.git("pull", "--rebase", "flynn", "main");
  await work.commit("second", { "public.txt": "second\n" });
  const load = await loadOn(context, "node", { host: "node.apps.test", expect: undefined });
  await until(async () => (await load.progress()).requests > 50, { what: "50 requests", timeoutMs: 20_000 });
  await pushed(work, "flynn", "HEAD:main", "--force");
  await unharmed(load, "second push");
  const current = await ask<{ items: { version: number; current: boolean }[] }>(
    context.appliance,
    "GET",
    "/v1/apps/node/releases",
  );
  assert.ok(current.items[0]!.version >= 2);
});

push("up to date: nothing happens, and `flynn redeploy` builds it again", async (context) => {
  const work = await context.dev.work("node", "again");
  assert.is((await work.flynn("remote", "add", "-a", "node")).code, 0);
  assert.is((await work.git("fetch", "flynn", "main")).code, 0);
  assert.is((await work.git("reset", "--hard", "FETCH_HEAD")).code, 0);
  const same = await work.git("push", "flynn", "main");
  assert.match(said(same), "Everything up-to-date");
  const redeployed = await work.flynn("redeploy");
  assert.is(redeployed.code, 0, said(redeployed));
  assert.match(said(redeployed), /deployed/);
});

push("another branch, a tag and a submodule are refused in words", async (context) => {
  const work = await create(context, "static", "refuse");
  await work.git("checkout", "-b", "feature");
  assert.match(await refused(work, "flynn", "feature"), /feature.*main|main.*feature/s);
  await work.git("tag", "v1");
  assert.match(await refused(work, "flynn", "v1"), /tag/i);
});

push("a build that fails rejects the push with its reason, and the app is untouched", async (context) => {
  const work = await create(context, "node", "broken");
  await work.commit("broken", { "package.json": "{ not json" });
  const text = await refused(work);
  assert.match(text, / ! {5}/);
  assert.match(text, /remote rejected.*build \d+ failed/);
  assert.is((await jobsOf(context.appliance, "broken")).length, 0);
});

push("over SSH: an app with web, worker and a release phase", async (context) => {
  const { dev } = context;
  const key = join(dev.home, "id_ed25519");
  const made = await dev.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key]);
  assert.is(made.code, 0, made.stderr);
  const work = await create(context, "multi", "multi", "--ssh");
  assert.is((await work.flynn("key", "add", `${key}.pub`)).code, 0);
  const options = [
    "-i",
    key,
    "-o",
    "IdentitiesOnly=yes",
    "-o",
    "StrictHostKeyChecking=accept-new",
    "-o",
    `UserKnownHostsFile=${join(dev.home, "known")}`,
  ];
  await work.git("config", "core.sshCommand", ["ssh", ...options].join(" "));
  const text = await pushed(work);
  assert.match(text, /release/i);
  assert.match(await page(context, "multi"), /multi/i);
  assert.is((await work.flynn("scale", "worker=2")).code, 0);
  await until(
    async () =>
      (await jobsOf(context.appliance, "multi")).filter(({ process, state }) => process === "worker" && state === "up")
        .length === 2,
    { what: "two workers", timeoutMs: 30_000 },
  );
});

push("a release phase that fails rejects, and the old release serves on", async (context) => {
  const work = await create(context, "multi", "phase");
  await pushed(work);
  const before = await page(context, "phase");
  const procfile = await readFile(join(work.folder, "Procfile"), "utf8");
  await work.commit("bad release", {
    Procfile: procfile.replace(/^release:.*$/m, "release: echo migrating badly; exit 7"),
  });
  const text = await refused(work);
  assert.match(text, /migrating badly/);
  assert.match(text, /7/);
  assert.is(await page(context, "phase"), before);
});

for (const app of ["python", "go", "ruby", "static", "docker", "chat"]) {
  push(`the ${app} app is pushed and served`, async (context) => {
    const work = await create(context, app);
    await pushed(work);
    assert.match(await page(context, app), new RegExp(app, "i"));
  });
}

push("run, exec, exit codes and binary pipes in a buildpack app", async (context) => {
  const work = await context.dev.work("node", "runner");
  const run = (...argv: string[]) => work.flynn("-a", "node", "run", "--", ...argv);
  const hello = await run("sh", "-c", "echo out; echo err >&2; exit 7");
  assert.equal([hello.code, hello.stdout], [7, "out\n"], hello.stderr);
  assert.match(hello.stderr, "err\n");
  const env = await run("env");
  assert.match(env.stdout, /^FLYNN_APP=node$/m);
  assert.match(env.stdout, /^HOME=\/app$/m);
  const [job] = await settled(context.appliance, "node", 1);
  const exec = await work.flynn("-a", "node", "exec", job!.id, "--", "id", "-u");
  assert.equal([exec.code, exec.stdout.trim()], [0, "1000"], exec.stderr);
  // A command beside the app is started as the app is: what .profile.d sets is there, in the app's folder.
  for (const command of [['echo "$PATH|$PWD|$HOME"'], ["sh", "-c", 'echo "$PATH|$PWD|$HOME"']]) {
    const { code, stdout, stderr } = await work.flynn("-a", "node", "exec", job!.id, "--", ...command);
    assert.is(code, 0, stderr);
    assert.match(stdout.trim(), /:\/app\/node_modules\/\.bin\|\/app\|\/app$/);
  }
});

push("flynn deploy . sends a tree without git, and logs tell what happened", async (context) => {
  const work = await create(context, "static", "tree");
  const done = await work.flynn("deploy", ".");
  assert.is(done.code, 0, said(done));
  assert.match(await page(context, "tree"), /static/i);
  const log = await work.flynn("log", "-n", "200");
  assert.is(log.code, 0, log.stderr);
  assert.match(log.stdout, /app\[web\./);
  const router = await until(
    async () => {
      const { stdout } = await work.flynn("log", "-n", "200", "-s", "router");
      return /at=info method=GET path="\/"/.test(stdout) ? stdout : undefined;
    },
    { what: "a router line", timeoutMs: 15_000 },
  );
  assert.match(router, /status=200/);
});

push("a client that is killed mid-push stops neither build nor deployment", async (context) => {
  const work = await create(context, "node", "vanish");
  const argv = context.appliance.lan.argv(["git", "push", "flynn", "main"]);
  const child = execFile(argv[0]!, argv.slice(1), { cwd: work.folder, env: context.dev.env });
  const builds = () => ask<{ items: Build[] }>(context.appliance, "GET", "/v1/apps/vanish/builds");
  await until(async () => (await builds()).items[0]?.state === "building", {
    what: "the build running",
    timeoutMs: 60_000,
  });
  process.kill(child.pid!, "SIGKILL");
  await until(async () => (await builds()).items[0]?.state === "succeeded", { what: "its end", timeoutMs: 120_000 });
  assert.match(await page(context, "vanish"), /node/i);
  const again = await work.git("push", "flynn", "main");
  assert.is(again.code, 0, said(again));
  assert.is((await builds()).items.length, 1, "the same commit is not built twice");
});

push("two pushes at once are queued, never interleaved", async (context) => {
  const first = await create(context, "static", "twice");
  const second = await context.dev.work("static", "twice-b");
  assert.is((await second.flynn("remote", "add", "-a", "twice")).code, 0);
  await second.commit("other", { "other.txt": "other\n" });
  const [a, b] = await Promise.all([first.git("push", "flynn", "main"), second.git("push", "flynn", "main")]);
  assert.equal([a.code, b.code].sort(), [0, 1], said(a) + said(b));
});

push("three in a row under `rollback`: what it does not undo is said", async (context) => {
  const work = await context.dev.work("node", "back");
  const done = await work.flynn("-a", "node", "rollback");
  assert.is(done.code, 0, said(done));
  assert.match(await page(context, "node"), /node/i);
});

push("nothing of builds is left on the hosts, and nothing on the machine", async ({ hosts, scope }) => {
  for (const host of hosts) {
    const filters = encodeURIComponent(JSON.stringify({ label: ["flynn.build"] }));
    const { body } = await host.docker("GET", `/containers/json?all=1&filters=${filters}`);
    // What was built from a Dockerfile has the label of its image, and runs as a job.
    const left = (JSON.parse(body) as { Labels: Record<string, string> }[]).filter(
      ({ Labels }) => !Labels["flynn.job"],
    );
    assert.equal(left, [], host.name);
  }
  await leavesNothing(scope);
});

push.run();
