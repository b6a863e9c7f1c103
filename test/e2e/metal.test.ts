// time limit: 1500 s
// Bare metal, for real: a machine with an empty disk, whose clock says 2020, is seen, waits, is approved, boots over the network at the
// address that is reserved for it, becomes a host, lets its profile's SSH key in and serves an app; its power is cut, and it comes back as
// the same host with its jobs.
import { randomUUID } from "node:crypto";
import { createReadStream } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Host } from "#api/hosts.ts";
import type { Job } from "#api/jobs.ts";
import type { Machine as MachineRecord, TimelineEvent } from "#api/machines.ts";
import { exec } from "#lib/exec.ts";
import { until } from "#lib/time.ts";
import { type Appliance, startAppliance } from "../lab/appliance.ts";
import { writeAppImage } from "../lab/image.ts";
import { macOf } from "../lab/network.ts";
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
const CARD = macOf("77.1.0.9");
const RESERVED = "10.77.0.150";
const OWN = `#cloud-config
write_files:
- path: /etc/own/marker
  content: written by the profile's own cloud-config
users:
- name: own
  shell: /bin/sh
timezone: Europe/Berlin
runcmd:
- [sh, -c, "id -u own > /etc/own/ran"]
`;
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
      "--dhcp-reserve",
      `${CARD}=${RESERVED}`,
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
  context.metal = await addMachine(scope, context.appliance.lan, {
    ...{ name: "metal1", mac: CARD, clock: "2020-01-01T00:00:00" },
  });
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
  const { appliance, scope } = context;
  const [machine] = await machines(appliance);
  const own = join(scope.folder, "own.yaml");
  await writeFile(own, OWN);
  await exec(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", join(scope.folder, "key")], { timeoutMs: 10_000 });
  const profile = ["--ssh-key-file", join(scope.folder, "key.pub"), "--cloud-config", own];
  await appliance.flynn(["profile", "set", machine!.profile, "--secrets", "ram", ...profile]);
  assert.match(await appliance.flynn(["profile", "render", machine!.profile]), /path: \/etc\/own\/marker/);
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

metal(
  "its profile's key logs in as root at the reserved address; its clock is right, and the profile's own cloud-config ran",
  async (context) => {
    const { appliance, scope } = context;
    const on = async (command: string) => {
      const trust = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes"];
      const argv = [
        "ssh",
        ...trust,
        "-o",
        "ConnectTimeout=30",
        "-i",
        join(scope.folder, "key"),
        `root@${RESERVED}`,
        command,
      ];
      const { stdout } = await exec(appliance.lan.argv(argv), { timeoutMs: 90_000, signal: scope.signal });
      return stdout.trim();
    };
    await eventually(context, "SSH answering", 120_000, () =>
      on("true").then(
        () => true,
        () => false,
      ),
    );
    assert.is(await on("cat /etc/own/marker"), "written by the profile's own cloud-config");
    const off = Math.abs(Number(await on("date +%s")) - Date.now() / 1_000);
    assert.ok(off < 600, `the clock is off by ${Math.round(off)} s`);
    await eventually(context, "runcmd of the profile's own", 180_000, () =>
      on("cat /etc/own/ran; readlink /etc/localtime").then((text) => /^\d+\n.*Europe\/Berlin$/.test(text)),
    );
    assert.match(
      await on("sshd -T | grep -E '^(passwordauthentication|permitrootlogin)'"),
      /without-password\n.*authentication no/,
    );
  },
);

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
