// Boot images given to emulated machines as a person gives them, by the commands of the README. `rollout`: one of two hosts takes a broken
// image, falls back by itself, and the rollout with it; a good one goes to both, with control killed in the middle. An app is served
// meanwhile, also from a host that is none of theirs, and is not missed once. `rescue`: a machine whose only image ends each of its boots
// gets the rescue prompt, which says why, and is a host after a person gave it another image.
import { match, ok, strictEqual as same } from "node:assert/strict";
import { join } from "node:path";
import type { Host } from "#api/hosts.ts";
import type { Job } from "#api/jobs.ts";
import type { Machine as MachineRecord, TimelineEvent } from "#api/machines.ts";
import type { Rollout } from "#api/rollouts.ts";
import { sleep, until } from "#lib/time.ts";
import { bootImage, trustImage } from "../e2e/boot-image.ts";
import { variantOf } from "../e2e/image-variants.ts";
import { type Appliance, addHost, startAppliance } from "../lab/appliance.ts";
import { writeAppImage } from "../lab/image.ts";
import { addMachine, type Machine } from "../lab/qemu.ts";
import { openScope, type Scope } from "../lab/scope.ts";
import type { Figures, Soak, SoakCall } from "./soaks.ts";

const BOOT_MS = 900_000;
/** One image that never comes up may be tried six times. */
const LOOP_MS = 1_500_000;

const COVERS = [
  "control/rollouts",
  "control/machine-life",
  "bootstrap/identity",
  "bootstrap/http",
  "hostd/reboot.ts",
  "images/host",
  "test/soak/rollout.ts",
];

export const rollout: Soak = {
  what: "two emulated machines: a broken image comes back by itself, a good one goes to its end, and an app is served all the time",
  covers: COVERS,
  run: (call) => inLab(call, rollOut),
};

export const rescue: Soak = {
  what: "an emulated machine whose only image ends each of its boots gets the rescue prompt with the reason, and is a host with another",
  covers: COVERS,
  run: (call) =>
    inLab(call, async (lab, timed) => {
      const { appliance, metals, variant } = lab;
      const [good, loops] = [await variant([]), await variant(["systemd.unit=reboot.target"])];
      await appliance.flynn(["image", "register", loops.directory, "--rollout"]);
      await appliance.flynn(["image", "register", good.directory]);
      await timed("rescue prompt", () => toRescue(lab));
      await timed("reprovisioned", () => reprovisioned(lab, metals[0]!, good.id));
      return {};
    }),
};

interface Lab {
  scope: Scope;
  appliance: Appliance;
  say: (line: string) => void;
  metals: Machine[];
  /** An image with more words on its kernel's command line. */
  variant(words: readonly string[]): Promise<{ id: string; directory: string }>;
}
type Timed = (what: string, work: () => Promise<void>) => Promise<void>;

async function inLab(
  { signal, say }: SoakCall,
  work: (lab: Lab, timed: Timed) => Promise<Figures>,
): Promise<{ done: boolean; figures: Figures }> {
  const scope = await openScope({ signals: false });
  const stop = () => void scope.close().catch(() => undefined);
  signal.addEventListener("abort", stop, { once: true });
  const seconds: Figures = {};
  const timed: Timed = async (what, part) => {
    const begunMs = performance.now();
    await part();
    seconds[`${what}: s`] = Math.round((performance.now() - begunMs) / 1_000);
    say(`${what} after ${seconds[`${what}: s`]} s`);
  };
  try {
    const figures = await work(await openLab(scope, say), timed);
    return { done: true, figures: { ...seconds, ...figures } };
  } finally {
    signal.removeEventListener("abort", stop);
    await scope.close();
  }
}

async function openLab(scope: Scope, say: Lab["say"]): Promise<Lab> {
  const built = await bootImage({ say, signal: scope.signal, fast: true });
  const stateDir = join(scope.folder, "state");
  await trustImage(built, stateDir);
  const imagesDir = join(scope.folder, "images");
  const net = ["--interface", "br0", "--dhcp", "full", "--dhcp-range", "10.77.0.100-10.77.0.200"];
  const appliance = await startAppliance(scope, {
    stateDir,
    flags: [...net, "--disk-policy", "find-empty", "--images", imagesDir],
  });
  const metals: Machine[] = [];
  // One keeps its host's state on a disk and comes back as a member; the other joins at each boot.
  for (const [name, diskGiB] of [
    ["roll1", 2],
    ["roll2", 0],
  ] as const)
    metals.push(await addMachine(scope, appliance.lan, { name, diskGiB, memoryMiB: 2_048 }));
  return { scope, appliance, say, metals, variant: (words) => variantOf(built, imagesDir, words) };
}

