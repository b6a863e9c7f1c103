// Control beside 5,000 hosts and 100,000 jobs: what it costs at rest, how late its event loop is, how soon a change is at its host, how
// many placements a second reach hosts, and how soon a lost host's jobs are told elsewhere. Control is a process of its own with real
// store and TLS API; the hosts and two routers share another, whose processor time is told apart.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { updateApp, updateEnv, updateFormation } from "#api/apps.ts";
import { type Client, createClient } from "#api/client.ts";
import { getDeployment } from "#api/deployments.ts";
import { run as runProgram } from "#lib/run.ts";
import { every, until } from "#lib/time.ts";
import type { Costs } from "./cluster/control.ts";
import { appIdOf, type Seed, seed } from "./cluster/seed.ts";
import type { Counts } from "./cluster/sim-host.ts";
import { clockMs, startWorker, type Worker } from "./cluster/worker.ts";
import type { BenchOptions, BenchResult } from "./run.ts";

export const name = "cluster";

const FULL: Seed = { hosts: 5_000, apps: 5_000, jobsPerApp: 20, routers: 2, routed: 5_000, timeline: 40 };
const QUICK: Seed = { hosts: 20, apps: 20, jobsPerApp: 5, routers: 2, routed: 20, timeline: 10 };
const LOST_AFTER_MS = 60_000;
const CHANGES_IN_FLIGHT = 32;

export interface ClusterOptions extends BenchOptions {
  size?: Partial<Seed>;
  /** Folder for processor profiles of control. */
  profileTo?: string;
}

export async function run({ quick = false, log, signal, size, profileTo }: ClusterOptions): Promise<BenchResult> {
  const wanted = { ...(quick ? QUICK : FULL), ...size };
  const directory = await mkdtemp(join(tmpdir(), "cluster-bench-"));
  const workers: Worker[] = [];
  let client: Client | undefined;
  try {
    log(`${wanted.hosts} hosts, ${wanted.apps} apps of ${wanted.jobsPerApp} jobs: certificates and records`);
    const { token, credentials } = await seed(directory, wanted);
    const file = (each: string) => new URL(`cluster/${each}.ts`, import.meta.url);
    const control = await startWorker(file("control"), { args: [directory], signal });
    workers.push(control);
    const fleet = await startWorker(file("fleet"), { args: [], signal });
    workers.push(fleet);
    const { port, openMs } = await control.ask<{ port: number; openMs: number }>("started");
    const urls = [`https://127.0.0.1:${port}`];
    client = createClient({ urls, caPem: credentials.caPem, token, timeoutMs: 30_000 });
    const bench: Bench = { control, fleet, client, size: wanted, quick, log, signal, profileTo };
    await profile(bench, "start");

    const joining = joiningAloud(bench);
    const { tookMs } = await fleet
      .ask<{ tookMs: number }>("connect", { port, credentials }, 600_000)
      .then(async (done) => {
        await settled(bench, 0);
        return done;
      })
      .finally(joining);
    log(`all connected after ${(tookMs / 1000).toFixed(1)} s`);
    log(describe("joining", await costs(bench)));
    await profile(bench, "joining");

    const placed = await placements(bench);
    const atRest = await rest(bench);
    const changes = await changesOfOne(bench);
    const deployed = await deployBeside(bench);
    const lost = await lostHost(bench);
    const loops = [placed.costs, atRest, changes.costs, deployed.costs, lost.costs];
    const { failures, failure } = await fleet.ask<FleetState>("state");
    if (failures > 0) throw new Error(`${failures} requests of members failed, the first: ${failure}`);
    return {
      figures: {
        idleCores: round(atRest.cores),
        loopP99Ms: round(Math.max(...loops.map(({ loopP99Ms }) => loopP99Ms))),
        loopMaxMs: round(Math.max(...loops.map(({ loopMaxMs }) => loopMaxMs))),
        residentMiB: Math.round(Math.max(...loops.map((each) => each.peakBytes)) / 1024 ** 2),
        changeP99Ms: round(changes.p99Ms),
        deliveredPlacementsPerSecond: Math.round(placed.perSecond),
        lostToToldMs: round(lost.toldMs),
        changeMedianMs: round(changes.medianMs),
        idleLoopP99Ms: round(atRest.loopP99Ms),
        idleLoopMaxMs: round(atRest.loopMaxMs),
        deployAloneMs: Math.round(deployed.aloneMs),
        deployBesideMs: Math.round(deployed.besideMs),
        placingCores: round(placed.costs.cores),
        simulatorIdleCores: round(atRest.simulatorCores),
        connectMs: round(tookMs),
        openMs: round(openMs),
        hosts: wanted.hosts,
        jobs: wanted.apps * wanted.jobsPerApp,
      },
      ratios: { deployBeside: round(deployed.aloneMs / deployed.besideMs) },
    };
  } finally {
    client?.close();
    for (const worker of workers.reverse()) await worker.stop();
    await rm(directory, { recursive: true, force: true });
  }
}

