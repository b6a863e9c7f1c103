// time limit: 1500 s
// Bare metal, for real: a machine with an empty disk is seen, waits, is approved, boots over the network, becomes a host and
// serves an app; its power is cut, and it comes back as the same host with its jobs.
import { randomUUID } from "node:crypto";
import { createReadStream } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Host } from "#api/hosts.ts";
import type { Job } from "#api/jobs.ts";
import type { Machine as MachineRecord, TimelineEvent } from "#api/machines.ts";
import { until } from "#lib/time.ts";
import { type Appliance, startAppliance } from "../lab/appliance.ts";
import { writeAppImage } from "../lab/image.ts";
import { addMachine, type Machine } from "../lab/qemu.ts";
import { openScope, type Scope } from "../lab/scope.ts";
import { bootImage, trustImage } from "./boot-image.ts";

interface Context {
  scope: Scope;
  appliance: Appliance;
  metal: Machine;
  firstHost: Host;
}

const BOOT_MS = 480_000;
/** A variable's value that is nowhere else. */
const SECRET = `kept-in-memory-${randomUUID()}`;
const metal = suite<Context>("metal");

metal.before(async (context) => {
  context.scope = await openScope();
  const { scope } = context;
  const image = await bootImage({ say: (line) => console.log(line), signal: scope.signal, fast: true });
  const stateDir = join(scope.folder, "state");
  await trustImage(image, stateDir);
  context.appliance = await startAppliance(scope, {
    stateDir,
    flags: [
      "--interface",
      "br0",
      "--dhcp",
      "full",
      "--dhcp-range",
      "10.77.0.100-10.77.0.200",
      "--disk-policy",
      "find-empty",
      "--images",
      image.imagesDir,
    ],
  });
  const { status } = await context.appliance.api("POST", "/v1/boot-images", {
    manifest: image.manifest,
    signature: image.signature,
  });
  assert.is(status, 201);
  context.metal = await addMachine(scope, context.appliance.lan, { name: "metal1" });
});

metal.after(async ({ scope }) => {
  await scope.close();
});

const machines = async (appliance: Appliance) =>
  (await appliance.api<{ items: MachineRecord[] }>("GET", "/v1/machines")).body.items;
const hosts = async (appliance: Appliance) => (await appliance.api<{ items: Host[] }>("GET", "/v1/hosts")).body.items;
const jobs = async (appliance: Appliance) =>
  (await appliance.api<{ items: Job[] }>("GET", "/v1/apps/hello/jobs")).body.items;
const timeline = async (appliance: Appliance, id: string) =>
  (await appliance.api<{ items: TimelineEvent[] }>("GET", `/v1/machines/${id}/timeline`)).body.items;

/** The console's end goes into the failure: where a boot stops, it usually says why. */
async function eventually<T>(
  context: Context,
  what: string,
  timeoutMs: number,
  probe: () => Promise<T>,
): Promise<NonNullable<T>> {
  return await until(probe, { what, timeoutMs, everyMs: 1_000, signal: context.scope.signal }).catch(
    (cause: unknown) => {
      throw new Error(`${what}; the machine's console ends: ${context.metal.consoleTail(12).join(" | ")}`, { cause });
    },
  );
}

/** What a kernel prints whose timers the emulator has lost; it goes on no further. */
const STALLED = /rcu: INFO: rcu_\w+ detected stalls on CPUs/;

/** A ready host, after one boot; a second where the emulator lost the first, which is nothing that machines do. */
async function readyHost(context: Context, what: string): Promise<Host> {
  const ready = async () => (await hosts(context.appliance)).find(({ state }) => state === "ready");
  const isStalled = () => context.metal.consoleTail(12).some((line) => STALLED.test(line));
  const first = await eventually(
    context,
    what,
    BOOT_MS,
    async () => (await ready()) ?? (isStalled() ? "stalled" : undefined),
  );
  if (first !== "stalled") return first;
  console.log(`the emulator lost the timers of the machine's kernel: ${context.metal.consoleTail(3).join(" | ")}`);
  await context.metal.powerCycle();
  return eventually(context, what, BOOT_MS, ready);
}

metal("a machine never seen before is discovered and waits on the network until it is approved", async (context) => {
  const { appliance } = context;
  await context.metal.powerOn();
  const machine = await eventually(
    context,
    "the machine being discovered",
    120_000,
    async () => (await machines(appliance))[0],
  );
  assert.is(machine.state, "discovered");
  assert.is(machine.identity.mac, context.metal.mac);
  await eventually(context, "waiting for approval on its timeline", 60_000, async () =>
    (await timeline(appliance, machine.id)).some(({ stage }) => stage === "wait-approval"),
  );
  const explained = await appliance.flynn(["machine", "explain", machine.name]);
  assert.match(explained, /flynn machine approve/);
  assert.not.ok(
    (await timeline(appliance, machine.id)).some(({ stage }) => stage === "kernel"),
    "an unapproved machine was given a kernel",
  );
});

