// What an order to boot a machine anew does next. Pure: it goes on after a restart of control from what is seen.

export interface ReprovisionSeen {
  /** drain: its jobs move elsewhere. boot: it was told to boot anew, or somebody has to switch it off and on. */
  phase: "drain" | "boot";
  drained: boolean;
  hostLives: boolean;
  /** Why its agent cannot be told; undefined when it can. */
  deaf: string | undefined;
  ready: boolean;
  /** A boot after the one that was to end has joined. */
  bootedAnew: boolean;
  imageId: string | undefined;
  refused?: string;
  /** In this phase, in milliseconds. */
  sinceMs: number;
  drainMostMs: number;
  bootMostMs: number;
  /** Its BMC can switch it off and on, and did not yet because it hung. */
  mayCycle?: boolean;
}

export type ReprovisionStep =
  | { type: "wait" }
  | { type: "reboot" | "by-hand" | "cycle"; words: string }
  | { type: "end"; state: "done" | "failed"; reason: string };

export function nextOfReprovision(seen: ReprovisionSeen): ReprovisionStep {
  const { phase, drained, hostLives, deaf, ready, bootedAnew, imageId, refused, sinceMs, drainMostMs, bootMostMs } =
    seen;
  if (ready && bootedAnew) return { type: "end", state: "done", reason: `ready with image ${imageId ?? "unknown"}` };
  if (phase === "drain") {
    if (deaf !== undefined && (drained || !hostLives)) return { type: "by-hand", words: deaf };
    if (drained) return { type: "reboot", words: "no job runs on it; told to reboot" };
    if (sinceMs > drainMostMs)
      return { type: "end", state: "failed", reason: "its jobs did not move elsewhere in time; it goes on as it was" };
    return { type: "wait" };
  }
  if (refused !== undefined) return { type: "end", state: "failed", reason: refused };
  if (sinceMs > bootMostMs && seen.mayCycle) return { type: "cycle", words: "nothing came of its boot in time" };
  if (sinceMs > bootMostMs)
    return { type: "end", state: "failed", reason: "it did not come back in time; what it did is on its timeline" };
  return { type: "wait" };
}
