// Whether changes reach the disk, for people: as a part of the status, as events once they can be written, and for loops that must outlive
// a time in which nothing can be.
import type { Part } from "#api/status.ts";
import type { Log } from "#lib/log.ts";
import { causeChain } from "#lib/run.ts";
import { every, sleep } from "#lib/time.ts";
import { formatDuration } from "#lib/units.ts";
import { eventChanges, type NewEvent } from "../events.ts";
import { isPaused } from "../store/paused.ts";
import type { Store } from "../store/store.ts";

/** A sync that takes longer is felt by everybody who changes something. */
const SLOW_MS = 500;
const STEADY_MS = 250;
const LOOK_MS = 1_000;

type Writes = Pick<Store, "paused" | "worstWriteMs">;

/** What is said of the store while it does not write as it should; undefined when it does. */
export function writingProblem({ paused, worstWriteMs }: Writes): Pick<Part, "state" | "message"> | undefined {
  if (paused !== undefined) return { state: "down", message: causeChain(paused).join(": ") };
  if (worstWriteMs < SLOW_MS) return undefined;
  const took = formatDuration(Math.round(worstWriteMs));
  return {
    state: "degraded",
    message: `the disk is slow: a write took ${took} within the last minute, and every change waits for one. Look at what else uses that disk (iostat -x 1), or move control's state to a faster one`,
  };
}

export interface WatchWriting {
  store: Store;
  log: Log;
  now: () => Date;
  signal: AbortSignal;
  lookMs?: number;
}

/** Beginning and end of each such time are events; those of a full disk are written when it takes them again. */
export async function watchWriting({ store, log, now, signal, lookMs = LOOK_MS }: WatchWriting): Promise<void> {
  let pausedSince: Date | undefined;
  let isSlow = false;
  const pending: NewEvent[] = [];
  for await (const _ of every(lookMs, signal)) {
    const { paused, worstWriteMs } = store;
    if (paused !== undefined) pausedSince ??= now();
    else if (pausedSince !== undefined) {
      pending.push(
        event(
          "store.resumed",
          `control takes changes again; since ${pausedSince.toISOString()} it took none, its disk was full`,
        ),
      );
      pausedSince = undefined;
    }
    if (paused === undefined && worstWriteMs >= (isSlow ? STEADY_MS : SLOW_MS) !== isSlow) {
      isSlow = !isSlow;
      const took = formatDuration(Math.round(worstWriteMs));
      pending.push(
        isSlow
          ? event("store.slow", `control's disk is slow: a write took ${took}`)
          : event("store.steady", "control's disk is as fast as before"),
      );
    }
    if (paused !== undefined || pending.length === 0) continue;
    const mutations = eventChanges(store, now(), ...pending);
    const written = store.commit({ actor: "control", mutations });
    await written.then(
      () => void pending.splice(0),
      (error: unknown) => log.error({ causes: causeChain(error) }, "the event of a full or slow disk is written later"),
    );
  }
}

const event = (type: string, message: string): NewEvent => ({ type, subject: "store", message, actor: "control" });

/** Runs a loop of control, and again when it ended because no change could be written. */
export async function lasting(
  loop: () => Promise<void>,
  { store, log, signal }: { store: Pick<Store, "paused">; log: Log; signal: AbortSignal },
): Promise<void> {
  for (;;) {
    try {
      return await loop();
    } catch (error) {
      if (!isPaused(error) || signal.aborted) throw error;
      log.warn({ causes: causeChain(error) }, "a loop waits until changes can be written");
    }
    while (store.paused !== undefined && !signal.aborted) await sleep(LOOK_MS / 4, signal);
  }
}
