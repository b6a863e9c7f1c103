// time limit: 300 s
// What a tenant reaches, seen in the kernels of two real hosts with an appliance, another machine on the LAN and an outside: the table of
// reach-table.ts under each egress policy, rules that come and go, somebody who flushes the tables, an app and a build that try it all.
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Job } from "#api/jobs.ts";
import { exec } from "#lib/exec.ts";
import { until } from "#lib/time.ts";
import { localName, parseReference } from "../../hostd/builds/image-reference.ts";
import type { ClusterHost } from "./appliance.ts";
import { writeImageArchive } from "./image.ts";
import type { Lan } from "./network.ts";
import type { Target } from "./probe.ts";
import { markdown, outcome, type Policy, ROWS, type Row } from "./reach-table.ts";
import {
  addApp,
  ask,
  type Cluster,
  deploy,
  jobsOf,
  leavesNothing,
  release,
  scale,
  startCluster,
} from "./survival/cluster.ts";

const ANSWER = fileURLToPath(new URL("answer.ts", import.meta.url));
const PROBE = fileURLToPath(new URL("probe.ts", import.meta.url));
const HOSTILE = fileURLToPath(new URL("../apps/hostile/start.sh", import.meta.url));
const BASE = "10.77.0.50:5000/base:1";
const OUTSIDE = "11.0.0.1";
const METADATA = "169.254.169.254";

interface Source {
  host: ClusterHost;
  /** As the host numbers it. */
  pid: number;
}
interface Context extends Cluster {
  /** A machine on the LAN that is none of ours. */
  machine: Awaited<ReturnType<Lan["host"]>>;
  jobs: Record<"shop" | "mail" | "store", Job[]>;
  app: Source;
  build: Source;
  /** Address of another build on the same host. */
  neighbour: string;
}
const lab = suite<Context>("reach");

const dockerOf = (host: ClusterHost) => ["docker", "-H", `unix://${host.dockerSocket}`];
const docker = async (host: ClusterHost, ...argv: string[]): Promise<string> =>
  (await exec([...dockerOf(host), ...argv])).stdout.trim();
const listen = async (where: Pick<Lan, "spawn">, ...places: string[]): Promise<void> => {
  const running = await where.spawn([process.execPath, ANSWER, ...places], { name: "answer" });
  await running.waitFor(/listening/, 10_000);
};
const inside = ({ pid }: Source) => ["nsenter", `--target=${pid}`, "--net", "--"];
const probe = async (source: Source, targets: readonly Target[]): Promise<Record<string, boolean>> => {
  const { stdout } = await source.host.exec([...inside(source), process.execPath, PROBE, JSON.stringify(targets)]);
  return JSON.parse(stdout) as Record<string, boolean>;
};
const reaches = async (source: Source, target: Omit<Target, "name" | "protocol">): Promise<boolean> =>
  (await probe(source, [{ name: "it", protocol: "tcp", ...target }]))["it"]!;

/** Usable at once. */
const nodad = (address: string): string[] => (address.includes(":") ? ["nodad"] : []);
const hostOf = ({ hosts }: Cluster, name: string): ClusterHost => hosts.find((host) => host.name === name)!;
const namesOfHosts = async ({ appliance }: Cluster): Promise<Map<string, string>> => {
  const { items } = await ask<{ items: { id: string; name: string }[] }>(appliance, "GET", "/v1/hosts");
  return new Map(items.map(({ id, name }) => [id, name]));
};
const pidOf = async (host: ClusterHost, name: string): Promise<number> =>
  Number(await docker(host, "inspect", "-f", "{{.State.Pid}}", name));
/** Of the last of these jobs on the host; the first is who asks. */
const here = (jobs: readonly Job[], host: ClusterHost, names: Map<string, string>): string =>
  jobs.findLast(({ hostId }) => names.get(hostId ?? "") === host.name)!.address!;

