// The one writer of placements. Apps whose records changed are looked at again, a bounded turn at a time; jobs that found no
// host wait until room for them appears; every minute a full sweep must find nothing to do. Each turn reads the store,
// decides and commits without a pause in between, so no decision is made on a state that has moved on.
import type { App } from "#api/apps.ts";
import type { Job } from "#api/jobs.ts";
import type { Log } from "#lib/log.ts";
import { causeChain } from "#lib/run.ts";
import { sleep, unhurriedNow } from "#lib/time.ts";
import { createWake } from "#lib/wake.ts";
import { PREFIX } from "../keys.ts";
import type { LogRecord } from "../store/log.ts";
import { isPaused } from "../store/paused.ts";
import type { Commit, Store } from "../store/store.ts";
import { appOfKey, ClusterView, type Draining } from "./cluster-view.ts";
import { endsOfDrained } from "./drained-jobs.ts";
import { type Ask, fits } from "./feasible.ts";
import { planApp, readApp } from "./plan-app.ts";
import { nextTurn, type Sweep, type SweepDesk, sweepOf } from "./sweeper.ts";
import { type HostVerdict, verdictsOn } from "./verdicts.ts";
import { waitingReasons } from "./waiting-reasons.ts";

export interface SchedulerOptions {
  store: Store;
  log: Log;
  /** Wall clock, for times in records. */
  now?: () => number;
  /** The clock of every wait. */
  monotonicMs?: () => number;
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
  lastSweep: Sweep | undefined;
  /** Differences all sweeps found since the start: more than 0 is a defect. */
  differencesSinceStart: number;
  /** Apps whose records could not be acted upon, with why, and is tried again; the others are not held up. */
  failing: { appId: string; reason: string }[];
}

