// A store in a directory of its own with apps and hosts as control writes them, for the tests of the scheduler's loops.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { App, Formation, ProcessType, Release } from "#api/apps.ts";
import type { Job } from "#api/jobs.ts";
import { silentLog } from "#lib/log.ts";
import { until } from "#lib/time.ts";
import { keys, PREFIX } from "../../../control/keys.ts";
import type { HostRecord } from "../../../control/records.ts";
import { createScheduler, type Scheduler, type SchedulerOptions } from "../../../control/scheduler/scheduler.ts";
import { openStore, type Store } from "../../../control/store/store.ts";

const GIB = 1024 ** 3;
const AT = "2026-01-01T00:00:00.000Z";

export interface World {
  store: Store;
  host(id: string, over?: Partial<HostRecord>): Promise<void>;
  removeHost(id: string): Promise<void>;
  app(id: string, counts: Record<string, number>, type?: Partial<ProcessType>): Promise<void>;
  scale(appId: string, counts: Record<string, number>, tags?: Record<string, string>): Promise<void>;
  removeApp(appId: string): Promise<void>;
  jobs(appId?: string): Job[];
  /** Jobs that are to run and are not over. */
  live(appId?: string): Job[];
  report(job: Job, change: Partial<Job>): Promise<void>;
  start(options?: Partial<SchedulerOptions>): { scheduler: Scheduler; stop(): Promise<void>; settled(): Promise<void> };
  reopen(): Promise<void>;
  close(): Promise<void>;
}

export async function world(): Promise<World> {
  const directory = await mkdtemp(join(tmpdir(), "scheduler-test-"));
  const open = () => openStore({ directory, log: silentLog() });
  const running = new Set<() => Promise<void>>();
  let store = await open();
  const put = async (mutations: { key: string; value: unknown }[]) =>
    void (await store.commit({ actor: "test", mutations }));
  const formationOf = (
    appId: string,
    counts: Record<string, number>,
    tags: Record<string, string> = {},
  ): Formation => ({
    appId,
    releaseId: `${appId}-r1`,
    processes: Object.fromEntries(Object.entries(counts).map(([process, count]) => [process, { count, tags }])),
  });
  const it: World = {
    get store() {
      return store;
    },
    host(id, over = {}) {
      const value: HostRecord = {
        id,
        name: id,
        state: "ready",
        reason: "",
        cordoned: false,
        subnet: "100.64.1.0/24",
        capacity: { cpuMillis: 4_000, memoryBytes: 4 * GIB, diskBytes: 0 },
        tags: {},
        keySha256: "0".repeat(64),
        joinedAt: AT,
        ...over,
      };
      return put([{ key: keys.host(id), value }]);
    },
    removeHost: (id) => put([{ key: keys.host(id), value: null }]),
    app(id, counts, type = {}) {
      const app: App = {
        id,
        name: id,
        releaseId: `${id}-r1`,
        strategy: "rolling",
        deployTimeoutMs: 1_000,
        createdAt: AT,
      };
      const processes = Object.fromEntries(Object.keys(counts).map((process) => [process, { port: 8080, ...type }]));
      const release: Release = {
        id: `${id}-r1`,
        appId: id,
        version: 1,
        artifactId: "art",
        processes,
        env: {},
        description: "",
        createdAt: AT,
        createdBy: "test",
      };
      return put([
        { key: keys.app(id), value: app },
        { key: keys.release(id, release.id), value: release },
        { key: keys.formation(id, release.id), value: formationOf(id, counts) },
      ]);
    },
    scale: (appId, counts, tags) =>
      put([{ key: keys.formation(appId, `${appId}-r1`), value: formationOf(appId, counts, tags) }]),
    removeApp: (id) =>
      put([
        { key: keys.app(id), value: null },
        { key: keys.formation(id, `${id}-r1`), value: null },
      ]),
    jobs: (appId) => store.list<Job>(appId === undefined ? PREFIX.jobs : keys.jobsOf(appId)).map(({ value }) => value),
    live: (appId) =>
      it.jobs(appId).filter((job) => job.desired === "run" && job.state !== "down" && job.state !== "lost"),
    report(job, change) {
      const key = keys.job(job.appId, job.id);
      const now = store.get<Job>(key);
      return now === undefined ? Promise.resolve() : put([{ key, value: { ...now.value, ...change } }]);
    },
    start(options = {}) {
      const scheduler = createScheduler({ store, log: silentLog(), ...options });
      const unfollow = (options.store ?? store).onDurable(scheduler.apply);
      const stopped = new AbortController();
      const ended = scheduler.run(stopped.signal);
      const stop = async () => {
        running.delete(stop);
        stopped.abort();
        await ended;
        unfollow();
      };
      running.add(stop);
      const settled = async () => {
        const seq = store.seq;
        await until(() => store.durableSeq >= seq, { what: "durable", timeoutMs: 30_000, everyMs: 1 });
        await scheduler.settled(AbortSignal.timeout(5_000));
      };
      return { scheduler, stop, settled };
    },
    async reopen() {
      for (const stop of [...running]) await stop();
      await store.close();
      store = await open();
    },
    async close() {
      for (const stop of [...running]) await stop();
      await store.close();
      await rm(directory, { recursive: true, force: true });
    },
  };
  return it;
}