/** Every place of the table, as this source would name it. */
async function places(context: Context, source: Source): Promise<Map<string, Target[]>> {
  const { hosts, jobs, neighbour } = context;
  const names = await namesOfHosts(context);
  const other = hosts.find((host) => host !== source.host)!;
  const gateway = (host: ClusterHost) => here(jobs.shop, host, names).replace(/\.\d+$/, ".1");
  const tcp = (...where: [string, number][]): Target[] =>
    where.map(([address, port]) => ({ name: `tcp ${address} ${port}`, protocol: "tcp", address, port }));
  const udp = (...where: [string, number][]): Target[] =>
    where.map(([address, port]) => ({ name: `udp ${address} ${port}`, protocol: "udp", address, port }));
  const own = [source.host.ip, gateway(source.host), neighbour.replace(/\.\d+$/, ".1")];
  const onHost = (addresses: string[], port: number) =>
    tcp(...addresses.map((address): [string, number] => [address, port]));
  return new Map([
    ["own-here", tcp([here(jobs.shop, source.host, names), 8080])],
    ["own-there", tcp([here(jobs.shop, other, names), 8080])],
    ["other-here", tcp([here(jobs.mail, source.host, names), 8080])],
    ["other-there", tcp([here(jobs.mail, other, names), 8080])],
    ["ruled-here", tcp([here(jobs.store, source.host, names), 8080])],
    ["ruled-there", tcp([here(jobs.store, other, names), 8080])],
    ["build", tcp([neighbour, 8081])],
    ["names", [...tcp(["10.77.0.1", 53]), ...udp(["10.77.0.1", 53])]],
    ["api", tcp(["10.77.0.1", 7777])],
    ["routers", tcp(["10.77.0.1", 80], ["10.77.0.1", 443])],
    ["registry", tcp(["10.77.0.1", 5000])],
    ["boot", [...tcp(["10.77.0.1", 7780]), ...udp(["10.77.0.1", 69], ["10.77.0.1", 67])]],
    ["sshd", onHost(own, 22)],
    ["hostd", onHost(own, 7779)],
    ["docker", onHost(own, 2375)],
    ["hosts", [22, 7779, 2375].flatMap((port) => onHost([other.ip, gateway(other)], port))],
    ["lan", tcp([context.machine.ip, 8080], ["192.168.9.1", 8080])],
    ["bmc", tcp(["10.98.0.7", 8443], ["10.99.0.7", 8443])],
    ["metadata", tcp([METADATA, 80])],
    ["outside", [...tcp([OUTSIDE, 8080]), ...udp([OUTSIDE, 8080])]],
    ["ipv6", tcp(["fd00:77::1", 8080])],
  ]);
}

lab.before(async (context) => {
  const flags = ["--boot-networks", "10.98.0.0/24", "--bmc-networks", "10.99.0.0/24"];
  const cluster = await startCluster({ count: 2, appliance: { flags }, dns: ["10.77.0.1"] });
  Object.assign(context, cluster);
  const { appliance, hosts, scope } = cluster;
  const { lan } = appliance;
  const machine = await lan.host("machine", "10.77.0.60");
  // On a machine that is none of ours: all addresses of the appliance's own are closed.
  for (const address of [`${OUTSIDE}/32`, "192.168.9.1/24"])
    await exec(["ip", "-n", machine.namespace, "addr", "add", address, "dev", "eth0"]);
  for (const address of ["10.98.0.7/24", "10.99.0.7/24", "169.254.0.1/16", "fd00:77::1/64"])
    await exec(["ip", "-n", lan.namespace, "addr", "add", address, "dev", lan.bridge, ...nodad(address)]);
  await listen(
    lan,
    ...["tcp:10.77.0.1:53", "udp:10.77.0.1:53", "tcp:10.77.0.1:7780", "udp:10.77.0.1:69", "udp:10.77.0.1:67"],
    ...["tcp:10.98.0.7:8443", "tcp:10.99.0.7:8443", "tcp:fd00:77::1:8080"],
  );
  await listen(machine, "tcp:0.0.0.0:8080", `udp:${OUTSIDE}:8080`);
  await writeImageArchive(join(scope.folder, "base.tar"), {
    reference: `${localName(parseReference(BASE)!)}:latest`, // as hostd has it once it was fetched
    command: ["/bin/sh"],
  });
  for (const host of hosts) {
    for (const range of [`${OUTSIDE}/32`, "192.168.9.0/24"])
      await exec(["ip", "-n", host.namespace, "route", "add", range, "via", machine.ip]);
    for (const [address, device] of [
      [`${METADATA}/32`, "lo"],
      [`fd00:77::${host.ip.split(".").at(-1)}/64`, "eth0"],
    ] as const)
      await exec(["ip", "-n", host.namespace, "addr", "add", address, "dev", device, ...nodad(address)]);
    await listen(host, "tcp:0.0.0.0:22", "tcp:0.0.0.0:2375", `tcp:${METADATA}:80`);
    await docker(host, "load", "-q", "-i", join(scope.folder, "base.tar"));
  }
  for (const name of ["shop", "mail", "store"] as const) {
    await addApp(cluster, { name });
    await scale(appliance, name, name === "shop" ? 4 : 2);
  }
  context.jobs = {
    shop: await jobsOf(appliance, "shop"),
    mail: await jobsOf(appliance, "mail"),
    store: await jobsOf(appliance, "store"),
  };
  context.machine = machine;
});
lab.after(({ scope }: Partial<Context>) => scope?.close());

