// Whole-state streams: something changed -> build the state anew -> send it if it differs. Bursts are coalesced.
import type { StreamEvent } from "#api/stream.ts";
import { sleep } from "#lib/time.ts";
import { createWake } from "#lib/wake.ts";

export interface FeedOptions<T> {
  /** Subscribes to "may have changed"; returns the way to stop. */
  subscribe: (wake: () => void) => () => void;
  build: () => T | Promise<T>;
  /** What makes two states the same; default their JSON. */
  sameness?: (state: T) => string;
  id: (state: T) => string;
  signal: AbortSignal;
  /** Changes within this time are sent as one, in milliseconds. */
  coalesceMs?: number;
  /** Ends the stream after a state for which it holds. */
  last?: (state: T) => boolean;
}

/** Sends the state now, an event `current`, then the state at each change until the signal aborts. */
export async function* stateFeed<T>(options: FeedOptions<T>): AsyncGenerator<StreamEvent<T>> {
  const {
    subscribe,
    build,
    sameness = (state) => JSON.stringify(state),
    id,
    signal,
    coalesceMs = 20,
    last = () => false,
  } = options;
  const wake = createWake();
  const unsubscribe = subscribe(wake.ring);
  try {
    let sent: string | undefined;
    while (!signal.aborted) {
      const state = await build();
      const same = sameness(state);
      if (same !== sent) {
        yield { event: "item", id: id(state), data: state };
        if (sent === undefined) yield { event: "current", id: id(state) };
        sent = same;
        if (last(state)) return;
      }
      await sleep(coalesceMs, signal);
      await wake.wait(Number.POSITIVE_INFINITY, signal);
    }
  } finally {
    unsubscribe();
  }
}
