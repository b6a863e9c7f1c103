// time limit: 300 s
// What befalls the appliance, with real parts: a full disk under control, a state that is restored from an older backup. What runs goes
// on, what is wrong is said, and it ends by itself or by a person's word.
import { mkdir, open, rm } from "node:fs/promises";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Job } from "#api/jobs.ts";
import type { Event } from "#api/status.ts";
import { exec } from "#lib/exec.ts";
import { until } from "#lib/time.ts";
import { fillFile } from "../../lib/small-disk.ts";
import { addHost, startAppliance } from "../appliance.ts";
import { openScope } from "../scope.ts";
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
  unharmed,
} from "../survival/cluster.ts";
import { cleared, raised } from "./alerts.ts";

const DISK_BYTES = 512 << 20;

interface Context extends Cluster {
  /** The file system that holds control's state, and no more. */
  disk: string;
}

const machines = suite<Context>("failure: the appliance");

machines.before(async (context) => {
  const scope = await openScope();
  context.scope = scope;
  try {
    context.disk = join(scope.folder, "disk");
    const image = join(scope.folder, "disk.img");
    scope.keep({ kind: "folder", path: context.disk });
    await mkdir(context.disk);
    const file = await open(image, "w");
    await file.truncate(DISK_BYTES);
    await file.close();
    await exec(["mkfs.ext4", "-q", "-F", "-m", "0", image]);
    await exec(["mount", "-o", "loop", image, context.disk]);
    const flags = ["--free-floor", "1MiB"];
    const appliance = await startAppliance(scope, { stateDir: join(context.disk, "state"), flags });
    context.appliance = appliance;
    context.hosts = await Promise.all([1, 2].map((n) => addHost(scope, appliance, n)));
    await addApp(context, { name: "hello", count: 4 });
  } catch (error) {
    await scope.close();
    throw error;
  }
});

machines.after(({ scope }: Partial<Context>) => scope?.close());

machines(
  "control's disk is full: reads go on, changes are refused in words, an alert stands; with room all goes on by itself",
  async (context) => {
    const { appliance, disk } = context;
    const load = await loadOn(context, "hello");
    const filler = join(disk, "filler");
    await fillFile(filler);
    // A release that nothing deploys, of some kilobytes.
    const change = (n: number) =>
      appliance.api("POST", "/v1/apps/hello/releases", { env: { PAD: `${n} `.padEnd(8_000, "x") } });
    let n = 0;
    let refused = await change(++n);
    for (; refused.status !== 507 && n < 100; refused = await change(++n)) {
      assert.is(refused.status, 201, JSON.stringify(refused.body));
      await fillFile(filler); // what was set aside for the next changes goes as well
    }
    console.log(`a full disk after ${n} changes: ${JSON.stringify(refused.body)}`);
    assert.match(JSON.stringify(refused.body), /takes no changes now: the disk is full.*df -h/);
    assert.is((await appliance.api("GET", "/v1/apps/hello")).status, 200);
    const [alert] = await raised(appliance, "writes-paused", 1);
    assert.match(alert!.why, /disk is full/);
    assert.match((await appliance.tryFlynn(["status"])).stdout, /disk is full/);
    // Also one that starts on the full disk.
    await appliance.kill9("control");
    const reads = async () => (await appliance.api("GET", "/v1/apps/hello")).status === 200;
    await until(reads, { what: "control on the full disk", timeoutMs: 30_000, everyMs: 100 });
    assert.is((await change(++n)).status, 507);
    assert.is((await appliance.get("hello.test")).status, 200);
    await rm(filler);
    const freedMs = performance.now();
    await until(async () => (await change(++n)).status < 300, { what: "changes", timeoutMs: 30_000 });
    console.log(`with room changes are taken after ${seconds(freedMs)} s`);
    const types = async () =>
      (await ask<{ items: Event[] }>(appliance, "GET", "/v1/events?limit=100")).items.map(({ type }) => type);
    await until(async () => (await types()).includes("store.resumed"), { what: "its event", timeoutMs: 20_000 });
    await cleared(appliance, "writes-paused");
    await unharmed(load, "a full disk under control");
  },
);