async function rollOut(lab: Lab, timed: Timed): Promise<Figures> {
  const { appliance, metals, variant } = lab;
  const images = {
    good: await variant([]),
    newer: await variant(["flynn.lab=newer"]),
    /** Its kernel finds nothing to start, and reboots. */
    broken: await variant(["rdinit=/no-such-init", "panic=2"]),
  };
  await appliance.flynn(["image", "register", images.good.directory, "--rollout"]);
  for (const image of [images.newer, images.broken]) await appliance.flynn(["image", "register", image.directory]);
  await addHost(lab.scope, appliance, 1);
  await timed("first machine", () => joined(lab, metals[0]!, 2));
  const served = await serve(lab);
  await timed("broken image came back", () => comesBack(lab, images));
  await timed("second machine", () => joined(lab, metals[1]!, 3));
  await timed("good image at its end", () => goesToItsEnd(lab, images));
  const { asked, missed } = await served.end();
  same(missed.join("; "), "", "the app was served all the time");
  ok(asked > 100, `it was asked ${asked} times`);
  return { requests: asked };
}

/** Its only image ends each of its boots: with no other to fall back to it ends at a prompt that says why. */
async function toRescue(lab: Lab): Promise<void> {
  const { appliance, metals } = lab;
  const metal = metals[0]!;
  await metal.powerOn();
  const { name } = await eventually(lab, metal, "the machine being discovered", 120_000, () => recordOf(lab, metal));
  await appliance.flynn(["machine", "approve", name]);
  await eventually(lab, metal, "the rescue prompt", LOOP_MS, async () =>
    /Press Enter for maintenance/.test(metal.console()),
  );
  const why = `3 boots within .* ended before it was ready.*it waits at the rescue prompt`;
  const said = metal.console().replace(/\s+/g, " ");
  ok(new RegExp(`Flynn: ${why}`).test(said), "its firmware's console says why");
  ok(new RegExp(`Flynn: ${why}.{0,2000}Press Enter for maintenance`).test(said), "and so does the prompt's");
  const { id, state } = (await recordOf(lab, metal))!;
  same(state, "failed");
  const told = (await timeline(lab, id)).filter(({ detail }) => detail?.["code"] === "loop-guard");
  same(told.map(({ detail }) => detail?.["to"]).join(" "), "image rescue");
  match(await appliance.flynn(["machine", "explain", name]), /booted again and again without becoming ready/);
}

/** A person gives it another image, and switches it off and on as the order says. */
async function reprovisioned(lab: Lab, metal: Machine, imageId: string): Promise<void> {
  const { appliance } = lab;
  const { name } = (await recordOf(lab, metal))!;
  await appliance.flynn(["image", "rollout", imageId]);
  const order = appliance.tryFlynn(["machine", "reprovision", name], { timeoutMs: BOOT_MS });
  await eventually(lab, metal, "the order asking for a person", 60_000, async () =>
    /switch it off and on/.test(await appliance.flynn(["machine", "orders", name])),
  );
  await metal.powerCycle();
  const { code, stdout, stderr } = await order;
  ok(
    code === 0 && stdout.includes(`ready with image ${imageId}`),
    `${stdout}${stderr} ${metal.consoleTail(12).join(" | ")}`,
  );
  await readyHosts(lab, metal, 1);
}

async function joined(lab: Lab, metal: Machine, count: number): Promise<void> {
  await metal.powerOn();
  const { name } = await eventually(lab, metal, "the machine being discovered", 120_000, () => recordOf(lab, metal));
  await lab.appliance.flynn(["machine", "approve", name]);
  await readyHosts(lab, metal, count);
}

interface Served {
  /** How often it was asked, and what was no answer. */
  end(): Promise<{ asked: number; missed: string[] }>;
}

/** An app with a job on each host, asked all the time from now on. */
async function serve({ scope, appliance }: Lab): Promise<Served> {
  const archive = await writeAppImage(join(scope.folder, "hello.tar"), "hello");
  for (const argv of [
    ["create", "hello"],
    ["-a", "hello", "deploy", "--archive", archive.path],
    ["-a", "hello", "route", "add", "http", "hello.example"],
    ["-a", "hello", "scale", "web=2"],
  ])
    await appliance.flynn(argv);
  const { items } = (await appliance.api<{ items: Job[] }>("GET", "/v1/apps/hello/jobs")).body;
  same(new Set(items.map(({ hostId }) => hostId)).size, 2, "a job on each host");
  const ended = new AbortController();
  const missed: string[] = [];
  let asked = 0;
  const asking = (async () => {
    while (!ended.signal.aborted && !scope.signal.aborted) {
      asked++;
      const begunMs = performance.now();
      const { status, body } = await appliance
        .get("hello.example")
        .catch((error: unknown) => ({ status: 0, body: String(error).slice(0, 200) }));
      if (status !== 200)
        missed.push(
          `${new Date().toISOString()} ${status} ${body.trim()} after ${Math.round(performance.now() - begunMs)} ms`,
        );
      await sleep(250, ended.signal);
    }
  })();
  return {
    async end() {
      ended.abort();
      await asking;
      return { asked, missed };
    },
  };
}

