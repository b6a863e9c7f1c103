// time limit: 300 s
// What Docker does wrong on a host, with real parts: one that hangs, one that is killed and ends what it ran. Beside them the rest goes on, the host says what is wrong, and nothing is left over.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Host } from "#api/hosts.ts";
import { until } from "#lib/time.ts";
import type { ClusterHost } from "../appliance.ts";
import {
  addApp,
  ask,
  type Cluster,
  containers,
  containersOn,
  deploy,
  jobsOf,
  leavesNothing,
  loadOn,
  QUICK_WEB,
  release,
  scale,
  seconds,
  settled,
  startCluster,
  unharmed,
} from "../survival/cluster.ts";
import { alertsOf, cleared, raised } from "./alerts.ts";
import { freeze, stopShim } from "./hang.ts";
import { openFiles, steady } from "./open-files.ts";

const docker = suite<Cluster>("failure: Docker");

docker.before(async (context) => {
  Object.assign(context, await startCluster({ count: 2 }));
  await addApp(context, { name: "fine", count: 4 });
  await addApp(context, { name: "hung" });
});

docker.after(({ scope }: Partial<Cluster>) => scope?.close());

const hostOf = async ({ appliance, hosts }: Cluster, app: string): Promise<ClusterHost> => {
  const [job] = await jobsOf(appliance, app);
  const { items } = await ask<{ items: Host[] }>(appliance, "GET", "/v1/hosts");
  const { name } = items.find(({ id }) => id === job?.hostId)!;
  return hosts.find((host) => host.name === name)!;
};

docker(
  "Docker hangs: jobs serve on, the host says so, an alert stands, no file is opened that stays, and then all goes on",
  async (cluster) => {
    const { appliance, hosts } = cluster;
    const host = hosts[0]!;
    await ask(appliance, "PATCH", "/v1/apps/hung/formation", { web: { count: 0 } });
    await until(async () => (await containers(cluster)).length === 4, {
      what: "the other app's end",
      timeoutMs: 60_000,
    });
    await settled(appliance, "hung", 0);
    const before = await containers(cluster);
    const files = () => openFiles(host.hostd.pid);
    const atRest = await steady(files);
    const load = await loadOn(cluster, "fine");
    const shown = () => ask<Host>(appliance, "GET", `/v1/hosts/${host.name}`);
    await host.hangDocker();
    try {
      await until(async () => (await shown()).state === "unhealthy", { what: "an unhealthy host", timeoutMs: 40_000 });
      assert.match((await shown()).reason ?? "", /does not answer/);
      await settled(appliance, "fine", 4);
      const [alert] = await raised(appliance, "host-unhealthy", 1, 40_000);
      assert.match(`${alert!.what} ${alert!.why}`, /h1 cannot run jobs.*does not answer/);
      // The other host takes what is new.
      await ask(appliance, "PATCH", "/v1/apps/hung/formation", { web: { count: 1 } });
      await settled(appliance, "hung", 1);
      assert.is((await hostOf(cluster, "hung")).name, hosts[1]!.name);
      const most = (await steady(files, { what: "open files while Docker hangs" })).length;
      assert.ok(most <= atRest.length + 12, `${most} open files, ${atRest.length} before`);
    } finally {
      await host.resumeDocker();
    }
    await until(async () => (await shown()).state === "ready", { what: "the host being ready", timeoutMs: 30_000 });
    const own = async () => (await containers(cluster)).filter(({ id }) => before.some((one) => one.id === id));
    assert.equal(await own(), before);
    await unharmed(load, "a Docker that hangs");
    let now: string[] = [];
    const asBefore = async () => {
      now = await steady(files);
      return now.length <= atRest.length;
    };
    await until(asBefore, { what: "as many open files as before", timeoutMs: 40_000 }).catch(() =>
      assert.equal(now, atRest),
    );
  },
);

/** Ids of the jobs' containers that Docker has there, running or not. */
async function listedOn(host: ClusterHost): Promise<string[]> {
  const list = await host.docker(
    "GET",
    `/containers/json?all=1&filters=${encodeURIComponent('{"label":["flynn.job"]}')}`,
  );
  return (JSON.parse(list.body) as { Id: string }[]).map(({ Id }) => Id);
}

