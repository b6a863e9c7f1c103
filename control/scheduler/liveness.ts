// Which hosts are alive, by the monotonic clock passed in. A state machine without clock, network or store: frames and
// ticks go in, verdicts come out. When many hosts fall silent together it is likelier that we are cut off than that they
// died, so evictions stop; and when our own clock was not looked at for a while, nobody is blamed for it. Silence is counted on a clock of
// its own, which a gap between two ticks moves by little, and each silence is forgiven once: ticks that are always late find the dead too.

export interface LivenessOptions {
  /** Silence after which a host is lost. */
  ttlMs?: number;
  /** A tick later than this after the one before means that we slept or were busy: no more of it counts as silence. */
  sleptMs?: number;
  /** Share of hosts that may be lost within a minute before the brake; at least one always may. */
  brakeShare?: number;
  /** How long the brake holds after the last loss; then hosts are given up at the brake's rate. */
  brakeHoldMs?: number;
}

export type Verdict =
  /** Silent for the TTL. Nothing is placed there; its jobs stay until `evict`. */
  | { type: "lost"; hostId: string }
  /** Give its jobs up and replace them. */
  | { type: "evict"; hostId: string }
  /** A lost host is heard again; `heldForMs` > 0: it flaps and gets no new jobs for so long. */
  | { type: "returned"; hostId: string; heldForMs: number }
  /** Its hold-down is over. */
  | { type: "released"; hostId: string };

interface Beat {
  /** On the clock that silence is counted on. */
  seenAtMs: number;
  /** Its silence began anew with a late tick, and it was not heard since: the next late tick begins nothing. */
  forgiven?: true;
  lostAtMs?: number;
  /** It was told to reboot when it fell silent: no sign of trouble, and its return is no flapping. */
  planned?: true;
  evicted: boolean;
  returnsAtMs: number[];
  heldUntilMs: number;
}

export interface BrakeStatus {
  on: boolean;
  /** Hosts that are silent and whose jobs are left alone. */
  waiting: number;
  allowedPerMinute: number;
}

const MINUTE_MS = 60_000;
/** Silent for this share of the TTL, a host may be about to be lost with another: three frames of it are missing. */
const SUSPECT_SHARE = 0.7;
const FLAP_WINDOW_MS = 1_800_000;
const HOLD_FIRST_MS = 30_000;
const HOLD_MAX_MS = 600_000;

export class Liveness {
  readonly #ttlMs: number;
  readonly #sleptMs: number;
  readonly #brakeShare: number;
  readonly #brakeHoldMs: number;
  readonly #beats = new Map<string, Beat>();
  #tickedAtMs: number;
  /** What silence is counted on, as of the last tick. */
  #listenedMs = 0;
  #brakedAtMs: number | undefined;
  #evictedAtMs: number[] = [];

  constructor(nowMs: number, options: LivenessOptions = {}) {
    const { ttlMs = 10_000, sleptMs = 3_000, brakeShare = 0.3, brakeHoldMs = 300_000 } = options;
    this.#ttlMs = ttlMs;
    this.#sleptMs = sleptMs;
    this.#brakeShare = brakeShare;
    this.#brakeHoldMs = brakeHoldMs;
    this.#tickedAtMs = nowMs;
  }

  /**
   * A host known from before this start: it gets a full TTL. One recorded as lost stays lost; its jobs, if it still has any,
   * were left alone by the brake or by a crash in between, and are judged again after a full TTL.
   */
  know(hostId: string, host: { lost: boolean; hasJobs: boolean; heldForMs: number }, nowMs: number): void {
    const heldUntilMs = host.heldForMs > 0 ? nowMs + Math.min(host.heldForMs, HOLD_MAX_MS) : 0;
    const beat: Beat = { seenAtMs: this.#listenedAt(nowMs), evicted: false, returnsAtMs: [], heldUntilMs };
    if (host.lost && !host.hasJobs) {
      beat.lostAtMs = Number.NEGATIVE_INFINITY;
      beat.evicted = true;
    }
    this.#beats.set(hostId, beat);
  }

  forget(hostId: string): void {
    this.#beats.delete(hostId);
  }

  /** A frame of the host has come. */
  seen(hostId: string, nowMs: number): Verdict | undefined {
    const beat = this.#beats.get(hostId);
    if (beat === undefined) {
      const seenAtMs = this.#listenedAt(nowMs);
      this.#beats.set(hostId, { seenAtMs, evicted: false, returnsAtMs: [], heldUntilMs: 0 });
      return undefined;
    }
    beat.seenAtMs = this.#listenedAt(nowMs);
    delete beat.forgiven;
    if (beat.lostAtMs === undefined) return undefined;
    beat.lostAtMs = undefined;
    beat.evicted = false;
    if (beat.planned) {
      delete beat.planned;
      return { type: "returned", hostId, heldForMs: 0 };
    }
    beat.returnsAtMs = [...beat.returnsAtMs.filter((at) => at > nowMs - FLAP_WINDOW_MS), nowMs];
    const heldForMs = holdFor(beat.returnsAtMs.length);
    beat.heldUntilMs = heldForMs > 0 ? nowMs + heldForMs : beat.heldUntilMs;
    return { type: "returned", hostId, heldForMs };
  }

  /** On the clock that silence is counted on. */
  seenAtMs(hostId: string): number | undefined {
    return this.#beats.get(hostId)?.seenAtMs;
  }

  #listenedAt(nowMs: number): number {
    return this.#listenedMs + Math.min(Math.max(0, nowMs - this.#tickedAtMs), this.#sleptMs);
  }

