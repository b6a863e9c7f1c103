// When HAProxy is reloaded. A reload ends no connection: the older worker goes on with those it has, for a day at most. Older
// workers are bounded in number too, so reloads are paced, come together, and wait where one more would end others' connections.

/** `ports`: only TCP ports wait for it, all else is served as wanted. `all`: backends, slots or settings are missing. */
export type ReloadReason = "ports" | "all";

/** Older workers kept at once; a further one ends the oldest with its connections. */
export const OLD_WORKERS_MOST = 8;
/** An older worker ends itself after this long, whatever it still has (hard-stop-after). */
export const OLD_WORKER_LIFE_MS = 86_400_000;
/** HAProxy's master ends what has seen more reloads than this (mworker-max-reloads), whoever reloads it: the net under this program. */
export const RELOADS_SURVIVED = 24;

/** What is known of the older workers, those that still have connections. */
export interface OldWorkers {
  count: number;
  /** Reloads that the oldest has seen. */
  reloads: number;
  /** Since the oldest is one. */
  replacedMs: number;
}

export const NO_OLD_WORKERS: OldWorkers = { count: 0, reloads: 0, replacedMs: 0 };

export interface Pace {
  /** Between two reloads. */
  everyMs: number;
  /** The same with half of the older workers in use. */
  sparingMs: Readonly<Record<ReloadReason, number>>;
  /** With all of them in use, the oldest is ended for a reload once it was replaced so long ago, and not before. */
  yieldsMs: Readonly<Record<ReloadReason, number>>;
}

/** Ports of a few never end anybody's connections; what all deployments wait for does so after ten minutes. */
export const PACE: Pace = {
  everyMs: 2_000,
  sparingMs: { all: 10_000, ports: 600_000 },
  yieldsMs: { all: 600_000, ports: OLD_WORKER_LIFE_MS },
};

export interface ReloadState {
  reason: ReloadReason;
  old: OldWorkers;
  sinceReloadMs: number;
  pace?: Pace;
}

/** Milliseconds until the next reload may be made, should no older worker end before; 0 when it may be now. */
export function reloadWaitMs({ reason, old, sinceReloadMs, pace = PACE }: ReloadState): number {
  const everyMs = old.count >= OLD_WORKERS_MOST / 2 ? pace.sparingMs[reason] : pace.everyMs;
  const yieldMs = isFull(old) ? pace.yieldsMs[reason] - old.replacedMs : 0;
  return Math.max(0, everyMs - sinceReloadMs, yieldMs);
}

/** One more reload may end connections: by number, or since the oldest has seen as many as HAProxy's master lets it. */
export const isFull = ({ count, reloads }: OldWorkers): boolean =>
  count >= OLD_WORKERS_MOST || reloads >= RELOADS_SURVIVED;

/** The reload is put off so far that what waits for it is not waited for. */
export const isSpared = (reason: ReloadReason, old: OldWorkers): boolean =>
  reason === "ports" && (old.count >= OLD_WORKERS_MOST / 2 || isFull(old));

export function moreUrgent(a: ReloadReason | undefined, b: ReloadReason | undefined): ReloadReason | undefined {
  return a === "all" || b === "all" ? "all" : (a ?? b);
}

/** Why what waits for a reload waits, and how long at most. */
export function waitReason(what: string, { count }: OldWorkers, waitMs: number): string {
  const minutes = Math.max(1, Math.ceil(waitMs / 60_000));
  const within = minutes > 120 ? `${Math.ceil(minutes / 60)} hours` : `${minutes} minutes`;
  return `${what} within ${within}: ${count} earlier reload${count === 1 ? " still has" : "s still have"} open connections, which more would end`;
}
