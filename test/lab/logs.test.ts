// time limit: 300 s
// Logs on real hosts: a flooder beside a quiet app, redeploy, crash, OOM, a hostd that is killed; the lines are all still there, and
// what is followed comes from every host in time order.
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { LogLine } from "#api/logs.ts";
import { until } from "#lib/time.ts";
import type { ImageOptions } from "./image.ts";
import { addApp, ask, type Cluster, deploy, jobsOf, leavesNothing, release, startCluster } from "./survival/cluster.ts";

const CLI = [process.execPath, fileURLToPath(new URL("../../cli/main.ts", import.meta.url))];
const logs = suite<Cluster>("logs");

logs.before(async (context) => {
  Object.assign(context, await startCluster());
  await addApp(context, { name: "quiet", count: 3 });
});
logs.after(({ scope }: Partial<Cluster>) => scope?.close());

const shell = (script: string): Partial<ImageOptions> => ({ command: ["/bin/sh", "-c", script] });

/** A process that listens on nothing and runs the script. */
async function addWorker(cluster: Cluster, name: string, script: string, memoryBytes = 64 << 20): Promise<void> {
  const { appliance } = cluster;
  await ask(appliance, "POST", "/v1/apps", { name });
  await release(cluster, name, "hello", shell(script));
  const processes = { web: { port: null, memoryBytes } };
  const { version } = await ask<{ version: number }>(appliance, "POST", `/v1/apps/${name}/releases`, { processes });
  await ask(appliance, "POST", `/v1/apps/${name}/deployments`, { release: `v${version}` });
}
const read = async ({ appliance }: Cluster, app: string, query = ""): Promise<LogLine[]> =>
  (await ask<{ items: LogLine[] }>(appliance, "GET", `/v1/apps/${app}/log?lines=10000${query}`)).items;
const has = (lines: readonly LogLine[], text: string | RegExp): boolean =>
  lines.some(({ line }) => (typeof text === "string" ? line.includes(text) : text.test(line)));
const seen = (cluster: Cluster, app: string, text: string | RegExp, timeoutMs = 60_000) =>
  until(async () => has(await read(cluster, app), text), {
    what: `${text} in the log of ${app}`,
    timeoutMs,
    everyMs: 300,
  });

logs(
  "an app's log has its own lines, its states, its deployments and its requests, each by its source",
  async (cluster) => {
    const { appliance } = cluster;
    assert.is((await appliance.get("quiet.test", "/?token=secret1")).status, 200);
    await seen(cluster, "quiet", /^at=info method=GET path="\/" host=quiet\.test .* job=web\.job-\S+ .* status=200 /);
    const text = await appliance.flynn(["-a", "quiet", "log", "-n", "1000"]);
    const jobs = await jobsOf(appliance, "quiet");
    for (const { id } of jobs) {
      assert.match(text, `app[web.${id}]: listening on 8080`);
      assert.match(text, `flynn[web.${id}]: State changed from starting to up`);
    }
    assert.match(text, /flynn\[deploy\]: Release v1 created by /);
    assert.match(text, /flynn\[deploy\]: Deployed v1 by /);
    assert.match(text, /flynn\[router\]: at=info method=GET/);
    assert.not.match(text, "secret1");
    const times = text
      .trim()
      .split("\n")
      .map((line) => line.split(" ")[0]!);
    assert.equal(times, times.toSorted());
  },
);

logs("a flooder is cut to its rate, says so, and costs the quiet app no line", async (cluster) => {
  const before = (await read(cluster, "quiet", "&source=app")).length;
  await addWorker(cluster, "flood", "while :; do echo flood flood flood flood flood flood flood flood; done");
  await seen(cluster, "flood", /^\.\.\. \d+ lines dropped: more than /);
  assert.ok((await read(cluster, "quiet", "&source=app")).length >= before);
  assert.ok(has(await read(cluster, "quiet"), "listening on 8080"));
  await ask(cluster.appliance, "DELETE", "/v1/apps/flood");
});