docker(
  "two containers that nobody can end: the rest of their host deploys, starts, stops and serves on, what hangs is said in words, and it goes by itself",
  async (cluster) => {
    const { appliance, hosts, scope } = cluster;
    const [other, host] = hosts as [ClusterHost, ClusterHost];
    await ask(appliance, "POST", `/v1/hosts/${other.name}/cordon`);
    const web = { ...QUICK_WEB, stopTimeoutMs: 1_000 };
    for (const name of ["frozen", "unwatched", "brisk"]) await addApp(cluster, { name, web });
    const [load, before] = [await loadOn(cluster, "fine"), await containersOn(host)];
    const containerOf = async (app: string) => {
      const [job] = await jobsOf(appliance, app);
      return before.find(({ jobId }) => jobId === job?.id)!;
    };
    const hung = [await containerOf("frozen"), await containerOf("unwatched")];
    const goOn = [await freeze(scope, host, hung[0]!.id), await stopShim(scope, hung[1]!.id)];
    const hungMs = performance.now();
    try {
      for (const app of ["frozen", "unwatched"])
        await ask(appliance, "PATCH", `/v1/apps/${app}/formation`, { web: { count: 0 } });
      const next = await release(cluster, "brisk", "hello", { env: { NEXT: "1" } });
      const { state, reason } = await deploy(appliance, "brisk", next);
      assert.is(state, "complete", reason);
      const deployed = seconds(hungMs);
      await scale(appliance, "brisk", 3);
      await scale(appliance, "brisk", 1);
      console.log(`beside two that hang: deployed after ${deployed} s, scaled up and down after ${seconds(hungMs)} s`);
      const words = { frozen: /does not die of SIGKILL/, unwatched: /its processes have ended.*container hangs/ };
      for (const [app, said] of Object.entries(words)) {
        let shown = "";
        const isSaid = async () => {
          shown = await appliance.flynn(["-a", app, "ps"]);
          return said.test(shown);
        };
        await until(isSaid, { what: `the words for ${app}`, timeoutMs: 60_000, everyMs: 500 }).catch(() =>
          assert.match(shown, said),
        );
        console.log(`${app}: said after ${seconds(hungMs)} s`);
      }
      // Each has a successor beside it: what hangs holds neither name nor address of another.
      for (const app of ["frozen", "unwatched"]) {
        await ask(appliance, "PATCH", `/v1/apps/${app}/formation`, { web: { count: 1 } });
        const isUp = async () => (await appliance.get(`${app}.test`)).status === 200;
        await until(isUp, { what: `another job of ${app}`, timeoutMs: 30_000 });
      }
      assert.is((await ask<Host>(appliance, "GET", `/v1/hosts/${host.name}`)).state, "ready");
      // Of one that hangs Docker answers nothing; it lists it.
      const now = await listedOn(host);
      for (const { id } of hung) assert.ok(now.includes(id), "it did not hang until the end");
    } finally {
      for (const each of goOn) await each();
    }
    const goneMs = performance.now();
    const areGone = async () => {
      const now = await listedOn(host);
      return !hung.some(({ id }) => now.includes(id));
    };
    await until(areGone, { what: "the end of what hung", timeoutMs: 60_000 });
    for (const app of ["frozen", "unwatched"]) await settled(appliance, app, 1);
    console.log(`what hung is gone ${seconds(goneMs)} s after it went on`);
    await unharmed(load, "containers that hang");
    for (const app of ["frozen", "unwatched", "brisk"]) await ask(appliance, "DELETE", `/v1/apps/${app}`);
    const own = before.filter(({ jobId }) => !hung.some((one) => one.jobId === jobId));
    await until(async () => (await containers(cluster)).length === 5, {
      what: "the end of the three apps",
      timeoutMs: 60_000,
    });
    const left = await containersOn(host);
    assert.equal(
      left,
      own.filter(({ id }) => left.some((one) => one.id === id)),
      "others were touched",
    );
    await ask(appliance, "POST", `/v1/hosts/${other.name}/uncordon`);
  },
);

docker(
  "Docker is killed and starts without live-restore: what it ended runs again within seconds, nothing twice, no address twice",
  async (cluster) => {
    const { appliance, hosts } = cluster;
    const host = hosts[1]!;
    const were = await containersOn(host);
    assert.ok(were.length > 0, "it runs nothing");
    await host.killDocker();
    await host.startDocker({ liveRestore: false });
    const startedMs = performance.now();
    const again = async () => {
      const now = await containersOn(host);
      return now.length === were.length && now.every(({ id }) => !were.some((one) => one.id === id));
    };
    await until(again, { what: "as many other containers", timeoutMs: 60_000 });
    const jobs = [...(await settled(appliance, "fine", 4)), ...(await settled(appliance, "hung", 1))];
    console.log(`Docker without live-restore: all runs again after ${seconds(startedMs)} s`);
    assert.is((await containers(cluster)).length, 5);
    const addresses = jobs.map(({ address }) => address);
    assert.is(new Set(addresses).size, addresses.length, `addresses ${addresses}`);
    await until(async () => (await appliance.get("fine.test")).status === 200, { what: "fine", timeoutMs: 20_000 });
    await unharmed(await loadOn(cluster, "fine"), "after a Docker without live-restore");
  },
);

docker("alerts that are over are cleared, each was raised once", async ({ appliance }) => {
  await cleared(appliance, "host-unhealthy");
  const names = (await alertsOf(appliance, "host-unhealthy", "all")).map(({ subject }) => subject.name);
  assert.is(names.filter((name) => name === "h1").length, 1, names.join());
});

docker("nothing is left on the machine", ({ scope }) => leavesNothing(scope));

docker.run();