/** Follows it as a person does; never more than one host is down meanwhile. */
async function rolled(
  lab: Lab,
  imageId: string,
): Promise<{ code: number; stdout: string; stderr: string; mostDown: number }> {
  const run = { over: false, mostDown: 0 };
  const following = lab.appliance
    .tryFlynn(["image", "rollout", imageId, "--stages", "1,all", "--gate", "15s"], { timeoutMs: LOOP_MS })
    .finally(() => {
      run.over = true;
    });
  while (!run.over) {
    const down = (await hosts(lab).catch(() => [])).filter(({ state }) => state !== "ready").length;
    run.mostDown = Math.max(run.mostDown, down);
    await sleep(500, lab.scope.signal);
  }
  return { ...(await following), mostDown: run.mostDown };
}

async function comesBack(lab: Lab, { good, broken }: { good: { id: string }; broken: { id: string } }): Promise<void> {
  const { appliance, metals } = lab;
  const { code, stdout, stderr, mostDown } = await rolled(lab, broken.id);
  lab.say(stdout);
  ok(code !== 0, "a rollout that went back is an error");
  match(stderr, /went back: .*3 boots within .* ended before it was ready/);
  same(mostDown, 1, "hosts down at a time");
  const [ended] = await rollouts(lab);
  same(ended?.state, "failed");
  same(ended.counts.back ?? 0, 1, `it went back: ${JSON.stringify(ended.counts)}`);
  match(await appliance.flynn(["image", "list"]), new RegExp(`${good.id}.*\\(current\\)`));
  await readyHosts(lab, metals[0]!, 2);
  same((await recordOf(lab, metals[0]!))?.imageId, good.id, "it runs the good image");
}

/** Paused while its first machine is on its way, which still comes; control is killed meanwhile; resumed, to the end. */
async function goesToItsEnd(lab: Lab, { newer }: { newer: { id: string } }): Promise<void> {
  const { appliance, metals } = lab;
  const first = metals[0]!;
  const following = rolled(lab, newer.id);
  const counts = async () => (await rollouts(lab).catch(() => []))[0];
  const at = (state: "rebooting" | "ready", what: string) =>
    eventually(lab, first, what, BOOT_MS, async () => {
      const now = await counts();
      return now?.subject.id === newer.id && now.counts[state] === 1 ? now : undefined;
    });
  const { id } = await at("rebooting", "the first machine rebooting");
  await appliance.flynn(["rollout", "pause", id]);
  const pid = await appliance.kill9("control");
  await eventually(lab, first, "another control", 60_000, async () =>
    appliance.pidOf("control").then(
      (now) => now !== pid,
      () => false,
    ),
  );
  await at("ready", "the first machine being ready with the new image");
  const shown = await appliance.flynn(["rollout", "show", id]);
  match(shown, /paused/);
  same((await counts())?.counts.waiting, 1, "nothing further is begun while it is paused");
  await appliance.flynn(["rollout", "resume", id]);
  const { code, stdout, stderr, mostDown } = await following;
  lab.say(stdout);
  same(code, 0, stderr);
  same(mostDown, 1, "hosts down at a time");
  match(await appliance.flynn(["image", "list"]), new RegExp(`${newer.id}.*\\(current\\)`));
  await readyHosts(lab, first, 3);
  for (const metal of metals) same((await recordOf(lab, metal))?.imageId, newer.id, "it runs the new image");
}

const list = async <T>({ appliance }: Lab, path: string): Promise<T[]> =>
  (await appliance.api<{ items: T[] }>("GET", path)).body.items;
const hosts = (lab: Lab) => list<Host>(lab, "/v1/hosts");
const rollouts = (lab: Lab) => list<Rollout>(lab, "/v1/rollouts");
const timeline = (lab: Lab, id: string) => list<TimelineEvent>(lab, `/v1/machines/${id}/timeline`);
const recordOf = async (lab: Lab, { mac }: Machine): Promise<MachineRecord | undefined> =>
  (await list<MachineRecord>(lab, "/v1/machines")).find(({ macs }) => macs.includes(mac));

const readyHosts = (lab: Lab, metal: Machine, count: number) =>
  eventually(lab, metal, `${count} ready hosts`, BOOT_MS, async () => {
    const all = await hosts(lab);
    return all.length === count && all.every(({ state }) => state === "ready");
  });

/** The console's end goes into the failure: where a boot stops, it usually says why. */
async function eventually<T>(
  { scope }: Lab,
  metal: Machine,
  what: string,
  timeoutMs: number,
  probe: () => Promise<T>,
): Promise<NonNullable<T>> {
  return await until(probe, { what, timeoutMs, everyMs: 1_000, signal: scope.signal }).catch((cause: unknown) => {
    throw new Error(`${what}; the machine's console ends: ${metal.consoleTail(12).join(" | ")}`, { cause });
  });
}
