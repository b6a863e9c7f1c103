// The main job, end to end and for real: an empty virtual machine is switched on, boots over a private lab network, becomes a
// host with nothing typed on it, and serves an app that the CLI deployed. Prints one timeline. Exit 0 only if all of it happened.
import { join } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import type { Host } from "#api/hosts.ts";
import type { Machine as MachineRecord, TimelineEvent } from "#api/machines.ts";
import { causeChain, run } from "#lib/run.ts";
import { sleep, until } from "#lib/time.ts";
import { formatSize } from "#lib/units.ts";
import { type Appliance, startAppliance } from "../lab/appliance.ts";
import { writeAppImage } from "../lab/image.ts";
import { addMachine, type Machine } from "../lab/qemu.ts";
import { openScope, type Scope } from "../lab/scope.ts";
import { bootImage, trustImage } from "./boot-image.ts";
import { consoles } from "./consoles.ts";
import { type Row, timelineTable } from "./timeline.ts";

const APP = "hello";
const DOMAIN = "hello.example";
const GREETING = "Hello from a machine that was empty metal";
const HOST_READY_MS = 420_000;
const SERVED_MS = 60_000;

interface Stage {
  name: string;
  atMs: number;
}

interface Demo {
  scope: Scope;
  say: (line: string) => void;
  /** Begins a stage; its name is what a failure is reported under. */
  stage: (name: string) => void;
  machines: number;
}

async function demo({
  scope,
  say,
  stage,
  machines: count,
}: Demo): Promise<{ appliance: Appliance; machines: Machine[]; rows: Row[] }> {
  stage("boot image");
  const image = await bootImage({ say, signal: scope.signal });
  say(
    `boot image ${image.id}: root ${formatSize(image.squashfsBytes)}, ${image.reused ? "already built" : `built in ${image.seconds} s`}`,
  );

  stage("appliance");
  const stateDir = join(scope.folder, "state");
  await trustImage(image, stateDir);
  const appliance = await startAppliance(scope, {
    stateDir,
    flags: [
      "--interface",
      "br0",
      "--dhcp",
      "full",
      "--dhcp-range",
      "10.77.0.100-10.77.0.200",
      "--unknown-machines",
      "auto",
      "--disk-policy",
      "find-empty",
      "--images",
      image.imagesDir,
    ],
  });
  const registered = await appliance.api("POST", "/v1/boot-images", {
    manifest: image.manifest,
    signature: image.signature,
  });
  if (registered.status !== 201)
    throw new Error(`the boot image was not registered: ${JSON.stringify(registered.body)}`);
  say("the appliance is up: boot server, control, router, registry, in a private network");

  stage("power on");
  const machines: Machine[] = [];
  for (let n = 1; n <= count; n++) machines.push(await addMachine(scope, appliance.lan, { name: `metal${n}` }));
  const powerOnMs = Date.now();
  await Promise.all(machines.map((machine) => machine.powerOn()));
  say(
    `${count === 1 ? "a machine" : `${count} machines`} with an empty disk ${count === 1 ? "is" : "are"} switched on (SeaBIOS, network boot, emulated)`,
  );

  stage("boot to host");
  await hostsReady({ appliance, machines, count, powerOnMs, say, scope });

  stage("deploy");
  const archive = await writeAppImage(join(scope.folder, "hello.tar"), APP, { env: { GREETING } });
  const own: Row[] = [];
  const mark = (name: string, words: string) =>
    own.push({ seconds: (Date.now() - powerOnMs) / 1000, stage: name, words });
  await appliance.flynn(["create", APP]);
  await appliance.flynn(["-a", APP, "route", "add", "http", DOMAIN]);
  const deployed = await appliance.tryFlynn(["-a", APP, "deploy", "--archive", archive.path]);
  if (deployed.code !== 0)
    throw new Error(
      `flynn deploy exited ${deployed.code}: ${(deployed.stderr || deployed.stdout).trim().split("\n").slice(-8).join(" | ")}`,
    );
  mark("deployed", "flynn deploy --archive hello.tar: v1 is live");

  stage("scale to 2");
  await appliance.flynn(["-a", APP, "scale", "web=2"]);
  mark("scaled", "flynn scale web=2: both jobs are up");

  stage("request");
  const answers = new Set<string>();
  await until(
    async () => {
      const { status, body } = await appliance.get(DOMAIN);
      if (status !== 200 || !body.includes(GREETING))
        throw new Error(`the router answered ${status}: ${body.slice(0, 120)}`);
      if (answers.size === 0) mark("first 200", `http://${DOMAIN}/ answers: ${body.trim()}`);
      answers.add(body.trim());
      return answers.size >= 2;
    },
    { what: `answers of both jobs through the router`, timeoutMs: SERVED_MS, signal: scope.signal },
  );
  mark("both jobs", "the router has sent requests to both jobs");

  return {
    appliance,
    machines,
    rows: [
      { seconds: 0, stage: "power on", words: `${count} machine${count === 1 ? "" : "s"}, empty disk` },
      ...(await machineRows(appliance, powerOnMs)),
      ...own,
    ],
  };
}

interface Waiting {
  appliance: Appliance;
  machines: Machine[];
  count: number;
  powerOnMs: number;
  say: (line: string) => void;
  scope: Scope;
}