logs("a crash says its exit status, memory that is not enough is said as OOM", async (cluster) => {
  await addWorker(cluster, "crashy", "echo about to crash; exit 3");
  await addWorker(cluster, "greedy", "x=a; while :; do x=$x$x; done", 32 << 20);
  await seen(cluster, "crashy", "about to crash");
  await seen(cluster, "crashy", "Process exited with status 3");
  await seen(cluster, "crashy", /State changed from \w+ to crashed/);
  await seen(cluster, "greedy", /^Memory limit of \d+ MiB exceeded \(OOM\)$/);
  for (const app of ["crashy", "greedy"]) await ask(cluster.appliance, "DELETE", `/v1/apps/${app}`);
});

logs(
  "what is followed comes from every host, in time order, over a kill of a hostd and of control",
  async (cluster) => {
    const { appliance, scope, hosts } = cluster;
    const env = { ...process.env, FLYNN_HOME: join(scope.folder, "home"), NO_COLOR: "1" };
    const following = await appliance.lan.spawn(
      [...CLI, "-a", "quiet", "log", "-f", "-n", "0", "-s", "router", "--raw"],
      {
        name: "log-f",
        env,
      },
    );
    const count = () =>
      following
        .output()
        .split("\n")
        .filter((line) => line.includes("/follow-")).length;
    await until(
      async () => {
        await appliance.get("quiet.test", "/follow-begin");
        return count() > 0;
      },
      {
        what: "a followed line",
        timeoutMs: 20_000,
      },
    );
    for (let n = 0; n < 20; n++) await appliance.get("quiet.test", `/follow-${n}`);
    await until(() => following.output().includes("/follow-19"), { what: "all requests", timeoutMs: 20_000 });
    const order = [...following.output().matchAll(/path="\/follow-(\d+)"/g)].map(([, n]) => Number(n));
    assert.equal(
      order,
      Array.from({ length: 20 }, (_, n) => n),
    );

    await hosts[0]!.hostd.kill("SIGKILL");
    await hosts[0]!.startHostd();
    await appliance.kill9("control");
    await until(
      async () => (await appliance.api("GET", "/v1/apps?limit=1").catch(() => ({ status: 0 }))).status === 200,
      {
        what: "control",
        timeoutMs: 30_000,
      },
    );
    await until(
      async () => {
        await appliance.get("quiet.test", "/follow-after");
        return following.output().includes("/follow-after");
      },
      {
        what: "a line after the kill",
        timeoutMs: 30_000,
      },
    );
    const again = [...following.output().matchAll(/path="\/follow-(\d+)"/g)].map(([, n]) => Number(n));
    assert.equal(again, order, "nothing came twice");
    await following.kill("SIGINT");
  },
);

logs("a redeploy keeps the lines of the jobs before", async (cluster) => {
  const { appliance } = cluster;
  const old = (await jobsOf(appliance, "quiet")).map(({ id }) => id);
  const { version } = await ask<{ version: number }>(appliance, "POST", "/v1/apps/quiet/releases", {
    env: { A: "s3cret" },
  });
  assert.is((await deploy(appliance, "quiet", `v${version}`)).state, "complete");
  await until(async () => has(await read(cluster, "quiet"), `Deployed v${version}`), {
    what: "the deployment in the log",
    timeoutMs: 30_000,
  });
  const lines = await read(cluster, "quiet");
  for (const id of old)
    assert.ok(
      lines.some(({ jobId, line }) => jobId === id && line.includes("listening on 8080")),
      id,
    );
  assert.ok(has(lines, /^Process exited with status \d+$/) || has(lines, /to down$/), "the old jobs' end is told");
  assert.ok(has(lines, /Release v\d+ created by .*set A/));
  assert.not.ok(has(lines, "s3cret"));
});

logs("a host that is cut off is named, and the others' lines come", async (cluster) => {
  const { appliance, hosts } = cluster;
  await hosts[2]!.cut();
  try {
    const { code, stderr, stdout } = await appliance.tryFlynn(["-a", "quiet", "log", "-n", "1000"]);
    assert.is(code, 0, stderr);
    assert.match(stderr, /no answer from h3/);
    assert.match(stdout, "listening on 8080");
  } finally {
    await hosts[2]!.heal();
  }
});

logs("nothing is left", ({ scope }) => leavesNothing(scope));

logs.run();