interface Bench {
  control: Worker;
  fleet: Worker;
  client: Client;
  size: Seed;
  quick: boolean;
  log(line: string): void;
  signal: AbortSignal;
  profileTo: string | undefined;
}

/** Says every few seconds how far the hosts are, until the function that it returns is called. */
function joiningAloud(bench: Bench): () => void {
  const { fleet, log, size } = bench;
  const timer = setInterval(async () => {
    const { hosts, failures, failure } = await fleet.ask<FleetState>("state");
    log(
      `${hosts} of ${size.hosts} hosts have a target${failures > 0 ? `; ${failures} failures, the first: ${failure}` : ""}`,
    );
    const spent = await costs(bench);
    log(describe("joining", spent));
  }, 5_000);
  return () => clearInterval(timer);
}

interface FleetState {
  hosts: number;
  up: number;
  failures: number;
  failure?: string;
}

/** What control did since the last one, as a profile named after it. */
async function profile({ control, profileTo }: Bench, phase: string): Promise<void> {
  if (profileTo !== undefined) await control.ask("profile", { path: join(profileTo, `${phase}.cpuprofile`) });
}

/** What both processes have cost since this was asked last. */
type Spent = Costs & { simulatorCores: number; counts: Counts };

async function costs({ control, fleet }: Bench): Promise<Spent> {
  const own = await control.ask<Costs>("costs");
  const { cores, counts } = await fleet.ask<{ cores: number; counts: Counts }>("costs");
  return { ...own, simulatorCores: cores, counts };
}

/** Every host has its target, every job in it is up, and routers have caught up. */
async function settled({ fleet, size, signal }: Bench, jobs: number): Promise<void> {
  const seen = async () => {
    const state = await fleet.ask<FleetState>("state");
    return state.hosts === size.hosts && state.up >= jobs;
  };
  await until(seen, { what: `${jobs} jobs up on ${size.hosts} hosts`, timeoutMs: 600_000, everyMs: 200, signal });
}

async function placements(bench: Bench) {
  const { control, fleet, size, log } = bench;
  const jobs = size.apps * size.jobsPerApp;
  const startedMs = clockMs();
  const told = fleet.ask<number>("total", { count: jobs }, 600_000);
  const { tookMs } = await control.ask<{ tookMs: number }>("scaleAll", { apps: size.apps, count: size.jobsPerApp });
  const perSecond = jobs / (((await told) - startedMs) / 1_000);
  log(`${jobs} placements at hosts, ${Math.round(perSecond)} a second; formations written in ${Math.round(tookMs)} ms`);
  await settled(bench, jobs);
  log(`all up after ${((clockMs() - startedMs) / 1_000).toFixed(1)} s`);
  const spent = await costs(bench);
  log(describe("placing", spent));
  await profile(bench, "placing");
  return { perSecond, costs: spent };
}

async function rest(bench: Bench) {
  const { quick, log, signal } = bench;
  await pause(quick ? 1_000 : 10_000, signal);
  await costs(bench);
  await pause(quick ? 2_000 : 20_000, signal);
  const spent = await costs(bench);
  log(describe("at rest", spent));
  await profile(bench, "rest");
  return spent;
}

async function changesOfOne(bench: Bench) {
  const { fleet, client, size, quick, log } = bench;
  const tookMs: number[] = [];
  for (let n = 0; n < (quick ? 5 : 200); n++) {
    const appId = appIdOf(n % size.apps);
    const before = await fleet.ask<number>("seenOf", { appId });
    const told = fleet.ask<number>("jobOf", { appId, count: before + 1 });
    const startedMs = clockMs();
    const body = { web: { count: size.jobsPerApp + 1 + Math.floor(n / size.apps) } };
    await client.call(updateFormation, { params: { app: appId }, body });
    tookMs.push((await told) - startedMs);
  }
  tookMs.sort((a, b) => a - b);
  const spent = await costs(bench);
  const [p99Ms, medianMs] = [tookMs[Math.floor(tookMs.length * 0.99)]!, tookMs[Math.floor(tookMs.length / 2)]!];
  log(`a change at its host: median ${medianMs.toFixed(1)} ms, p99 ${p99Ms.toFixed(1)} ms`);
  log(describe("changing", spent));
  await profile(bench, "changing");
  return { p99Ms, medianMs, costs: spent };
}