lab("an app is served, and its health is seen, by those who are let in", async ({ appliance, jobs }) => {
  assert.is((await appliance.get("shop.test")).status, 200);
  assert.ok(jobs.shop.every(({ state }) => state === "up"));
});

/** All that a hostile app or build has to say. */
async function ownWords(log: () => Promise<string>): Promise<string> {
  const isDone = async () => {
    const text = await log();
    return /hostile: done/.test(text) ? text : undefined;
  };
  return until(isDone, { what: "the last word", timeoutMs: 60_000 }).catch(async (cause: unknown) => {
    throw new Error(`it did not try everything: ${(await log()).slice(-2_000)}`, { cause });
  });
}

lab("a build that tries everything reaches nothing but the outside and name servers", async (context) => {
  const { appliance, scope, hosts } = context;
  const source = join(scope.folder, "hostile-build");
  await mkdir(source);
  const tries = [
    ["control", "10.77.0.1", 7777],
    ["registry", "10.77.0.1", 5000],
    ["boot", "10.77.0.1", 7780],
    ["router", "10.77.0.1", 80],
    ...hosts.flatMap(({ name, ip }) => [22, 7779, 2375].map((port) => [`${name}:${port}`, ip, port] as const)),
    ["metadata", METADATA, 80],
    ["job", context.jobs.mail[0]!.address!, 8080],
    ["own", context.jobs.shop[0]!.address!, 8080],
    ["machine", context.machine.ip, 8080],
    ["outside", OUTSIDE, 8080],
  ] as const;
  await exec(["cp", HOSTILE, join(source, "hostile.sh")]);
  const run = `TARGETS="${tries.map((one) => one.join(",")).join(" ")}" sh /hostile.sh; sleep 600`;
  await writeFile(join(source, "Dockerfile"), `FROM ${BASE}\nCOPY hostile.sh /\nRUN ${run}\n`);
  await exec(["tar", "-czf", `${source}.tar.gz`, "-C", source, "."]);
  await appliance.flynn(["deploy", "-a", "shop", "--archive", `${source}.tar.gz`, "--detach"]);
  const log = async () => (await appliance.tryFlynn(["build", "log", "-a", "shop", "1"])).stdout;
  const said = await ownWords(log);
  assert.equal(said.match(/hostile: .*: (reached|taken)/g), ["hostile: outside: reached"], said);
  const names = await namesOfHosts(context);
  for (const host of hosts) {
    const [step] = (await docker(host, "ps", "-q", "--filter", "network=flynn-build-step")).split("\n");
    if (step === "" || step === undefined) continue;
    context.build = { host, pid: await pidOf(host, step) };
    const job = context.jobs.shop.find(({ hostId }) => names.get(hostId ?? "") === host.name)!;
    context.app = { host, pid: await pidOf(host, `flynn-${job.id}`) };
    const served = ["httpd", "-f", "-p", "8081"];
    await docker(
      host,
      "run",
      "-d",
      "--name",
      "neighbour",
      "--network",
      "flynn-build",
      localName(parseReference(BASE)!),
      ...served,
    );
    const format = '{{(index .NetworkSettings.Networks "flynn-build").IPAddress}}';
    context.neighbour = await docker(host, "inspect", "-f", format, "neighbour");
  }
  assert.ok(context.build, "the build runs on one of the hosts");
});

lab("an app that tries everything reaches its own, the API, the routers and the outside", async (context) => {
  const { appliance } = context;
  const tries = [
    ...[7777, 80, 443, 5000, 7780, 22].map((port) => [`appliance:${port}`, "10.77.0.1", port] as const),
    ...context.hosts.flatMap(({ name, ip }) => [22, 7779, 2375].map((port) => [`${name}:${port}`, ip, port] as const)),
    ["metadata", METADATA, 80],
    ["job", context.jobs.mail[0]!.address!, 8080],
    ["machine", context.machine.ip, 8080],
    ["outside", OUTSIDE, 8080],
  ] as const;
  await addApp(context, { name: "hostile" });
  await ask(appliance, "PATCH", "/v1/apps/hostile/env", {
    env: { TARGETS: tries.map((one) => one.join(",")).join(" ") },
  });
  const version = await release(context, "hostile", "hostile");
  assert.is((await deploy(appliance, "hostile", version)).state, "complete");
  const said = await ownWords(() => appliance.flynn(["log", "-a", "hostile", "-n", "200"]));
  const reached = [...said.matchAll(/hostile: (.*): (reached|taken)/g)].map(([, name]) => name).sort();
  assert.equal(reached, ["appliance:443", "appliance:7777", "appliance:80", "outside"], said);
});

