// The full sweep: every app is looked at though nobody said that anything changed. What it finds and nobody was about to act upon is a
// defect of the scheduler, said and mended. Ended jobs whose time is over go with it.
import type { App } from "#api/apps.ts";
import type { Job } from "#api/jobs.ts";
import type { Log } from "#lib/log.ts";
import { keys, PREFIX } from "../keys.ts";
import type { Change, Store } from "../store/store.ts";
import { appOfKey, type ClusterView } from "./cluster-view.ts";
import { expiredJobs } from "./expired-jobs.ts";
import { differenceOf } from "./sweep.ts";

/** What the sweep asks of the loop. */
export interface SweepDesk {
  /** It is about to be looked at anyway. */
  isDirty(appId: string): boolean;
  /** It failed, and is tried again. */
  isFailing(appId: string): boolean;
  mark(appId: string): void;
  refresh(jobKey: string): void;
  failed(appId: string, error: unknown): void;
  commit(mutations: Change[]): void;
  /** Apps whose time to be tried again has come are marked. */
  retryDue(): void;
  /** Resolves once nothing waits to be looked at and everything committed is durable. */
  settled(signal: AbortSignal): Promise<void>;
}

export interface SweeperOptions {
  store: Store;
  log: Log;
  view: ClusterView;
  monotonicMs: () => number;
  /** The time of day by which ended jobs are kept. */
  keptUntil: () => number;
  /** Of work without a turn for others, in milliseconds. */
  sliceMs: number;
  desk: SweepDesk;
}

export interface Sweep {
  /** Work alone, without the turns of others between. */
  tookMs: number;
  differences: number;
}

export async function sweepOf(options: SweeperOptions, signal: AbortSignal): Promise<Sweep> {
  const { store, log, view, monotonicMs, keptUntil, desk } = options;
  const slices = workInSlices(options.sliceMs);
  const suspects: string[] = [];
  const appIds = new Set(store.list<App>(PREFIX.apps).map(({ value }) => value.id));
  for (const { key } of store.list(PREFIX.jobs)) {
    appIds.add(appOfKey(key, PREFIX.jobs));
    if (slices.isOver()) await slices.next();
  }
  for (const appId of appIds) {
    if (signal.aborted) return { tookMs: slices.workedMs(), differences: 0 };
    try {
      if (!desk.isDirty(appId) && differenceOf(store, view, appId, monotonicMs()) !== undefined) suspects.push(appId);
      const expired = expiredJobs(store.list<Job>(keys.jobsOf(appId)), keptUntil());
      if (expired.length > 0) desk.commit(expired.map((key) => ({ key, value: null })));
    } catch (error) {
      if (!desk.isFailing(appId)) desk.failed(appId, error);
    }
    if (slices.isOver()) await slices.next();
  }
  const tookMs = slices.workedMs();
  let differences = 0;
  desk.retryDue();
  // Others' commits are seen once durable: what is known by then and was not acted upon is a true difference.
  if (suspects.length > 0) await desk.settled(signal);
  for (const appId of suspects) {
    const found = desk.isDirty(appId) || signal.aborted ? undefined : differenceOf(store, view, appId, monotonicMs());
    if (found === undefined) continue;
    differences++;
    log.error({ appId, found }, "sweep found a difference");
    for (const { key } of store.list(keys.jobsOf(appId))) desk.refresh(key);
    desk.mark(appId);
  }
  return { tookMs, differences };
}

export const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function workInSlices(sliceMs: number) {
  let workedMs = 0;
  let fromMs = performance.now();
  return {
    isOver: () => performance.now() - fromMs >= sliceMs,
    async next(): Promise<void> {
      workedMs += performance.now() - fromMs;
      await nextTurn();
      fromMs = performance.now();
    },
    workedMs: () => workedMs + performance.now() - fromMs,
  };
}