  /** `isPlanned`: this host was told to reboot. */
  tick(nowMs: number, isPlanned: (hostId: string) => boolean = () => false): Verdict[] {
    const isLate = nowMs - this.#tickedAtMs > this.#sleptMs;
    const listenedMs = this.#listenedAt(nowMs);
    this.#listenedMs = listenedMs;
    this.#tickedAtMs = nowMs;
    const verdicts: Verdict[] = [];
    for (const [hostId, beat] of this.#beats) {
      if (isLate && beat.lostAtMs === undefined && beat.forgiven === undefined) {
        beat.seenAtMs = listenedMs;
        beat.forgiven = true;
      }
      if (beat.lostAtMs === undefined && listenedMs - beat.seenAtMs >= this.#ttlMs) {
        beat.lostAtMs = nowMs;
        if (isPlanned(hostId)) beat.planned = true;
        verdicts.push({ type: "lost", hostId });
      } else if (beat.lostAtMs === undefined && beat.heldUntilMs > 0 && nowMs >= beat.heldUntilMs) {
        beat.heldUntilMs = 0;
        verdicts.push({ type: "released", hostId });
      }
    }
    return verdicts.concat(this.#evict(nowMs, isPlanned));
  }

  brake(): BrakeStatus {
    let waiting = 0;
    for (const beat of this.#beats.values()) if (beat.lostAtMs !== undefined && !beat.evicted) waiting++;
    return { on: this.#brakedAtMs !== undefined, waiting, allowedPerMinute: this.#allowed(0) };
  }

  /** Hosts that may be given up in a minute, of those in use: alive, or lost in this same trouble. */
  #allowed(settled: number): number {
    return Math.max(1, Math.floor((this.#beats.size - settled) * this.#brakeShare));
  }

  #evict(nowMs: number, isPlanned: (hostId: string) => boolean): Verdict[] {
    let alive = 0;
    let suspect = 0;
    let fresh = 0;
    let settled = 0;
    const waiting: [string, Beat][] = [];
    for (const [hostId, beat] of this.#beats) {
      if (beat.lostAtMs === undefined) {
        alive++;
        if (this.#listenedMs - beat.seenAtMs >= this.#ttlMs * SUSPECT_SHARE && !isPlanned(hostId)) suspect++;
      } else {
        if (beat.planned) settled++;
        else if (beat.lostAtMs > nowMs - MINUTE_MS) fresh++;
        else if (beat.evicted) settled++;
        if (!beat.evicted) waiting.push([hostId, beat]);
      }
    }
    const allowed = this.#allowed(settled);
    if (fresh > allowed) this.#brakedAtMs = nowMs;
    else if (waiting.length === 0) this.#brakedAtMs = undefined;
    // With nobody left there is nowhere to go, and the silence is surely ours.
    if (waiting.length === 0 || alive === 0) return [];
    if (this.#brakedAtMs === undefined) {
      // Frames of hosts are not in step: of those that fell silent together one is lost first, and the others tell in a moment.
      if (suspect > 0 && fresh + suspect > allowed) return [];
      return waiting.map(([hostId, beat]) => giveUp(hostId, beat));
    }
    if (nowMs - this.#brakedAtMs < this.#brakeHoldMs) return [];

    this.#evictedAtMs = this.#evictedAtMs.filter((at) => at > nowMs - MINUTE_MS);
    const now = waiting.slice(0, Math.max(0, allowed - this.#evictedAtMs.length));
    this.#evictedAtMs.push(...now.map(() => nowMs));
    return now.map(([hostId, beat]) => giveUp(hostId, beat));
  }
}

function giveUp(hostId: string, beat: Beat): Verdict {
  beat.evicted = true;
  return { type: "evict", hostId };
}

/** The first return within half an hour is free: a reboot. Then 30 s, doubling to 10 min. */
function holdFor(returns: number): number {
  return returns < 2 ? 0 : Math.min(HOLD_MAX_MS, HOLD_FIRST_MS * 2 ** (returns - 2));
}