lab("the table of what a tenant reaches, in the kernel, under every egress policy", async (context) => {
  const { appliance } = context;
  await ask(appliance, "POST", "/v1/network-rules", { from: { name: "shop" }, to: { name: "store" } });
  const found = new Map<string, Policy[]>();
  const targets = { app: await places(context, context.app), build: await places(context, context.build) };
  // Whatever is not reached is there, and answers who may ask.
  const jobs = ["own-here", "own-there", "other-here", "other-there", "ruled-here", "ruled-there"];
  for (const source of [context.app, context.build]) {
    const there = [...(source === context.app ? targets.app : targets.build)].filter(([key]) => !jobs.includes(key));
    const { stdout } = await source.host.exec([
      process.execPath,
      PROBE,
      JSON.stringify(there.flatMap(([, list]) => list)),
    ]);
    const missing = Object.entries(JSON.parse(stdout) as Record<string, boolean>).filter(([, reached]) => !reached);
    assert.equal(missing, [], "the host itself reaches all that is no job");
  }
  // As it was started, and the widest last, under which what follows says most.
  for (const policy of ["internet", "none", "all"] as const) {
    if (policy !== "internet") await restart(context, policy);
    await enforced(context);
    for (const kind of ["app", "build"] as const) {
      const list = [...targets[kind].values()].flat();
      const reached = await probe(context[kind], list);
      for (const { name } of list)
        if (reached[name]) found.set(`${kind} ${name}`, [...(found.get(`${kind} ${name}`) ?? []), policy]);
    }
  }
  const cell = (kind: "app" | "build", { key }: Row): string => {
    const each = targets[kind]
      .get(key)!
      .map(({ name }) => [name, outcome(found.get(`${kind} ${name}`) ?? [])] as const);
    const outcomes = new Set(each.map(([, one]) => one));
    return outcomes.size === 1 ? each[0]![1] : each.map(([name, one]) => `${name}: ${one}`).join("; ");
  };
  const seen = ROWS.map((row) => ({ what: row.what, app: cell("app", row), build: cell("build", row) }));
  assert.is(markdown(seen as Row[]), markdown(ROWS));
});

async function restart({ appliance }: Cluster, policy: Policy): Promise<void> {
  await appliance.stop();
  await appliance.start("--app-egress", policy);
  await until(async () => (await appliance.get("shop.test")).status === 200, {
    what: "the router serves again",
    timeoutMs: 20_000,
  });
}

/** Every host enforces the newest version. */
async function enforced({ appliance }: Cluster): Promise<void> {
  const current = async () => {
    const { items } = await ask<{ items: { state: string }[] }>(appliance, "GET", "/v1/network/hosts");
    return items.length === 2 && items.every(({ state }) => state === "current");
  };
  await until(current, { what: "every host enforces the newest version", timeoutMs: 30_000, everyMs: 50 });
}

lab("nobody but routers opens a connection to a job, and nobody at all to a build", async (context) => {
  const { appliance, hosts, machine, jobs, neighbour, build } = context;
  for (const { host, address, port } of [
    { host: build.host, address: neighbour, port: 8081 },
    ...jobs.mail.map(({ address }) => ({ host: hosts[0]!, address: address!, port: 8080 })),
  ]) {
    await exec(["ip", "-n", machine.namespace, "route", "replace", `${address}/32`, "via", host.ip]);
    const target = JSON.stringify([{ name: "it", protocol: "tcp", address, port }]);
    const { stdout } = await machine.exec([process.execPath, PROBE, target]);
    assert.is((JSON.parse(stdout) as Record<string, boolean>)["it"], false, `${machine.ip} to ${address}`);
  }
  assert.is((await appliance.get("mail.test")).status, 200);
});

