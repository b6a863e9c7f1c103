// Whole-state streams: something changed -> build the state anew -> send it if it differs. Bursts are coalesced.
import type { StreamEvent } from "#api/stream.ts";
import { sleep } from "#lib/time.ts";

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
  let dirty = true;
  let wake: () => void = () => undefined;
  const unsubscribe = subscribe(() => {
    dirty = true;
    wake();
  });
  const onAbort = () => wake();
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    let sent: string | undefined;
    while (!signal.aborted) {
      if (dirty) {
        dirty = false;
        const state = await build();
        const same = sameness(state);
        if (same !== sent) {
          yield { event: "item", id: id(state), data: state };
          if (sent === undefined) yield { event: "current", id: id(state) };
          sent = same;
          if (last(state)) return;
        }
        await sleep(coalesceMs, signal);
        continue;
      }
      await new Promise<void>((resolve) => {
        wake = resolve;
        if (dirty || signal.aborted) resolve();
      });
    }
  } finally {
    unsubscribe();
    signal.removeEventListener("abort", onAbort);
  }
}
