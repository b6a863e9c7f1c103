// time limit: 120 s
// Every command that reads, against a real control that knows one of everything: with --json stdout holds one JSON value and
// nothing else, without it the words people are promised. And hosts as the CLI changes them.
import { copyFile, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { listAlerts } from "#api/alerts.ts";
import { createApp } from "#api/apps.ts";
import { postBootEvents } from "#api/boot.ts";
import { createBuild } from "#api/builds.ts";
import { createCertificate } from "#api/certificates.ts";
import { getDeployment, listDeployments } from "#api/deployments.ts";
import type { InventoryReport, MachineInventory } from "#api/inventory.ts";
import { type Job, listJobs } from "#api/jobs.ts";
import { listMachines } from "#api/machines.ts";
import { putMachineBmc } from "#api/power.ts";
import { createService } from "#api/services.ts";
import { setStack, uploadStackImage } from "#api/stack.ts";
import { until } from "#lib/time.ts";
import { certificatePin } from "#lib/x509.ts";
import { saveCluster } from "../../cli/clusters/clusters.ts";
import { clustersFile } from "../../cli/clusters/clusters-file.ts";
import { commands } from "../../cli/commands.ts";
import { keys } from "../../control/keys.ts";
import { writeImage } from "../bootstrap/image-fixture.ts";
import { archive } from "../control/builds/world.ts";
import { type FakeHost, rig } from "../control/rig.ts";
import { makeCertificate } from "../control/routing/certificates.ts";
import { invoke } from "./invoke.ts";

const directory = await mkdtemp(join(tmpdir(), "flynn-answers-"));
const env = { FLYNN_HOME: join(directory, "home"), HOME: directory };
const imageKey = join(directory, "image-signing.pub");
const control = await rig({ imageKey });
const hosts: FakeHost[] = [];

test.before(async () => {
  const { url, caPem, token, admin } = control;
  await saveCluster(clustersFile(env), { name: "rig", url, pin: certificatePin(caPem), caPem, token });
  for (const host of [await control.host("h1"), await control.host("h2")]) {
    host.start();
    hosts.push(host);
  }
  await control.router();
  await admin.call(createService, { body: { name: "hello", image: "hello:1", count: 2, domain: "hello.test" } });
  await admin.call(createApp, { body: { name: "idle" } });
  const certificate = await makeCertificate({
    names: ["cert.test"],
    from: new Date(Date.now() - 40 * 86_400_000),
    days: 2,
  });
  await admin.call(createCertificate, { body: { chain: certificate.certificate, key: certificate.key } });
  await ended();
  await admin.call(createApp, { body: { name: "built" } });
  const upload = Readable.from([await archive({ Procfile: "web: node ." })]);
  await admin.call(createBuild, { params: { app: "built" }, upload });
  const boot = await control.join("boot");
  const identity = { mac: "52:54:00:00:00:01", serial: "A1", firmware: "bios" as const };
  const event = {
    eventId: "e1",
    at: new Date().toISOString(),
    claimed: identity,
    observed: {},
    level: "info" as const,
  };
  const events = [{ ...event, stage: "discover" as const, message: "firmware looks for a boot server" }];
  await boot.client.call(postBootEvents, { params: { id: boot.id }, body: { events } });
  const bmc = { kind: "ipmi" as const, address: "192.0.2.9", user: "flynn", password: "geheim12" };
  await admin.call(putMachineBmc, { params: { id: identity.mac }, body: bmc });
  const image = await writeImage(directory);
  await copyFile(image.keyFile, imageKey);
  const digests: string[] = [];
  for (const part of ["builder", "runner"] as const) {
    const sent = { query: { part }, upload: Readable.from([Buffer.from(part)]) };
    digests.push((await admin.call(uploadStackImage, sent)).digest);
  }
  await admin.call(setStack, { body: { name: "flynn-12", builder: digests[0]!, runner: digests[1]! } });
  const registered = await flynn("image", "register", join(image.imagesDir, image.manifest.id));
  assert.is(registered.code, 0, registered.err);
});

test.after(async () => {
  await control.close();
  await rm(directory, { recursive: true, force: true });
});

const REPORT: InventoryReport = {
  mac: "52:54:00:00:00:01",
  system: { product: "Box 9" },
  firmware: { mode: "bios" },
  cpu: { model: "Some CPU", sockets: 1, cores: 4, threads: 8, flags: [] },
  memory: { totalBytes: 1 << 30, dimms: [{ slot: "A1", sizeBytes: 1 << 30 }] },
  disks: [{ path: "/dev/sda", sizeBytes: 1 << 30, removable: false, holds: "ext4", smart: { healthy: false } }],
  nics: [{ name: "eth0", carrier: true, neighbour: { system: "tor-3", port: "7" } }],
  unread: [],
};

const flynn = (...argv: string[]) => invoke(argv, { env, cwd: directory });
const jobs = async (): Promise<Job[]> =>
  (await control.admin.call(listJobs, { params: { app: "hello" } })).items.filter(({ desired }) => desired === "run");
const deployments = async () => (await control.admin.call(listDeployments, { params: { app: "hello" } })).items;

/** Waits until the first deployment is over. */
async function ended(): Promise<void> {
  const complete = async () => {
    const params = { app: "hello", id: (await deployments())[0]!.id };
    return (await control.admin.call(getDeployment, { params })).state === "complete";
  };
  await until(complete, { what: "hello being deployed", timeoutMs: 20_000, everyMs: 50 });
}

/** What each command that reads is asked about. Whoever adds a command says here, or below, which kind it is. */
const READS: Record<string, () => Promise<string[]> | string[]> = {
  status: () => [],
  version: () => [],
  doctor: () => ["--state", join(directory, "no-state")],
  "cluster list": () => [],
  "cluster default": () => [],
  "machine list": () => [],
  "machine disks": () => ["52:54:00:00:00:01"],
  "machine show": () => ["52:54:00:00:00:01"],
  "machine timeline": () => ["52:54:00:00:00:01"],
  "machine bmc show": () => ["52:54:00:00:00:01"],
  "machine power status": () => ["52:54:00:00:00:01"],
  "machine orders": () => ["52:54:00:00:00:01"],
  "machine explain": () => ["52:54:00:00:00:01"],
  "machine inventory": async () => {
    const { items } = await control.admin.call(listMachines, {});
    const value: MachineInventory = {
      machineId: items[0]!.id,
      takenBy: "host",
      at: items[0]!.lastSeenAt,
      report: REPORT,
    };
    const mutations = [{ key: keys.machineInventory(items[0]!.id), value }];
    await control.store.commit({ actor: "test", mutations });
    return ["52:54:00:00:00:01"];
  },
  alerts: () => [],
  "alert show": async () => {
    const found = async () => (await control.admin.call(listAlerts)).items[0]?.id;
    return [await until(found, { what: "the alert of a certificate that ends", timeoutMs: 10_000 })];
  },
  "host list": () => [],
  "host show": () => ["h1"],
  "host tags": () => ["h1"],
  "image list": () => [],
  "stack show": () => [],
  "profile list": () => [],
  "profile show": () => ["default"],
  "profile render": () => ["default"],
  apps: () => [],
  info: () => ["-a", "hello"],
  open: () => ["-a", "hello"],
  releases: () => ["-a", "hello"],
  "deploy settings": () => ["-a", "hello"],
  "build list": () => ["-a", "hello"],
  "build show": () => ["-a", "built"],
  "build log": () => ["-a", "built"],
  "build settings": () => ["-a", "built"],
  "deployment list": () => ["-a", "hello"],
  "deployment show": async () => ["-a", "hello", (await deployments())[0]!.id],
  "release show": () => ["-a", "hello", "v1"],
  env: () => ["-a", "hello"],
  "env get": () => ["-a", "hello", "GREETING"],
  scale: () => ["-a", "hello"],
  ps: () => ["-a", "hello"],
  limit: () => ["-a", "hello"],
  "log-drain list": () => ["--all-apps"],
  "route list": () => ["-a", "hello"],
  network: () => [],
  "network list": () => [],
  "network hosts": () => [],
  "cert list": () => [],
  "cert show": () => ["cert.test"],
  maintenance: () => ["-a", "hello"],
  "router list": () => [],
  "key list": () => [],
  "token list": () => [],
  "service list": () => [],
  "service show": () => ["hello"],
};
const LINES = new Set(["log"]); // one object a line: jobs.test.ts
const TEXT = new Set(["completion", "complete", "git-credential"]); // scripts and bare names for shells
const CHANGES = new Set(
  `up, down, remote add, redeploy, key add, key remove, token create, token revoke, log-drain add, log-drain remove, build cancel, build set, build unset, build builder upload, build cache clear, cluster add, cluster remove, cluster backup, cluster restore, cluster token, machine approve, machine reject, machine adopt, machine wipe, machine bmc set, machine bmc remove, machine power on, machine power off, machine power cycle, machine console, host cordon, host drain, host uncordon,
   host token, host remove, image build, image register, image rollout, stack build, profile set, profile remove, create, delete, deploy,
   rollback, deployment cancel, env set, env unset, env edit, deploy set, deploy unset, kill, run, exec, ps forward,
   restart, limit set, route add http, route add tcp, route update, route remove, cert add, cert update, cert remove, maintenance on, maintenance off,
   error-page set, error-page remove, router remove, network allow, network remove, deployment create, deployment pause, deployment resume, service add, service update, service remove, quarantine keep, quarantine end`.split(
    /,\s+/,
  ),
);

/** Shown in test/bootstrap/preflight/lan.test.ts, on a LAN of its own. */
const ASKS_A_LAN = ["doctor network"];

test("every command of the table is known here as one that reads or one that changes something", () => {
  const known = [...Object.keys(READS), ...LINES, ...TEXT, ...CHANGES, ...ASKS_A_LAN];
  assert.equal(commands.map(({ words }) => words).sort(), known.sort());
});

for (const [words, args] of Object.entries(READS)) {
  test(`flynn ${words} --json puts one JSON value on stdout and nothing else`, async () => {
    await control.admin.call(createApp, { body: { name: "json" } }).catch(() => undefined); // there from the first on
    if (words === "env get") assert.is((await flynn("env", "set", "-a", "hello", "GREETING=hi")).code, 0);
    const argv = [...words.split(" "), ...(await args())];
    const { code, out, err } = await flynn(...argv, "--json");
    assert.ok(code === 0 || words === "doctor" || words === "status", `${code}: ${err}`);
    const value = JSON.parse(out) as unknown;
    assert.ok(value !== null && typeof value !== "undefined", out);
    assert.not.match(out, "\x1b");
    const text = await flynn(...argv);
    assert.is(text.code, code, text.err);
    const empty = value === null || (typeof value === "object" && Object.keys(value).length === 0);
    assert.is(text.out.length > 0, !empty, "and without it there are words, if there is anything to say");
  });
}

test("image list prints the size of each part and the memory a machine needs", async () => {
  const { out } = await flynn("image", "list");
  const [titles = "", row = ""] = out.split("\n");
  for (const title of ["KERNEL SIZE", "INITRD", "ROOT", "MEMORY NEED"]) assert.match(titles, title);
  assert.match(row, /^img1 +host +amd64 +68\.4 KiB +87\.9 KiB +2\.9 MiB +1 GiB +\S+ +\(current\)$/);
});

test("machine explain says where it stands and the command that goes on", async () => {
  const { out } = await flynn("machine", "explain", "52:54:00:00:00:01");
  assert.match(out, /waits? for approval|flynn machine approve/);
  assert.match(out, /flynn machine approve \S+/);
});

test("a cordoned host keeps its jobs and gets no new ones, until it is uncordoned", async () => {
  const [, second] = hosts as [FakeHost, FakeHost];
  const before = await jobs();
  const on = (list: Job[], host: FakeHost) => list.filter(({ hostId }) => hostId === host.id).map(({ id }) => id);
  assert.is(on(before, second).length, 1);
  const cordoned = await flynn("host", "cordon", "h2");
  assert.equal([cordoned.code, cordoned.out], [0, "Host h2 is cordoned: no new jobs are placed there.\n"]);
  assert.match((await flynn("host", "list")).out, /h2 +ready, cordoned/);
  assert.is((await flynn("scale", "-a", "hello", "web=5")).code, 0);
  assert.equal(on(await jobs(), second), on(before, second));
  assert.is((await flynn("host", "uncordon", "h2")).out, "Host h2 takes jobs again.\n");
  assert.is((await flynn("scale", "-a", "hello", "web=6")).code, 0);
  assert.is(on(await jobs(), second).length, 2);
});

test("tags are set and removed by the CLI, and new jobs of a process that wants one are placed only where it is", async () => {
  assert.is((await flynn("host", "tags", "h2", "disk=ssd", "zone=a")).out, "disk=ssd\nzone=a\n");
  assert.is((await flynn("host", "tags", "h2", "zone-")).out, "disk=ssd\n");
  const before = new Set((await jobs()).map(({ id }) => id));
  assert.is((await flynn("scale", "-a", "hello", "web=9,disk=ssd")).code, 0);
  const made = (await jobs()).filter(({ id }) => !before.has(id));
  assert.ok(made.length >= 3, `${made.length} new jobs`);
  for (const job of made) assert.is(job.hostId, hosts[1]!.id);
});

test("a drained host ends empty, with as many jobs up elsewhere", async () => {
  assert.is((await flynn("scale", "-a", "hello", "web=3")).code, 0);
  const drained = await flynn("host", "drain", "h1", "--timeout", "20s");
  assert.equal([drained.code, drained.out], [0, "Host h1 is drained: no job runs there.\n"], drained.err);
  assert.match((await flynn("host", "list")).out, /h1 +ready, draining/);
  const up = (await jobs()).filter(({ state }) => state === "up");
  assert.equal(
    up.map(({ hostId }) => hostId),
    Array(3).fill(hosts[1]!.id),
  );
  const second = await flynn("host", "drain", "h2", "--timeout", "1s");
  assert.is(second.code, 6, "nowhere to go: it waits, and says so");
  assert.match(second.err, /still has 3 jobs/);
  assert.is((await jobs()).filter(({ state }) => state === "up").length, 3);
});

test.run();
