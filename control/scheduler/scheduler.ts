// The one writer of placements. Apps whose records changed are looked at again, a bounded turn at a time; jobs that found no
// host wait until room for them appears; every minute a full sweep must find nothing to do. Each turn reads the store,
// decides and commits without a pause in between, so no decision is made on a state that has moved on.
import type { App } from "#api/apps.ts";
import { isFault } from "#api/fault.ts";
import type { Job } from "#api/jobs.ts";
import type { Log } from "#lib/log.ts";
import { sleep } from "#lib/time.ts";
import { keys, PREFIX } from "../keys.ts";
import type { LogRecord } from "../store/log.ts";
import type { Commit, Store } from "../store/store.ts";
import { appOfKey, ClusterView } from "./cluster-view.ts";
import { endsOfDrained } from "./drained.ts";
import { type Ask, fits } from "./feasible.ts";
import { gate } from "./gate.ts";
import { planApp, readApp } from "./plan-app.ts";
import { expiredJobs } from "./retention.ts";
import { differenceOf } from "./sweep.ts";
import { type HostVerdict, verdictsOn } from "./verdicts.ts";

export interface SchedulerOptions {
  store: Store;
  log: Log;
  /** Wall clock, for times in records. */
  now?: () => number;
  /**
   * True when a draining job may be told to stop. `drainSeq`: a router that serves this seq or a later one sends it nothing
   * new. Default: after `drainTimeoutMs`.
   */
  isDrained?: (job: Job, drainSeq: number) => boolean;
  drainTimeoutMs?: number;
  sweepEveryMs?: number;
  /** Told after each turn that changed something: how long it took and how many jobs it placed. */
  onTurn?: (turn: { tookMs: number; placed: number }) => void;
}

export interface SchedulerStatus {
  /** Apps to be looked at. */
  dirty: number;
  /** Apps with jobs that wait for a host. */
  blocked: number;
  placedSinceStart: number;
  lastSweep: { tookMs: number; differences: number } | undefined;
  /** Differences all sweeps found since the start: more than 0 is a defect. */
  differencesSinceStart: number;
}

export interface Scheduler {
  /** Ends when the signal aborts; throws when the log has failed. */
  run(signal: AbortSignal): Promise<void>;
  /** The host is given up: its jobs are lost and replaced at once. */
  evict(hostId: string): void;
  /** A host that was given up is heard again. */
  readmit(hostId: string): void;
  /** True when jobs that are not over are recorded on the host. */
  hasJobs(hostId: string): boolean;
  /** For every host, whether one more job like this one could go there now, and why not. */
  explain(job: Job): HostVerdict[];
  /** Looks at everything now; returns how many apps differ though nobody said so. */
  sweep(signal: AbortSignal): Promise<number>;
  /** Resolves once no app waits to be looked at and everything committed is durable. */
  settled(signal: AbortSignal): Promise<void>;
  status(): SchedulerStatus;
}

const ACTOR = "scheduler";
const SLICE_MS = 5;
const TURN_JOBS = 64;
const COMMITS_IN_FLIGHT = 16;
const REFUSED_RETRY_MS = 5_000;
const DRAIN_LOOK_MS = 200;
const IDLE_MS = 1_000;
/** Checks of freed host against blocked ask beyond which looking at every blocked app again is cheaper. */
const WAKE_CHECKS = 20_000;