/** Waits for the hosts, telling each step of each machine as control hears of it. */
async function hostsReady({ appliance, machines, count, powerOnMs, say, scope }: Waiting): Promise<void> {
  const told = new Set<string>();
  const deadlineMs = Date.now() + HOST_READY_MS;
  while (Date.now() < deadlineMs) {
    scope.signal.throwIfAborted();
    const off = machines.find((machine) => !machine.isOn());
    if (off) throw new Error(`${off.name} switched itself off`);
    const known = (await appliance.api<{ items: MachineRecord[] }>("GET", "/v1/machines")).body.items;
    for (const { id, name } of known) {
      for (const event of await timeline(appliance, id)) {
        const key = `${id} ${event.seq}`;
        if (told.has(key)) continue;
        told.add(key);
        say(
          `${seconds(Date.parse(event.at) - powerOnMs)}  ${count > 1 ? `${name}: ` : ""}${event.stage}: ${event.message}`,
        );
      }
    }
    const hosts = (await appliance.api<{ items: Host[] }>("GET", "/v1/hosts")).body.items;
    if (hosts.filter(({ state }) => state === "ready").length >= count) return;
    await sleep(1_000, scope.signal);
  }
  const known = (await appliance.api<{ items: MachineRecord[] }>("GET", "/v1/machines")).body.items;
  const reasons = await Promise.all(
    known.map(
      async ({ id }) => (await appliance.api<{ summary: string }>("GET", `/v1/machines/${id}/explain`)).body.summary,
    ),
  );
  throw new Error(
    `no ready host ${HOST_READY_MS / 1000} s after power-on. ${reasons.join(" ") || "The boot server saw no machine."}`,
  );
}

const timeline = async (appliance: Appliance, id: string): Promise<TimelineEvent[]> =>
  (await appliance.api<{ items: TimelineEvent[] }>("GET", `/v1/machines/${id}/timeline`)).body.items;

async function machineRows(appliance: Appliance, powerOnMs: number): Promise<Row[]> {
  const known = (await appliance.api<{ items: MachineRecord[] }>("GET", "/v1/machines")).body.items;
  const rows: Row[] = [];
  for (const { id, name } of known) {
    for (const event of await timeline(appliance, id))
      rows.push({
        seconds: (Date.parse(event.at) - powerOnMs) / 1000,
        stage: event.stage,
        words: `${known.length > 1 ? `${name}: ` : ""}${event.message}`,
      });
  }
  return rows.sort((a, b) => a.seconds - b.seconds);
}

const seconds = (ms: number): string => `${(ms / 1000).toFixed(1).padStart(7)} s`;

async function main(signal: AbortSignal): Promise<number> {
  const { values } = parseArgs({
    options: { machines: { type: "string", default: "1" }, keep: { type: "boolean", default: false } },
  });
  const count = Number(values.machines);
  if (!Number.isInteger(count) || count < 1 || count > 4) throw new Error("--machines takes a number from 1 to 4");
  const startedMs = Date.now();
  const say = (line: string) => process.stdout.write(`${line}\n`);
  const stages: Stage[] = [];
  const stage = (name: string) => {
    stages.push({ name, atMs: Date.now() });
    say(`== ${name}`);
  };
  const scope = await openScope({ signals: false });
  const stopped = new Promise<never>((_, reject) =>
    signal.addEventListener("abort", () => reject(signal.reason), { once: true }),
  );
  stopped.catch(() => undefined);
  try {
    const work = demo({ scope, say, stage, machines: count });
    work.catch(() => undefined);
    const { appliance, machines, rows } = await Promise.race([work, stopped]);
    say("");
    say(timelineTable(rows.sort((a, b) => a.seconds - b.seconds)));
    say("");
    say(`all of it happened, in ${((Date.now() - startedMs) / 1000).toFixed(0)} s`);
    if (values.keep) await keep({ appliance, machines, say, signal });
    return 0;
  } catch (error) {
    if (signal.aborted) {
      say("stopped; cleaning up");
      return 130;
    }
    say("");
    say(
      `FAILED at stage "${stages.at(-1)?.name ?? "start"}", after ${((Date.now() - startedMs) / 1000).toFixed(0)} s: ${causeChain(error).join(": ")}`,
    );
    for (const line of lastConsole(scope)) say(line);
    return 1;
  } finally {
    await scope.close();
  }
}

/** The machines' last console lines: where a boot that stopped usually says why. */
function lastConsole(scope: Scope): string[] {
  return consoles(scope.folder).flatMap(({ name, lines }) => [
    ``,
    `last lines of ${name}'s console:`,
    ...lines.map((line) => `  | ${line}`),
  ]);
}

async function keep({
  appliance,
  machines,
  say,
  signal,
}: {
  appliance: Appliance;
  machines: Machine[];
  say: (line: string) => void;
  signal: AbortSignal;
}): Promise<void> {
  const home = join(appliance.stateDir, "..", "home");
  const inside = appliance.lan.argv([]).join(" ");
  say("");
  say("kept running; Ctrl-C ends and removes everything. From another terminal:");
  say(`  ${inside} env FLYNN_HOME=${home} ${process.execPath} cli/main.ts -a ${APP} ps`);
  say(`  ${inside} curl -H 'Host: ${DOMAIN}' http://${appliance.address}/`);
  for (const machine of machines) say(`  tail -f ${machine.consoleFile}`);
  await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}

run(main, { graceMs: 60_000 });
