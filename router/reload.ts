// When HAProxy is reloaded. A reload ends no connection: the older worker goes on with those it has. Older workers are
// bounded by their number, not by time, so reloads are paced: nobody's changes may push out another one's connections.

/** `ports`: only TCP ports wait for it, all else is served as wanted. `all`: backends, slots or settings are missing. */
export type ReloadReason = "ports" | "all";

/** Older workers kept at once; a further one ends the oldest with its connections. */
export const OLD_WORKERS_MOST = 8;
const EVERY_MS = 2_000;
/** With half of the older workers in use, reloads that only ports ask for come this far apart. */
const SPARING_EVERY_MS = 600_000;

export interface ReloadState {
  reason: ReloadReason;
  /** Older workers that still have connections. */
  oldWorkers: number;
  sinceReloadMs: number;
}

/** Milliseconds until the next reload may be made; 0 when it may be now. */
export function reloadWaitMs({ reason, oldWorkers, sinceReloadMs }: ReloadState): number {
  return Math.max(0, (isSpared(reason, oldWorkers) ? SPARING_EVERY_MS : EVERY_MS) - sinceReloadMs);
}

/** The reload is put off so far that what waits for it is not waited for. */
export const isSpared = (reason: ReloadReason, oldWorkers: number): boolean =>
  reason === "ports" && oldWorkers >= OLD_WORKERS_MOST / 2;

export function moreUrgent(a: ReloadReason | undefined, b: ReloadReason | undefined): ReloadReason | undefined {
  return a === "all" || b === "all" ? "all" : (a ?? b);
}