export function createScheduler(options: SchedulerOptions): Scheduler {
  const { store, log, now = Date.now, drainTimeoutMs = 30_000, sweepEveryMs = 60_000, onTurn } = options;
  const isDrained = options.isDrained ?? ((job) => now() - Date.parse(job.drainingSince ?? "") >= drainTimeoutMs);
  const view = new ClusterView(store);
  const dirty = new Set<string>(store.list<App>(PREFIX.apps).map(({ value }) => value.id));
  for (const { key } of store.list(PREFIX.jobs)) dirty.add(appOfKey(key, PREFIX.jobs));
  const blocked = new Map<string, Ask[]>();
  const retryAt = new Map<string, number>();
  const inFlight: Promise<void>[] = [];
  const wake = gate();
  let failure: unknown;
  let placedSinceStart = 0;
  let differencesSinceStart = 0;
  let lastSweep: SchedulerStatus["lastSweep"];
  let sweptAtMs = performance.now();
  let drainLookedAtMs = 0;

  const mark = (appId: string) => {
    dirty.add(appId);
    wake.poke();
  };
  const markBlocked = () => {
    for (const appId of blocked.keys()) mark(appId);
  };
  const markJobs = (jobKeys: Iterable<string>) => {
    for (const key of jobKeys) mark(appOfKey(key, PREFIX.jobs));
  };

  const onRecord = (record: LogRecord) => {
    for (const { key } of record.mutations) {
      if (key.startsWith(PREFIX.jobs)) {
        // While a host is drained, a replacement that came up lets an old job go.
        if (view.refreshJob(key, record.seq) || view.anyLeaving) mark(appOfKey(key, PREFIX.jobs));
      } else if (key.startsWith(PREFIX.hosts)) {
        const on = [...view.keysOn(key.slice(PREFIX.hosts.length))];
        view.refreshHost(key);
        const hostId = key.slice(PREFIX.hosts.length);
        if (view.isGone(hostId) || view.isLeaving(hostId)) markJobs(on);
        markBlocked();
      } else if (key.startsWith(PREFIX.apps)) mark(appOfKey(key, PREFIX.apps));
      else if (key.startsWith(PREFIX.formations)) mark(appOfKey(key, PREFIX.formations));
      else if (key.startsWith(PREFIX.releases)) mark(appOfKey(key, PREFIX.releases));
    }
    if (view.freed.size > 0) wake.poke();
  };

  const commit = (request: Omit<Commit<undefined>, "actor">, appId?: string): void => {
    const touched = request.mutations.map(({ key }) => key);
    const done: Promise<void> = store
      .commit({ actor: ACTOR, ...request })
      .then(() => undefined)
      .catch((error) => {
        if (isFault(error, "unavailable")) failure = error;
        else log.error({ err: error, appId }, "decision refused by the store");
        for (const key of touched) view.refreshJob(key);
        if (appId !== undefined) retryAt.set(appId, now() + REFUSED_RETRY_MS);
        wake.poke();
      })
      .finally(() => void inFlight.splice(inFlight.indexOf(done), 1));
    inFlight.push(done);
    for (const key of touched) view.refreshJob(key); // applied already: the store changes before commit returns
  };

  const turn = (appId: string): void => {
    const startedMs = performance.now();
    dirty.delete(appId);
    blocked.delete(appId);
    retryAt.delete(appId);
    const nowMs = now();
    const planned = planApp(readApp(store, view, appId, nowMs), { view, nowMs, limit: TURN_JOBS });
    if (planned.changes.length > 0) commit({ mutations: planned.changes, expect: planned.expect }, appId);
    if (planned.more) dirty.add(appId);
    if (planned.blocked.length > 0) blocked.set(appId, planned.blocked);
    if (planned.retryAtMs !== undefined) retryAt.set(appId, planned.retryAtMs);
    placedSinceStart += planned.placed;
    if (planned.changes.length > 0) onTurn?.({ tookMs: performance.now() - startedMs, placed: planned.placed });
  };

  const wakeBlocked = (): void => {
    if (view.freed.size === 0) return;
    const freed = [...view.freed];
    view.freed.clear();
    if (freed.length * blocked.size > WAKE_CHECKS) {
      markBlocked();
      return;
    }
    for (const [appId, asks] of blocked) {
      if (asks.some((ask) => freed.some((slot) => fits(view.fleet, slot, ask)))) dirty.add(appId);
    }
  };

  const endDrained = (): void => {
    if (view.draining.size === 0 || performance.now() - drainLookedAtMs < DRAIN_LOOK_MS) return;
    drainLookedAtMs = performance.now();
    const ends = endsOfDrained(store, { draining: view.draining, isDrained, limit: TURN_JOBS });
    if (ends.mutations.length > 0) commit(ends);
  };

  const pause = () => new Promise<void>((resolve) => setImmediate(resolve));

  /** Others' commits are seen here once durable: what is known by then and was not acted upon is a true difference. */
  const settled = async (signal: AbortSignal): Promise<void> => {
    const seq = store.seq;
    const isBusy = () => dirty.size > 0 || view.freed.size > 0 || inFlight.length > 0 || store.durableSeq < seq;
    while (!signal.aborted && failure === undefined && isBusy()) await sleep(2, signal);
  };

  const retryDue = (): void => {
    const nowMs = now();
    for (const [appId, atMs] of retryAt) if (atMs <= nowMs) dirty.add(appId);
  };

  const sweep = async (signal: AbortSignal): Promise<number> => {
    sweptAtMs = performance.now();
    const appIds = new Set(store.list<App>(PREFIX.apps).map(({ value }) => value.id));
    for (const { key } of store.list(PREFIX.jobs)) appIds.add(appOfKey(key, PREFIX.jobs));
    const suspects: string[] = [];
    let workedMs = 0;
    let sliceMs = performance.now();
    const breathe = async () => {
      const tookMs = performance.now() - sliceMs;
      if (tookMs < SLICE_MS) return;
      workedMs += tookMs;
      await pause();
      sliceMs = performance.now();
    };
    for (const appId of appIds) {
      if (signal.aborted) return 0;
      if (!dirty.has(appId) && differenceOf(store, view, appId, now()) !== undefined) suspects.push(appId);
      const mutations = expiredJobs(store.list<Job>(keys.jobsOf(appId)), now()).map((key) => ({ key, value: null }));
      if (mutations.length > 0) commit({ mutations });
      await breathe();
    }
    workedMs += performance.now() - sliceMs;
    let differences = 0;
    retryDue();
    if (suspects.length > 0) await settled(signal);
    for (const appId of suspects) {
      const found = dirty.has(appId) || signal.aborted ? undefined : differenceOf(store, view, appId, now());
      if (found === undefined) continue;
      differences++;
      log.error({ appId, found }, "sweep found a difference");
      for (const { key } of store.list(keys.jobsOf(appId))) view.refreshJob(key);
      mark(appId);
    }
    differencesSinceStart += differences;
    lastSweep = { tookMs: workedMs, differences };
    return differences;
  };

  const run = async (signal: AbortSignal): Promise<void> => {
    const stop = store.onDurable(onRecord);
    let sweeping: Promise<unknown> | undefined;
    try {
      while (!signal.aborted) {
        if (failure !== undefined) throw failure;
        if (inFlight.length >= COMMITS_IN_FLIGHT) await inFlight[0];
        const sliceMs = performance.now();
        wakeBlocked();
        retryDue();
        endDrained();
        for (const appId of dirty) {
          turn(appId);
          if (performance.now() - sliceMs >= SLICE_MS || inFlight.length >= COMMITS_IN_FLIGHT) break;
        }
        if (sweeping === undefined && performance.now() - sweptAtMs >= sweepEveryMs) {
          sweeping = sweep(signal)
            .catch((error) => log.error({ err: error }, "sweep failed"))
            .finally(() => {
              sweeping = undefined;
            });
        }
        if (dirty.size > 0 || view.freed.size > 0) await pause();
        else await wake.wait(view.draining.size > 0 || retryAt.size > 0 ? DRAIN_LOOK_MS : IDLE_MS, signal);
      }
    } finally {
      stop();
      await sweeping;
      await Promise.all(inFlight);
    }
  };

  return {
    run,
    sweep,
    settled,
    evict(hostId) {
      const on = [...view.keysOn(hostId)];
      view.setGone(hostId, true);
      markJobs(on);
      markBlocked();
    },
    readmit(hostId) {
      view.setGone(hostId, false);
      markBlocked();
    },
    hasJobs: (hostId) => view.keysOn(hostId).size > 0,
    explain: (job) => verdictsOn(store, view.fleet, job),
    status: () => ({
      dirty: dirty.size,
      blocked: blocked.size,
      placedSinceStart,
      lastSweep,
      differencesSinceStart,
    }),
  };
}
