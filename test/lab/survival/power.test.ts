// time limit: 400 s
// The power of the whole place is cut: control, boot server, router, HAProxy and every host at once. Started in any order, also with
// a host that got another address, the same apps are served again and nobody had to do anything. Seeded orders, so that a failure can
// be seen again.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Host } from "#api/hosts.ts";
import type { Job } from "#api/jobs.ts";
import type { Status } from "#api/status.ts";
import { until } from "#lib/time.ts";
import type { Appliance } from "../appliance.ts";
import {
  addApp,
  ask,
  type Cluster,
  containers,
  jobsOf,
  leavesNothing,
  loadOn,
  seconds,
  settled,
  startCluster,
  statusPart,
  unharmed,
} from "./cluster.ts";

const APPS = { blue: 3, green: 2 } as const;
const DOMAINS = Object.keys(APPS).map((name) => `${name}.test`);

const power = suite<Cluster>("survival: power");

power.before(async (context) => {
  Object.assign(context, await startCluster({ machines: true, appliance: { flags: ["--interface", "br0"] } }));
  for (const [name, count] of Object.entries(APPS)) await addApp(context, { name, count });
});

power.after(({ scope }: Partial<Cluster>) => scope?.close());

interface Cut {
  seed: number;
  /** Docker's storage and the agent's records are in RAM or on a disk that stays. */
  docker: "kept" | "gone";
  agent: "kept" | "gone";
  /** One that has jobs comes back with this address. */
  movedTo?: string;
}

const CUTS: Cut[] = [
  { seed: 10, docker: "kept", agent: "kept" },
  { seed: 1, docker: "gone", agent: "kept" },
  { seed: 7, docker: "gone", agent: "gone" },
  { seed: 15, docker: "kept", agent: "kept", movedTo: "10.77.0.42" },
];

/** What an agent says once it has met control, or nobody where control is to be. */
const HEARD = /target received/;
const MISSED = /control is away|report did not reach control|join is tried again/;

for (const cut of CUTS) {
  const order = shuffled(["appliance", "h1", "h2", "h3"], cut.seed);
  const moves = cut.movedTo ? ", one host at another address" : "";
  power(
    `${order.join(", ")}; Docker's storage ${cut.docker}, the agents' ${cut.agent}${moves}: served again`,
    async (cluster) => {
      const { appliance, hosts } = cluster;
      const before = await ask<Status>(appliance, "GET", "/v1/status");
      const hostsBefore = await ask<{ items: Host[] }>(appliance, "GET", "/v1/hosts");
      const [busy] = await jobsOf(appliance, "blue");
      const moved = hostsBefore.items.find(({ id }) => id === busy?.hostId)!;
      // The LAN's own commands, which cut the hosts off, are run where the appliance is: they must not die with it.
      await appliance.killAll();
      await Promise.all(hosts.map((host) => host.powerCut()));
      if (cut.agent === "gone") for (const host of hosts) await host.forget();
      if (cut.movedTo) await hosts.find(({ name }) => name === moved.name)!.readdress(cut.movedTo);
      const startedMs = performance.now();
      let applianceIsUp = false;
      for (const name of order) {
        if (name === "appliance") {
          await appliance.start();
          applianceIsUp = true;
          continue;
        }
        const host = hosts.find((found) => found.name === name)!;
        await host.powerOn({ fresh: cut.docker === "gone" });
        await host.startHostd();
        // Before the next one comes, so that each meets the others' absence.
        await host.hostd.waitFor(applianceIsUp ? HEARD : MISSED, 90_000);
      }
      for (const domain of DOMAINS)
        await until(async () => (await appliance.get(domain)).status === 200, { what: domain, timeoutMs: 90_000 });
      const servedAfter = seconds(startedMs);
      for (const [name, count] of Object.entries(APPS)) await settled(appliance, name, count, 60_000);
      console.log(
        `order ${order.join(", ")}: served after ${servedAfter} s, all jobs up after ${seconds(startedMs)} s`,
      );
      const now = await ask<Status>(appliance, "GET", "/v1/status");
      assert.is(now.clusterId, before.clusterId);
      assert.ok(now.seq >= before.seq, `seq ${now.seq} after ${before.seq}`);
      // Jobs are known to be up from before; each host is ready once it has been heard again.
      const hostsNow = () => ask<{ items: Host[] }>(appliance, "GET", "/v1/hosts");
      await until(async () => (await hostsNow()).items.every(({ state }) => state === "ready"), {
        what: "every host is heard again",
        timeoutMs: 60_000,
      });
      assert.equal(
        (await hostsNow()).items.map(({ id }) => id),
        hostsBefore.items.map(({ id }) => id),
        "the same hosts, whatever they remember themselves",
      );
      const load = await loadOn(cluster, "blue");
      await until(async () => (await containers(cluster)).length === 5, { what: "five containers", timeoutMs: 60_000 });
      await until(async () => (await load.progress()).requests > 100, { what: "100 requests", timeoutMs: 20_000 });
      await unharmed(load, "after the power cut");
      await until(async () => (await statusPart(appliance, "boot server")).state === "ok", {
        what: "the boot server",
        timeoutMs: 30_000,
      });
      if (cut.movedTo) {
        assert.is((await hostsNow()).items.find(({ id }) => id === moved.id)?.address, cut.movedTo);
        const jobs = (await Promise.all(Object.keys(APPS).map((name) => jobsOf(appliance, name)))).flat();
        assert.ok(
          jobs.some(({ hostId }) => hostId === moved.id),
          "no job runs on the host that moved",
        );
        await allAnswer(appliance, jobs);
      }
    },
  );
}

power("nothing is left on the machine", ({ scope }) => leavesNothing(scope));

power.run();

/** Each of them is seen to answer: another one's answer would hide a host that is not reached. */
async function allAnswer(appliance: Appliance, jobs: readonly Job[]): Promise<void> {
  const silent = new Set(jobs.map(({ id }) => id));
  const asked = async () => {
    for (const domain of DOMAINS) {
      const { body } = await appliance.get(domain);
      for (const id of silent) if (body.includes(id)) silent.delete(id);
    }
    return silent.size === 0;
  };
  await until(asked, { what: "an answer of each job", timeoutMs: 30_000 });
}

/** Fisher and Yates with a small generator of our own (mulberry32). */
function shuffled<T>(items: readonly T[], seed: number): T[] {
  let state = seed;
  const random = () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  const left = [...items];
  for (let n = left.length - 1; n > 0; n--) {
    const m = Math.floor(random() * (n + 1));
    [left[n], left[m]] = [left[m]!, left[n]!];
  }
  return left;
}