export interface Scheduler {
  /** The next durable record. Called from before the first change on, not from when it runs: what comes between is not missed. */
  apply(record: LogRecord): void;
  /** Ends when the signal aborts; throws when the log has failed. */
  run(signal: AbortSignal): Promise<void>;
  /** The host is given up: its jobs are lost and replaced at once. */
  evict(hostId: string): void;
  /** A host that was given up is heard again. */
  readmit(hostId: string): void;
  /** True when jobs that are not over are recorded on the host. */
  hasJobs(hostId: string): boolean;
  /** True when none is recorded there that is not over or may return, those placed a moment ago among them. */
  isFree(hostId: string): boolean;
  /** Why the job waits for a host, as of now and with the best on offer; what is stored says it briefly. */
  whyWaiting(job: Job): string;
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
/** After an exception an app is looked at again so much later, doubling. */
const FAILED_RETRY_MS = 1_000;
const FAILED_RETRY_MOST_MS = 60_000;
const DRAIN_LOOK_MS = 200;
const IDLE_MS = 1_000;
/** Checks of freed host against blocked ask beyond which looking at every blocked app again is cheaper. */
const WAKE_CHECKS = 20_000;

export function createScheduler(options: SchedulerOptions): Scheduler {
  const { store, log, now = Date.now, drainTimeoutMs = 30_000, sweepEveryMs = 60_000, onTurn } = options;
  const { monotonicMs = () => performance.now() } = options;
  const keptUntil = options.now ?? unhurriedNow;
  const isDrained = (job: Job, { seq, sinceMs }: Draining): boolean => {
    try {
      return options.isDrained?.(job, seq) ?? monotonicMs() - sinceMs >= drainTimeoutMs;
    } catch (error) {
      log.error({ causes: causeChain(error), jobId: job.id }, "a draining job cannot be judged, it is tried again");
      return false;
    }
  };
  const onError = (error: unknown, key: string) =>
    log.error({ causes: causeChain(error), key }, "a record cannot be taken in by the scheduler, it is left out");
  const view = new ClusterView(store, { monotonicMs, now, onError });
  const dirty = new Set<string>(store.list<App>(PREFIX.apps).map(({ value }) => value.id));
  for (const { key } of store.list(PREFIX.jobs)) dirty.add(appOfKey(key, PREFIX.jobs));
  const blocked = new Map<string, Ask[]>();
  const retryAt = new Map<string, number>();
  const failing = new Map<string, { reason: string; times: number }>();
  const whyWaiting = waitingReasons(store, { fleet: view.fleet, monotonicMs });
  const inFlight: Promise<void>[] = [];
  const wake = createWake();
  let failure: unknown;
  let hasRun = false;
  let placedSinceStart = 0;
  let differencesSinceStart = 0;
  let lastSweep: SchedulerStatus["lastSweep"];
  let sweptAtMs = performance.now();
  let drainLookedAtMs = 0;

  const mark = (appId: string) => {
    dirty.add(appId);
    wake.ring();
  };
  const markBlocked = () => {
    for (const appId of blocked.keys()) mark(appId);
  };
  const markJobs = (jobKeys: Iterable<string>) => {
    for (const key of jobKeys) mark(appOfKey(key, PREFIX.jobs));
  };

  const refresh = (key: string): void => {
    try {
      view.refreshJob(key);
    } catch (error) {
      onError(error, key);
    }
  };

  const takeIn = (key: string, seq: number): void => {
    if (key.startsWith(PREFIX.jobs)) {
      // While a host is drained, a replacement that came up lets an old job go.
      if (view.refreshJob(key, seq) || view.anyLeaving) mark(appOfKey(key, PREFIX.jobs));
    } else if (key.startsWith(PREFIX.hosts)) {
      const hostId = key.slice(PREFIX.hosts.length);
      const on = [...view.keysOn(hostId)];
      const wasHeard = view.isHeard(hostId);
      view.refreshHost(key);
      if (view.isGone(hostId) || view.isLeaving(hostId) || view.isHeard(hostId) !== wasHeard) markJobs(on);
      markBlocked();
    } else if (key.startsWith(PREFIX.apps)) mark(appOfKey(key, PREFIX.apps));
    else if (key.startsWith(PREFIX.formations)) mark(appOfKey(key, PREFIX.formations));
    else if (key.startsWith(PREFIX.releases)) mark(appOfKey(key, PREFIX.releases));
  };

  const apply = (record: LogRecord): void => {
    for (const { key } of record.mutations) {
      try {
        takeIn(key, record.seq);
      } catch (error) {
        onError(error, key);
      }
    }
    if (view.freed.size > 0) wake.ring();
  };
  /** Everything anew: what a loop that failed knew is not trusted. */
  const lookAgain = (): void => {
    for (const { key } of store.list(PREFIX.hosts)) takeIn(key, store.seq);
    for (const { key } of store.list(PREFIX.jobs)) {
      refresh(key);
      mark(appOfKey(key, PREFIX.jobs));
    }
    for (const { key } of store.list(PREFIX.apps)) mark(appOfKey(key, PREFIX.apps));
  };

  /** An app's own records are what failed: it is shown and tried again, and nobody waits for it. */
  const failed = (appId: string, error: unknown): void => {
    const times = (failing.get(appId)?.times ?? 0) + 1;
    const [reason = "unknown"] = causeChain(error);
    const afterMs = Math.min(FAILED_RETRY_MOST_MS, FAILED_RETRY_MS * 2 ** (times - 1));
    log.error({ appId, causes: causeChain(error), afterMs }, "an app cannot be scheduled, it is tried again");
    failing.set(appId, { reason, times });
    retryAt.set(appId, monotonicMs() + afterMs);
  };

  const commit = (request: Omit<Commit<undefined>, "actor">, appId?: string): void => {
    const touched = request.mutations.map(({ key }) => key);
    const done: Promise<void> = store
      .commit({ actor: ACTOR, ...request })
      .then(() => undefined)
      .catch((error) => {
        if (store.ended) failure = error;
        else if (!isPaused(error)) log.error({ err: error, appId }, "decision refused by the store");
        for (const key of touched) refresh(key);
        if (appId !== undefined) retryAt.set(appId, monotonicMs() + REFUSED_RETRY_MS);
        wake.ring();
      })
      .finally(() => void inFlight.splice(inFlight.indexOf(done), 1));
    inFlight.push(done);
    for (const key of touched) refresh(key); // applied already: the store changes before commit returns
  };

  const turn = (appId: string): void => {
    const startedMs = performance.now();
    dirty.delete(appId);
    blocked.delete(appId);
    retryAt.delete(appId);
    try {
      const planned = planApp(readApp(store, view, appId, monotonicMs()), { view, nowMs: now(), limit: TURN_JOBS });
      failing.delete(appId);
      if (planned.changes.length > 0) commit({ mutations: planned.changes, expect: planned.expect }, appId);
      if (planned.more) dirty.add(appId);
      if (planned.blocked.length > 0) blocked.set(appId, planned.blocked);
      if (planned.retryAtMs !== undefined) retryAt.set(appId, planned.retryAtMs);
      placedSinceStart += planned.placed;
      if (planned.changes.length > 0) onTurn?.({ tookMs: performance.now() - startedMs, placed: planned.placed });
    } catch (error) {
      failed(appId, error);
    }
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
      try {
        if (asks.some((ask) => freed.some((slot) => fits(view.fleet, slot, ask)))) dirty.add(appId);
      } catch (error) {
        failed(appId, error);
      }
    }
  };