metal("approved, it boots into RAM and becomes a ready host, every step on one timeline", async (context) => {
  const { appliance } = context;
  const [machine] = await machines(appliance);
  await appliance.flynn(["profile", "set", machine!.profile, "--secrets", "ram"]);
  await appliance.flynn(["machine", "approve", machine!.name]);
  context.firstHost = await readyHost(context, "the machine being a ready host");
  assert.is(context.firstHost.machineId, machine!.id);
  await eventually(
    context,
    "the machine's state following",
    15_000,
    async () => (await machines(appliance))[0]!.state === "ready",
  );
  const stages = (await timeline(appliance, machine!.id)).map(({ stage }) => stage);
  for (const stage of [
    "discover",
    "offer",
    "wait-approval",
    "approved",
    "script",
    "kernel",
    "initrd",
    "squashfs",
    "seed",
    "join",
    "disk",
    "ready",
  ] as const)
    assert.ok(stages.includes(stage), `${stage} is not on the timeline: ${stages.join(" ")}`);
  const order = ["discover", "wait-approval", "kernel", "initrd", "squashfs", "seed", "join"] as const;
  const places = order.map((stage) => stages.indexOf(stage));
  assert.equal(
    places,
    [...places].sort((a, b) => a - b),
  );
});

metal("an app deployed by the CLI runs on it and answers through the router", async (context) => {
  const { appliance, scope } = context;
  const archive = await writeAppImage(join(scope.folder, "hello.tar"), "hello");
  await appliance.flynn(["create", "hello"]);
  await appliance.flynn(["-a", "hello", "env", "set", `WORD=${SECRET}`]);
  await appliance.flynn(["-a", "hello", "deploy", "--archive", archive.path]);
  await appliance.flynn(["-a", "hello", "route", "add", "http", "hello.example"]);
  await appliance.flynn(["-a", "hello", "scale", "web=2"]);
  const running = await jobs(appliance);
  assert.equal(
    running.map(({ state, hostId }) => [state, hostId]),
    [
      ["up", context.firstHost.id],
      ["up", context.firstHost.id],
    ],
  );
  const answered = new Set<string>();
  await eventually(context, "both jobs answering", 30_000, async () => {
    const { status, body } = await appliance.get("hello.example");
    if (status === 200) answered.add(body.trim());
    return answered.size === 2;
  });
  assert.equal([...answered].sort(), running.map(({ id }) => `Hello from hello ${id}`).sort());
});

metal("after a power cut it comes back as the same host and its jobs return, with nobody there", async (context) => {
  const { appliance } = context;
  const before = (await machines(appliance))[0]!;
  await context.metal.powerCycle();
  await eventually(context, "the host being lost", 60_000, async () => (await hosts(appliance))[0]!.state === "lost");
  const host = await readyHost(context, "the host being back");
  assert.is(host.id, context.firstHost.id);
  assert.is(host.name, context.firstHost.name);
  assert.is((await hosts(appliance)).length, 1);
  const after = (await machines(appliance))[0]!;
  assert.is(after.id, before.id);
  assert.is.not(after.bootId, before.bootId);
  await eventually(context, "two jobs up again", 120_000, async () => {
    const now = await jobs(appliance);
    return now.length === 2 && now.every(({ state }) => state === "up");
  });
  // While the only host is silent nothing is given up, so its jobs are the same; they are started again once it is back.
  await eventually(
    context,
    "the route answering again",
    180_000,
    async () => (await appliance.get("hello.example")).status === 200,
  );
  const disk = (await timeline(appliance, after.id)).filter(
    ({ stage, bootId }) => stage === "disk" && bootId === after.bootId,
  );
  assert.is(disk.length, 1);
  assert.match(disk[0]!.message, /state/);
});

metal("with secrets in RAM its disk holds what jobs write, and no variable of theirs", async ({ metal: machine }) => {
  const marks = [SECRET, "flynn-state"];
  const found = new Set<string>();
  let tail = "";
  for await (const chunk of createReadStream(machine.diskFile!, { encoding: "latin1", highWaterMark: 4 << 20 })) {
    const text = tail + chunk;
    for (const mark of marks) if (text.includes(mark)) found.add(mark);
    tail = text.slice(-64);
  }
  assert.equal([...found], ["flynn-state"], "the label is there to be found, the variable is not");
});

metal.run();
