// How fast jobs are placed for real: 5,000 hosts, 100,000 jobs, records as control writes them, through the store with
// LevelDB and sync. A placement counts when it is durable.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import type { App, Formation, Release } from "#api/apps.ts";
import type { Job } from "#api/jobs.ts";
import { silentLog } from "#lib/log.ts";
import { keys, PREFIX } from "../../control/keys.ts";
import type { HostRecord } from "../../control/records.ts";
import { createScheduler } from "../../control/scheduler/scheduler.ts";
import { type Change, openStore, type Store } from "../../control/store/store.ts";
import type { BenchOptions, BenchResult } from "./run.ts";

export const name = "scheduler";

const GIB = 1024 ** 3;
const AT = "2026-01-01T00:00:00.000Z";

export async function run({ quick = false, log, signal }: BenchOptions): Promise<BenchResult> {
  const hosts = quick ? 500 : 5_000;
  const apps = quick ? 100 : 1_000;
  log(`${hosts} hosts, ${apps} apps of 100 jobs`);
  const plain = await measure({ hosts, apps, jobsPerApp: 100, constrained: false, signal });
  const constrained = await measure({ hosts, apps: apps / 5, jobsPerApp: quick ? 40 : 100, constrained: true, signal });
  return {
    figures: {
      placementsPerSecond: Math.round(plain.perSecond),
      constrainedPlacementsPerSecond: Math.round(constrained.perSecond),
      p99DecisionMs: round(plain.p99TurnMs),
      maxDecisionMs: round(plain.maxTurnMs),
      constrainedP99DecisionMs: round(constrained.p99TurnMs),
      fullSweepMs: round(plain.sweepMs),
      sweepDifferences: plain.differences + constrained.differences,
      memoryMb: Math.round(plain.memoryMb),
    },
    ratios: {},
    notes: [
      `${hosts} hosts; ${apps} apps of 100 jobs, then ${apps / 5} of 100 with 2 tags, anti-affinity and 3 resources`,
      "a placement counts once its record is synced; a decision is one turn: difference, hosts and commit of up to 64 jobs",
      "memory: resident set of the whole process with all records in memory, after a collection where --expose-gc allows it",
    ],
  };
}

interface Case {
  hosts: number;
  apps: number;
  jobsPerApp: number;
  constrained: boolean;
  signal: AbortSignal;
}

async function measure({ hosts, apps, jobsPerApp, constrained, signal }: Case) {
  const directory = await mkdtemp(join(tmpdir(), "scheduler-bench-"));
  const store = await openStore({ directory, log: silentLog() });
  const stopped = new AbortController();
  const ends = AbortSignal.any([signal, stopped.signal]);
  try {
    await write(store, hostChanges(hosts));
    await write(store, appChanges(apps, jobsPerApp, constrained));
    const turnsMs: number[] = [];
    const scheduler = createScheduler({ store, log: silentLog(), onTurn: ({ tookMs }) => void turnsMs.push(tookMs) });
    store.onDurable(scheduler.apply);
    const startedMs = performance.now();
    const running = scheduler.run(ends);
    await Promise.race([scheduler.settled(ends), running]);
    const seconds = (performance.now() - startedMs) / 1000;
    signal.throwIfAborted();
    check(store, apps * jobsPerApp, constrained);
    globalThis.gc?.();
    const memoryMb = process.memoryUsage.rss() / 1024 ** 2;
    const differences = await scheduler.sweep(ends);
    const sweepMs = scheduler.status().lastSweep?.tookMs ?? Number.NaN;
    stopped.abort();
    await running;
    turnsMs.sort((a, b) => a - b);
    const p99TurnMs = turnsMs[Math.floor(turnsMs.length * 0.99)] ?? Number.NaN;
    const maxTurnMs = turnsMs.at(-1) ?? Number.NaN;
    return { perSecond: (apps * jobsPerApp) / seconds, p99TurnMs, maxTurnMs, sweepMs, differences, memoryMb };
  } finally {
    stopped.abort();
    await store.close();
    await rm(directory, { recursive: true, force: true });
  }
}

