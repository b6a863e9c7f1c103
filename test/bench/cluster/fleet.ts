// All hosts and routers of the cluster in one process, so that its own processor time is told apart from control's.
import { formatHello, ownHello } from "#api/version.ts";
import { openConnection } from "./connection.ts";
import type { Credentials } from "./seed.ts";
import { type Counts, noCounts, SimHost } from "./sim-host.ts";
import { answer, clockMs } from "./worker.ts";

const BEAT_MS = 2_000;
const TURN_MS = 20;
/** Joins at a time: a rack powered on, not all of them in one moment. */
const AT_ONCE = 64;

const hosts: SimHost[] = [];
const failures: string[] = [];
/** When each new job of an app was first in a target, in order. */
const seen = new Map<string, number[]>();
let jobs = 0;
let lastJobMs = 0;
const waiting = new Set<() => void>();
let cpu = process.cpuUsage();
let sinceMs = performance.now();
let routed = 0;

const onJob = ({ appId }: { appId: string }, atMs: number): void => {
  const times = seen.get(appId) ?? [];
  times.push(atMs);
  seen.set(appId, times);
  jobs++;
  lastJobMs = atMs;
  for (const look of waiting) look();
};
const onFailure = (why: string): void => void failures.push(why);

/** Resolves with what `find` gives once it gives something. */
function found<T>(find: () => T | undefined): Promise<T> {
  return new Promise((resolve) => {
    const look = () => {
      const value = find();
      if (value === undefined) return;
      waiting.delete(look);
      resolve(value);
    };
    waiting.add(look);
    look();
  });
}

async function follow(credentials: Credentials, port: number, at: number): Promise<void> {
  const { id, certificate } = credentials.routers[at]!;
  const identity = { ca: credentials.caPem, key: credentials.key, cert: certificate };
  const hello = formatHello(ownHello("router"));
  const [stream, reports] = await Promise.all([
    openConnection(port, identity, hello),
    openConnection(port, identity, hello),
  ]);
  let [term, generation, acknowledged] = [0, 0, -1];
  stream.stream(`/v1/routers/${id}/target?parts=true`, (event, data) => {
    if (event === "fault") onFailure(`${id}: ${data}`);
    // Not parsed: what a router makes of it is not control's time, and this process has other things to do.
    const heard = /"generation":(\d+)/.exec(data.slice(0, 4_096)) ?? /"generation":(\d+)/.exec(data);
    if (event !== "item" || heard === null) return;
    term = Number(/"term":(\d+)/.exec(data.slice(0, 4_096))?.[1] ?? term);
    generation = Number(heard[1]);
    routed += data.length;
  });
  const report = async () => {
    acknowledged = generation;
    const body = { term, generation, healthy: true, reason: "", reloads: 0, refused: [], draining: [] };
    const { status, body: why } = await reports.post(`/v1/routers/${id}/report`, JSON.stringify(body));
    if (status !== 200) onFailure(`${id}: ${status} ${why}`);
  };
  let beatMs = 0;
  let busy = false;
  setInterval(() => {
    if (busy || (acknowledged === generation && clockMs() - beatMs < BEAT_MS)) return;
    beatMs = clockMs();
    busy = true;
    void report()
      .catch((error: Error) => onFailure(`${id}: ${error.message}`))
      .finally(() => {
        busy = false;
      });
  }, 50);
}

answer({
  async connect({ port, credentials }: { port: number; credentials: Credentials }) {
    const startedMs = clockMs();
    const all = credentials.hosts.map((_, at) => new SimHost({ at, port, credentials, onJob, onFailure }));
    const next = all.values();
    const joining = Array.from({ length: AT_ONCE }, async () => {
      for (const host of next) {
        await host.start();
        hosts.push(host);
      }
    });
    await Promise.all(joining);
    for (const at of credentials.routers.keys()) await follow(credentials, port, at);
    return { tookMs: clockMs() - startedMs };
  },
  state: () => ({
    hosts: hosts.filter(({ current }) => current).length,
    jobs,
    up: hosts.reduce((sum, host) => sum + [...host.jobs.values()].filter(({ state }) => state === "up").length, 0),
    failures: failures.length,
    failure: failures[0],
    routedBytes: routed,
  }),
  /** When the job that made it `count` was in its host's target. */
  total: ({ count }: { count: number }) => found(() => (jobs >= count ? lastJobMs : undefined)),
  seenOf: ({ appId }: { appId: string }) => seen.get(appId)?.length ?? 0,
  /** When the app's job number `count` was in its host's target. */
  jobOf: ({ appId, count }: { appId: string; count: number }) => found(() => seen.get(appId)?.[count - 1]),
  /** A host is cut off; with the number of jobs it had, by app, and when it was last heard. */
  cut({ at }: { at: number }) {
    const host = hosts.find((each) => each.at === at)!;
    host.stop();
    return { id: host.id, jobs: host.jobs.size, reportedMs: host.reportedMs, total: jobs };
  },
  costs() {
    const used = process.cpuUsage(cpu);
    const tookMs = performance.now() - sinceMs;
    cpu = process.cpuUsage();
    sinceMs = performance.now();
    const counts = noCounts();
    for (const host of hosts) {
      for (const name of Object.keys(counts) as (keyof Counts)[]) counts[name] += host.counts[name];
      host.counts = noCounts();
    }
    return { cores: (used.user + used.system) / 1_000 / tookMs, counts };
  },
});

setInterval(() => {
  for (const host of hosts) void host.turn();
}, TURN_MS);