lab("a rule opens within a second, and what it let through is cut with it", async (context) => {
  const { appliance, app, jobs } = context;
  const { items } = await ask<{ items: { id: string }[] }>(appliance, "GET", "/v1/network-rules");
  const names = await namesOfHosts(context);
  const servers = [
    here(jobs.store, app.host, names),
    here(jobs.store, context.hosts.find((host) => host !== app.host)!, names),
  ];
  const held = await Promise.all(
    servers.map(async (address) => {
      const job = jobs.store.find((one) => one.address === address)!;
      const host = hostOf(context, names.get(job.hostId!)!);
      const server = await host.spawn([
        ...inside({ host, pid: await pidOf(host, `flynn-${job.id}`) }),
        process.execPath,
        ANSWER,
        "tcp:0.0.0.0:9000",
      ]);
      await server.waitFor(/listening/, 10_000);
      const running = await app.host.spawn([...inside(app), process.execPath, PROBE, "hold", address, "9000"], {
        name: "hold",
      });
      await running.waitFor(/open/, 10_000);
      return running;
    }),
  );
  for (const { id } of items) await ask(appliance, "DELETE", `/v1/network-rules/${id}`);
  for (const running of held) await running.waitFor(/cut/, 5_000);
  for (const address of servers) assert.is(await reaches(app, { address, port: 9000 }), false);
  const startMs = performance.now();
  await ask(appliance, "POST", "/v1/network-rules", { from: { name: "shop" }, to: { name: "store" } });
  await enforced(context);
  console.log(`a rule was in force after ${Math.round(performance.now() - startMs)} ms`);
  for (const address of servers) assert.is(await reaches(app, { address, port: 9000 }), true);
});

lab("nobody sends in another's name: not with its address, not with its card's", async (context) => {
  const { app, build, jobs } = context;
  const names = await namesOfHosts(context);
  const victim = here(jobs.mail, app.host, names);
  const mails = here(jobs.mail, context.hosts.find((host) => host !== app.host)!, names);
  const ip = (source: Source, ...argv: string[]) => source.host.exec([...inside(source), "ip", ...argv]);
  await ip(app, "addr", "add", `${victim}/16`, "dev", "eth0");
  assert.is(await reaches(app, { address: mails, port: 8080, from: victim }), false, "an app as another");
  await ip(app, "addr", "del", `${victim}/16`, "dev", "eth0");
  const shops = here(jobs.shop, build.host, names);
  await ip(build, "addr", "add", `${shops}/32`, "dev", "eth0");
  assert.is(await reaches(build, { address: here(jobs.shop, build.host, names), port: 8080, from: shops }), false);
  assert.is(await reaches(build, { address: OUTSIDE, port: 8080, from: shops }), false, "a build as a job");
  assert.is(await reaches(build, { address: OUTSIDE, port: 8080 }), true, "a build as itself");
  await ip(build, "addr", "del", `${shops}/32`, "dev", "eth0");
});

lab("tables that somebody flushes or alters are back within seconds, and routers serve as before", async (context) => {
  const { app, hosts, appliance } = context;
  const sshd = { address: app.host.ip, port: 22 };
  const tables = async (host: ClusterHost) => (await host.exec(["nft", "list", "table", "inet", "flynn"])).stdout;
  const accept = (chain: string) => ["nft", "insert", "rule", "inet", "flynn", chain, "accept"];
  const deeds: [string, string[][]][] = [
    ["flushed", [["nft", "flush", "ruleset"]]],
    ["altered", [accept("forward"), accept("host")]],
    ["emptied", [["nft", "flush", "set", "inet", "flynn", "closed"]]],
  ];
  for (const [what, commands] of deeds) {
    const before = await Promise.all(hosts.map(tables));
    for (const host of hosts) for (const argv of commands) await host.exec(argv);
    const startMs = performance.now();
    const isBack = async () =>
      (
        await Promise.all(
          hosts.map((host, n) =>
            tables(host).then(
              (text) => text === before[n],
              () => false,
            ),
          ),
        )
      ).every(Boolean);
    await until(isBack, { what: `the ${what} table is back`, timeoutMs: 30_000, everyMs: 50 });
    console.log(`${what}: back after ${Math.round(performance.now() - startMs)} ms`);
    assert.is(await reaches(app, sshd), false, what);
  }
  await until(async () => (await appliance.get("shop.test")).status === 200, {
    what: "shop is served",
    timeoutMs: 10_000,
  });
  assert.is(
    await reaches(app, { address: here(context.jobs.mail, app.host, await namesOfHosts(context)), port: 8080 }),
    false,
  );
});

lab("with control away the rules hold", async (context) => {
  const { app, appliance, jobs } = context;
  const names = await namesOfHosts(context);
  await appliance.stop();
  assert.is(await reaches(app, { address: here(jobs.store, app.host, names), port: 8080 }), true);
  assert.is(await reaches(app, { address: here(jobs.mail, app.host, names), port: 8080 }), false);
  await appliance.start();
});

lab("nothing is left", async ({ scope }) => leavesNothing(scope));

lab.run();
