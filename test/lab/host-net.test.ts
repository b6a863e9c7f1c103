// time limit: 300 s
// Hosts' subnets grow with jobs running, on real hosts: `flynn up --host-net 22` is given later, a host is drained and gets the larger
// subnet, its Docker network is made anew once nothing is on the old one, the others' routes follow, and no request fails meanwhile.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Host } from "#api/hosts.ts";
import type { Job } from "#api/jobs.ts";
import { exec } from "#lib/exec.ts";
import { until } from "#lib/time.ts";
import type { ClusterHost } from "./appliance.ts";
import {
  addApp,
  ask,
  type Cluster,
  containersOn,
  jobsOf,
  leavesNothing,
  loadOn,
  QUICK_WEB,
  scale,
  settled,
  startCluster,
  unharmed,
} from "./survival/cluster.ts";

const lab = suite<Cluster>("host nets");
const WAIT = { timeoutMs: 60_000, everyMs: 200 };

lab.before(async (context) => {
  Object.assign(context, await startCluster({ count: 2 }));
  await addApp(context, { name: "hello", count: 4, web: QUICK_WEB });
});
lab.after(({ scope }: Partial<Cluster>) => scope?.close());

const docker = async (host: ClusterHost, ...argv: string[]): Promise<string> =>
  (await exec(["docker", "-H", `unix://${host.dockerSocket}`, ...argv])).stdout.trim();
const bridgeOf = async (host: ClusterHost): Promise<string> =>
  (await host.exec(["ip", "-4", "-o", "addr", "show", "dev", "flynn0"])).stdout;
const rulesOf = async (host: ClusterHost): Promise<string> =>
  (await host.exec(["nft", "list", "table", "inet", "flynn"])).stdout;
const routesOf = async (host: ClusterHost): Promise<string> =>
  (await host.exec(["ip", "-4", "route", "show", "proto", "77"])).stdout;

lab(
  "a drained host gets the larger subnet when the last container is gone, jobs wait for it, and it is reached from everywhere",
  async (cluster) => {
    const { appliance, hosts } = cluster;
    const [first, second] = hosts as [ClusterHost, ClusterHost];
    const shown = (host: ClusterHost) => ask<Host>(appliance, "GET", `/v1/hosts/${host.name}`);
    const { id: firstId, subnet: before } = await shown(first);
    const { subnet: others } = await shown(second);
    assert.match(before, /\.0\/24$/);
    const ran = await containersOn(second);
    assert.is(ran.length, 2);

    await appliance.stop();
    await appliance.start("--host-net", "22");
    const says = /^it gets a \/22 once it has no jobs \(flynn host drain /;
    await until(async () => (await shown(first)).state === "ready", { what: "the host", ...WAIT });
    assert.match((await shown(first)).subnetWaits ?? "", says);
    await settled(appliance, "hello", 4);
    assert.equal([(await shown(first)).subnet, (await shown(second)).subnet], [before, others], "jobs are on them");

    // Somebody's own container on the jobs' network holds it.
    const image = await docker(first, "inspect", "-f", "{{.Image}}", (await containersOn(first))[0]!.id);
    await docker(first, "run", "-d", "--name", "by-hand", "--network", "flynn", image);
    await until(async () => (await appliance.get("hello.test")).status === 200, { what: "the router", ...WAIT });
    const load = await loadOn(cluster, "hello");
    await appliance.flynn(["host", "drain", first.name, "--timeout", "60s"]);
    const grown = await until(
      async () => {
        const host = await shown(first);
        return host.subnet.endsWith("/22") && host.subnetWaits !== undefined ? host : undefined;
      },
      { what: "its larger subnet", ...WAIT },
    );
    assert.is(grown.subnetWaits, `network flynn has ${before} until by-hand has ended; then it gets ${grown.subnet}`);
    assert.match(
      await appliance.flynn(["host", "show", first.name]),
      /Subnet waits:?\s+network flynn has [\s\S]*by-hand has ended/,
    );
    assert.match(await bridgeOf(first), new RegExp(`inet ${before.replace(/0\/24$/, "1/24")} `));

    await appliance.flynn(["host", "uncordon", first.name]);
    await ask(appliance, "PATCH", "/v1/apps/hello/formation", { web: { count: 8 } });
    const onFirst = async () => (await jobsOf(appliance, "hello")).filter((job) => job.hostId === firstId);
    const waits = async () => (await onFirst()).find(({ reason }) => reason.includes("until by-hand has ended"));
    const waiting = await until(waits, { what: "a job that says what it waits for", ...WAIT });
    assert.equal([waiting.state, waiting.restarts], ["starting", 0]);

    await docker(first, "rm", "-f", "by-hand");
    const jobs = await settled(appliance, "hello", 8);
    const here = jobs.filter((job) => job.hostId === firstId);
    assert.ok(here.length > 0);
    const base = grown.subnet.replace(/\.\d+\.0\/22$/, "");
    const third = Number(grown.subnet.split(".")[2]);
    const isIn = ({ address = "" }: Job) => {
      const parts = address.split(".").map(Number);
      return address.startsWith(`${base}.`) && parts[2]! >= third && parts[2]! <= third + 3;
    };
    assert.ok(here.every(isIn), here.map(({ address }) => address).join(" "));
    await until(async () => (await shown(first)).subnetWaits === undefined, { what: "an end of the waiting", ...WAIT });

    assert.match(await bridgeOf(first), new RegExp(`inet ${grown.subnet.replace(/0\/22$/, "1/22")} `));
    assert.match(await rulesOf(first), new RegExp(`iifname != "lo" ip saddr ${grown.subnet} drop`));
    await until(async () => (await routesOf(second)).includes(`${grown.subnet} via ${first.ip}`), {
      what: "its route",
      ...WAIT,
    });
    assert.not.match(await routesOf(second), new RegExp(before), "none to what rests");
    const reaches = async (from: ClusterHost, job: Job) => {
      const [asker] = await containersOn(from);
      const pid = await docker(from, "inspect", "-f", "{{.State.Pid}}", asker!.id);
      const argv = [
        "nsenter",
        `--target=${pid}`,
        "--net",
        "--",
        "curl",
        "-sS",
        "-m",
        "5",
        `http://${job.address}:8080/`,
      ];
      const { stdout } = await from.exec(argv);
      return stdout.includes("from hello");
    };
    await until(() => reaches(second, here[0]!), { what: "an answer across hosts", ...WAIT });
    const there = jobs.find((job) => job.hostId !== firstId)!;
    await until(() => reaches(first, there), { what: "an answer the other way", ...WAIT });
    await unharmed(load, "a larger subnet");
    const still = new Set((await containersOn(second)).map(({ id }) => id));
    assert.ok(
      ran.every(({ id }) => still.has(id)),
      "what ran elsewhere was not touched",
    );

    await scale(appliance, "hello", 2);
  },
);

lab("nothing is left behind", ({ scope }) => leavesNothing(scope));

lab.run();