  const endDrained = (): void => {
    if (view.draining.size === 0 || performance.now() - drainLookedAtMs < DRAIN_LOOK_MS) return;
    drainLookedAtMs = performance.now();
    const ends = endsOfDrained(store, { draining: view.draining, isDrained, limit: TURN_JOBS });
    if (ends.mutations.length > 0) commit(ends);
  };

  /** Others' commits are seen here once durable: what is known by then and was not acted upon is a true difference. */
  const settled = async (signal: AbortSignal): Promise<void> => {
    const seq = store.seq;
    const isBusy = () => dirty.size > 0 || view.freed.size > 0 || inFlight.length > 0 || store.durableSeq < seq;
    while (!signal.aborted && failure === undefined && isBusy()) await sleep(2, signal);
  };

  const retryDue = (): void => {
    const nowMs = monotonicMs();
    for (const [appId, atMs] of retryAt) if (atMs <= nowMs) dirty.add(appId);
  };

  const sweep = async (signal: AbortSignal): Promise<number> => {
    sweptAtMs = performance.now();
    const desk: SweepDesk = {
      isDirty: (appId) => dirty.has(appId),
      isFailing: (appId) => retryAt.has(appId),
      ...{ mark, refresh, failed, retryDue, settled },
      commit: (mutations) => commit({ mutations }),
    };
    lastSweep = await sweepOf({ store, log, view, monotonicMs, keptUntil, sliceMs: SLICE_MS, desk }, signal);
    differencesSinceStart += lastSweep.differences;
    return lastSweep.differences;
  };

  const run = async (signal: AbortSignal): Promise<void> => {
    if (hasRun) lookAgain();
    hasRun = true;
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
        if (dirty.size > 0 || view.freed.size > 0) await nextTurn();
        else await wake.wait(view.draining.size > 0 || retryAt.size > 0 ? DRAIN_LOOK_MS : IDLE_MS, signal);
      }
    } finally {
      await sweeping;
      await Promise.all(inFlight);
    }
  };

  return {
    apply,
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
      markJobs(view.keysOn(hostId));
      markBlocked();
    },
    hasJobs: (hostId) => view.hasJobsOn(hostId),
    isFree: (hostId) => view.keysOn(hostId).size === 0,
    explain: (job) => verdictsOn(store, view.fleet, job),
    whyWaiting,
    status: () => ({
      dirty: dirty.size,
      blocked: blocked.size,
      placedSinceStart,
      lastSweep,
      differencesSinceStart,
      failing: [...failing].map(([appId, { reason }]) => ({ appId, reason })),
    }),
  };
}