/** A number nobody checked is no figure: every job placed, on a host that may have it, and no host too full. */
function check(store: Store, expected: number, constrained: boolean): void {
  const hosts = new Map(store.list<HostRecord>(PREFIX.hosts).map(({ value }) => [value.id, value]));
  const used = new Map<string, number>();
  const pairs = new Set<string>();
  let placed = 0;
  for (const { value: job } of store.list<Job>(PREFIX.jobs)) {
    if (job.hostId === undefined) throw new Error(`job ${job.id} waits: ${job.reason}`);
    placed++;
    used.set(job.hostId, (used.get(job.hostId) ?? 0) + job.need.memoryBytes);
    pairs.add(`${job.appId} ${job.hostId}`);
    const host = hosts.get(job.hostId)!;
    for (const key of Object.keys(job.tags)) {
      if (host.tags[key] !== job.tags[key]) throw new Error(`job ${job.id} is on a host without ${key}`);
    }
  }
  if (placed !== expected) throw new Error(`${placed} jobs instead of ${expected}`);
  if (constrained && pairs.size !== expected) throw new Error("two jobs of one app share a host");
  for (const [id, bytes] of used) {
    if (bytes > hosts.get(id)!.capacity.memoryBytes) throw new Error(`host ${id} holds more than it has`);
  }
}

async function write(store: Store, changes: Change[]): Promise<void> {
  const commits: Promise<unknown>[] = [];
  for (let at = 0; at < changes.length; at += 500) {
    commits.push(store.commit({ actor: "bench", mutations: changes.slice(at, at + 500) }));
  }
  await Promise.all(commits);
}

function hostChanges(count: number): Change[] {
  return Array.from({ length: count }, (_, at) => {
    const id = `host-${String(at).padStart(5, "0")}`;
    const value: HostRecord = {
      id,
      name: `h${at}`,
      state: "ready",
      reason: "",
      cordoned: false,
      address: `10.${at >> 16}.${(at >> 8) & 255}.${at & 255}`,
      subnet: `100.${64 + (at >> 8)}.${at & 255}.0/24`,
      capacity: { cpuMillis: 16_000, memoryBytes: 64 * GIB, diskBytes: 1000 * GIB },
      tags: { zone: `z${at % 5}`, disk: at % 2 === 0 ? "ssd" : "hdd", rack: `r${at % 50}` },
      keySha256: "0".repeat(64),
      joinedAt: AT,
    };
    return { key: keys.host(id), value };
  });
}

function appChanges(count: number, jobs: number, constrained: boolean): Change[] {
  return Array.from({ length: count }, (_, at): Change[] => {
    const appId = `app-${String(at).padStart(5, "0")}`;
    const releaseId = `rel-${String(at).padStart(5, "0")}`;
    const app: App = {
      id: appId,
      name: `a${at}`,
      releaseId,
      strategy: "rolling",
      deployTimeoutMs: 60_000,
      createdAt: AT,
    };
    const web = { port: 8080, cpuMillis: 100, memoryBytes: GIB / 4, diskBytes: constrained ? GIB : 0 };
    const release: Release = {
      id: releaseId,
      appId,
      version: 1,
      artifactId: "art-1",
      processes: { web: constrained ? { ...web, antiAffinity: true } : web },
      env: { A: "1" },
      description: "",
      createdAt: AT,
      createdBy: "bench",
    };
    const tags: Record<string, string> = constrained ? { zone: `z${at % 5}`, disk: "ssd" } : {};
    const formation: Formation = { appId, releaseId, processes: { web: { count: jobs, tags } } };
    return [
      { key: keys.app(appId), value: app },
      { key: keys.release(appId, releaseId), value: release },
      { key: keys.formation(appId, releaseId), value: formation },
    ];
  }).flat();
}

function round(value: number): number {
  return Number(value.toFixed(2));
}

if (import.meta.main) {
  const stop = new AbortController();
  process.once("SIGINT", () => stop.abort());
  const quick = process.argv.includes("--quick");
  console.log(JSON.stringify(await run({ quick, log: (line) => console.error(line), signal: stop.signal }), null, 2));
}
