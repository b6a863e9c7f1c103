// May a boot's host join while the machine has a host already? Only when that host's session is over: silent since this boot began,
// when this control heard the host and saw the boot begin; otherwise for a full TTL. Time in which control did not run, or was not
// there at all, is nobody's silence. Pure.

export interface Incumbent {
  nowMs: number;
  /** Since when this control listens. */
  startedMs: number;
  /** When it last found that it had not run for a while (stopped, or out of processor time). */
  sleptMs?: number | undefined;
  /** When the incumbent was last heard by this control: a report, or its own join. */
  heardMs?: number | undefined;
  /** When this control saw this boot begin. */
  begunMs?: number | undefined;
  /** When the boot's grant was first shown. */
  askedMs?: number | undefined;
  /** Silence after which a host is lost. */
  ttlMs: number;
  /** How often hosts are asked to report. */
  everyMs?: number | undefined;
}

/** `alive`: it was heard after this boot began: two sessions of one machine. `not-yet`: nothing is known against it but time. */
export type Judgement = "let-in" | "not-yet" | "alive";

const BOOT_ID = /^boot-([0-9a-v]{7})[0-9a-v]{9}$/; // begins with the second of its making
const isOlder = (a: string, b: string): boolean => {
  const [of, than] = [BOOT_ID.exec(a)?.[1], BOOT_ID.exec(b)?.[1]];
  return of !== undefined && than !== undefined && of < than;
};

/** A later boot of the machine ends this one. `newest`: what this control saw begin last; `joined`: the boot whose grant was used. */
export function isSuperseded(
  bootId: string,
  { newest, begun, joined }: { newest?: string | undefined; begun: boolean; joined?: string | undefined },
): boolean {
  if (joined !== undefined && isOlder(bootId, joined)) return true;
  if (newest === undefined || newest === bootId) return false;
  return begun ? !isOlder(newest, bootId) : isOlder(bootId, newest);
}

/** Two reports are missing after so many times the pace of reports: 5 s at 2 s. A real boot takes longer than that. */
const TWO_REPORTS = 2.5;
const EVERY_MS = 2_000;

export function judge({
  nowMs,
  startedMs,
  sleptMs = startedMs,
  heardMs,
  begunMs,
  askedMs,
  ttlMs,
  everyMs = EVERY_MS,
}: Incumbent): Judgement {
  const listensMs = Math.max(startedMs, sleptMs);
  const silentMs = nowMs - Math.max(listensMs, heardMs ?? listensMs);
  const unheard = heardMs === undefined || heardMs < listensMs;
  const sinceMs = begunMs ?? askedMs;
  const overlaps = heardMs !== undefined && sinceMs !== undefined && heardMs > sinceMs;
  const neededMs = begunMs !== undefined && !overlaps && !unheard ? Math.min(ttlMs, TWO_REPORTS * everyMs) : ttlMs;
  if (silentMs >= neededMs) return "let-in";
  return overlaps ? "alive" : "not-yet";
}
