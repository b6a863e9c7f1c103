// Where the router stands with HAProxy, and what it does next: states by name and pure steps between them. converge.ts carries them out.
import {
  isFull,
  isSpared,
  moreUrgent,
  NO_OLD_WORKERS,
  type OldWorkers,
  type Pace,
  type ReloadReason,
  reloadWaitMs,
  waitReason,
} from "./reload.ts";

export type Phase =
  /** HAProxy does not run. */
  | "down"
  /** What runs is to be compared with what is wanted. */
  | "stale"
  /** It was given commands or has read its configuration anew, and what came of that was not read back yet. */
  | "commanded"
  /** It was seen to be as wanted, but for what a reload brings. */
  | "equal"
  /** Nothing to do until something wakes it. */
  | "settled";

export interface Generation {
  term: number;
  generation: number;
}

export interface State {
  phase: Phase;
  /** What only a reload brings is wanted. */
  lacks: ReloadReason | undefined;
  /** As they were when it was last found to lack something. */
  old: OldWorkers;
  /** The newest that HAProxy was seen to serve. */
  served: Generation;
  /** Turns that failed since the last that did not. */
  failures: number;
  /** Of the last failure; empty when the last turn went well. */
  why: string;
  reloads: number;
  /** When the last one began, whatever came of it. */
  reloadedAtMs: number;
}

export const FIRST: State = {
  phase: "down",
  lacks: undefined,
  old: NO_OLD_WORKERS,
  served: { term: 0, generation: 0 },
  failures: 0,
  why: "not started",
  reloads: 0,
  reloadedAtMs: Number.NEGATIVE_INFINITY,
};

export type Step = "start" | "equalise" | "reload" | "verify" | "count" | "rest";

export type Happening =
  /** A turn begins, with HAProxy there: something may be other than it was. */
  | { kind: "woken" }
  /** HAProxy is not there any more. */
  | { kind: "ended" }
  | { kind: "started" }
  /** `isProven`: it was found to be as wanted, and needed no command. */
  | { kind: "equalised"; lacks: ReloadReason | undefined; old: OldWorkers; isProven: boolean }
  | { kind: "reloading"; atMs: number }
  | { kind: "reloaded" }
  | { kind: "verified" }
  /** The turn is over; `goal` is what it was for. */
  | { kind: "counted"; goal: Generation }
  | { kind: "failed"; why: string };

export interface Clock {
  nowMs: number;
  pace?: Pace | undefined;
}

export const reloadInMs = ({ lacks, old, reloadedAtMs }: State, { nowMs, pace }: Clock): number =>
  lacks === undefined ? 0 : reloadWaitMs({ reason: lacks, old, pace, sinceReloadMs: nowMs - reloadedAtMs });

/** What is wanted is not served before a reload, and everybody waits for that. */
export const isAwaited = ({ lacks, old }: State): boolean => lacks !== undefined && !isSpared(lacks, old);

export function nextStep(state: State, clock: Clock): Step {
  const { phase, lacks } = state;
  if (phase === "down") return "start";
  if (phase === "stale") return "equalise";
  if (phase === "settled") return "rest";
  if (lacks !== undefined && reloadInMs(state, clock) === 0) return "reload";
  return phase === "commanded" && !isAwaited(state) ? "verify" : "count";
}

export function after(state: State, happening: Happening): State {
  switch (happening.kind) {
    case "woken":
      return { ...state, phase: "stale" };
    case "ended":
      return { ...state, phase: "down" };
    case "started":
      return { ...state, phase: "stale", lacks: undefined };
    case "equalised": {
      const lacks = moreUrgent(state.lacks, happening.lacks);
      return { ...state, lacks, old: happening.old, phase: happening.isProven ? "equal" : "commanded" };
    }
    case "reloading":
      return { ...state, reloadedAtMs: happening.atMs };
    case "reloaded":
      return { ...state, phase: "commanded", lacks: undefined, reloads: state.reloads + 1 };
    case "verified":
      return { ...state, phase: "equal" };
    case "counted": {
      const served = isAwaited(state) ? state.served : happening.goal;
      return { ...state, phase: "settled", served, failures: 0, why: "" };
    }
    case "failed": {
      const phase = state.phase === "down" ? "down" : "stale";
      return { ...state, phase, failures: state.failures + 1, why: happening.why };
    }
  }
}

/** What is said of it: why it failed, or what waits for a reload that is put off. */
export function reasonOf(state: State, clock: Clock): string {
  const { why, lacks, old } = state;
  if (why !== "" || lacks === undefined || !(isFull(old) || isSpared(lacks, old))) return why;
  const what = lacks === "all" ? "what is new is served" : "TCP ports change";
  return waitReason(what, old, reloadInMs(state, clock));
}