/** One app's deployment by itself, and with 50 changes a second of other apps. */
async function deployBeside(bench: Bench) {
  const { client, size, quick, log, signal } = bench;
  const [app, ...others] = Array.from({ length: Math.min(size.apps, 200) }, (_, n) => appIdOf(size.apps - 1 - n));
  const deploy = async (round: number): Promise<number> => {
    const startedMs = clockMs();
    const { deploymentId } = await client.call(updateEnv, {
      params: { app: app! },
      body: { env: { ROUND: String(round) } },
    });
    const params = { app: app!, id: deploymentId! };
    const ended = async () => {
      const { state, reason } = await client.call(getDeployment, { params });
      if (state === "failed" || state === "cancelled") throw new Error(`the deployment ${state}: ${reason}`);
      return state === "complete";
    };
    await until(ended, { what: "the deployment's end", timeoutMs: 300_000, everyMs: 50, signal });
    return clockMs() - startedMs;
  };
  await client.call(updateApp, { params: { app: app! }, body: { strategy: "in-batches" } });
  const aloneMs = await deploy(1);
  const done = new AbortController();
  let changes = 0;
  const inFlight = new Set<Promise<unknown>>();
  const changing = (async () => {
    for await (const n of every(20, AbortSignal.any([done.signal, signal]))) {
      const other = others[n % others.length]!;
      const count = size.jobsPerApp + (Math.floor(n / others.length) % 2 === 0 ? 1 : 2);
      if (inFlight.size >= CHANGES_IN_FLIGHT) continue; // fewer than wanted: the line below says how many there were
      const change = client.call(updateFormation, { params: { app: other }, body: { web: { count } } }).then(() => {
        changes++;
        inFlight.delete(change);
      });
      inFlight.add(change);
    }
    await Promise.all(inFlight);
  })();
  const besideMs = await deploy(2).finally(() => done.abort());
  await changing;
  const spent = await costs(bench);
  const perSecond = (changes / besideMs) * 1_000;
  log(
    `a deployment: ${Math.round(aloneMs)} ms alone, ${Math.round(besideMs)} ms beside ${perSecond.toFixed(1)} changes a second`,
  );
  if (!quick) log(describe("deploying", spent));
  await profile(bench, "deploying");
  return { aloneMs, besideMs, costs: spent };
}

async function lostHost(bench: Bench) {
  const { fleet, log } = bench;
  const cut = await fleet.ask<{ id: string; jobs: number; reportedMs: number; total: number }>("cut", { at: 1 });
  const told = await fleet.ask<number>("total", { count: cut.total + cut.jobs }, LOST_AFTER_MS);
  const spent = await costs(bench);
  log(
    `${cut.id} with ${cut.jobs} jobs was lost; told elsewhere ${Math.round(told - cut.reportedMs)} ms after its last report`,
  );
  log(describe("losing", spent));
  await profile(bench, "losing");
  return { toldMs: told - cut.reportedMs, costs: spent };
}

function describe(what: string, spent: Spent): string {
  const { cores, loopP99Ms, loopMaxMs, residentBytes, heapBytes, simulatorCores, counts } = spent;
  const { targets, targetBytes, reports, beats } = counts;
  const [resident, heap] = [residentBytes, heapBytes].map((bytes) => Math.round(bytes / 1024 ** 2));
  return `${what}: ${cores.toFixed(2)} cores (simulator ${simulatorCores.toFixed(2)}), loop late p99 ${loopP99Ms.toFixed(1)} max ${loopMaxMs.toFixed(1)} ms, resident ${resident} MiB, heap ${heap} MiB; ${targets} targets of ${Math.round(targetBytes / 1024)} KiB, ${reports} reports, ${beats} beats`;
}

const pause = (ms: number, signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => resolve(clearTimeout(timer)), { once: true });
  });

const round = (value: number): number => Number(value.toFixed(2));

if (import.meta.main)
  runProgram(async (signal) => {
    const [hosts, apps, jobsPerApp, routed = apps, profileTo] = process.argv.slice(2);
    const size = {
      ...(hosts ? { hosts: Number(hosts) } : {}),
      ...(apps ? { apps: Number(apps), routed: Number(routed) } : {}),
      ...(jobsPerApp ? { jobsPerApp: Number(jobsPerApp) } : {}),
    };
    const log = (line: string) => console.error(line);
    console.log(JSON.stringify(await run({ log, signal, size, ...(profileTo ? { profileTo } : {}) }), null, 2));
    return 0;
  });