machines(
  "the appliance is started on a full disk: it serves what it served, says what is wrong, and with room all goes on by itself",
  async (context) => {
    const { appliance, disk } = context;
    const filler = join(disk, "filler");
    await appliance.killAll();
    await fillFile(filler);
    const startedMs = performance.now();
    await appliance.start();
    const isServed = async () => (await appliance.get("hello.test").catch(() => undefined))?.status === 200;
    await until(isServed, { what: "hello on a full disk", timeoutMs: 30_000 });
    console.log(`started on a full disk: served after ${seconds(startedMs)} s`);
    assert.match(appliance.up.output(), /the disk is full or read-only.*df -h/);
    let status = "";
    const isSaid = async () => {
      status = (await appliance.tryFlynn(["status"])).stdout;
      return (
        /router.*the router's disk is full or read-only.*df -h/.test(status) && /takes no changes now/.test(status)
      );
    };
    await until(isSaid, { what: "words for it", timeoutMs: 30_000 }).catch((cause: unknown) => {
      throw new Error(`status says ${status}`, { cause });
    });
    await rm(filler);
    const freedMs = performance.now();
    const made = () => appliance.api("POST", "/v1/routes", { app: "hello", domain: "room.test" });
    await until(async () => (await made()).status < 300, { what: "a change", timeoutMs: 30_000 });
    const isNewServed = async () => (await appliance.get("room.test")).status === 200;
    await until(isNewServed, { what: "the new route", timeoutMs: 30_000 });
    console.log(`with room a new route is served after ${seconds(freedMs)} s`);
    await settled(appliance, "hello", 4);
    await until(async () => (await containers(context)).length === 4, { what: "four containers", timeoutMs: 60_000 });
    await cleared(appliance, "writes-paused");
    await unharmed(await loadOn(context, "hello"), "after a start on a full disk");
  },
);

machines(
  "a state restored from an older backup: containers it does not know run on, a person is asked, and ends them",
  async (context) => {
    const { appliance, scope, disk } = context;
    const at = ["--state", join(disk, "state")];
    const backup = join(scope.folder, "backup");
    await appliance.flynn(["cluster", "backup", backup, ...at]);
    await addApp(context, { name: "young", count: 2 });
    const old = (jobs: Job[]) => jobs.map(({ id }) => id).sort();
    const before = old(await jobsOf(appliance, "hello"));
    await appliance.stop();
    await appliance.flynn(["cluster", "restore", backup, ...at, "--confirm", at[1]!]);
    await appliance.start();
    // Of the first host that is heard again it tells before the second has said what runs there.
    const tellsAll = async () => {
      const [found] = await raised(appliance, "quarantine", 1);
      return /^2 /.test(found!.what) ? [found] : undefined;
    };
    const [alert] = await until(tellsAll, { what: "an alert for both containers", timeoutMs: 60_000, everyMs: 500 });
    console.log(`restored: ${alert!.what}; ${alert!.why}`);
    assert.match(`${alert!.what} ${alert!.why}`, /2 containers run that the restored state does not know.*young/);
    assert.is((await appliance.api("GET", "/v1/apps/young")).status, 404);
    await settled(appliance, "hello", 4);
    assert.equal(old(await jobsOf(appliance, "hello")), before, "what the state knows is touched");
    assert.is((await containers(context)).length, 6, "they were ended");
    await appliance.flynn(["quarantine", "end", "--confirm", "quarantined"]);
    await until(async () => (await containers(context)).length === 4, { what: "their end", timeoutMs: 60_000 });
    await cleared(appliance, "quarantine");
    await unharmed(await loadOn(context, "hello"), "after a restore");
  },
);

machines("nothing is left on the machine", ({ scope }) => leavesNothing(scope));

machines.run();
