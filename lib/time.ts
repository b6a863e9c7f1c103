// Waiting, always bounded and always ended by a signal.
import { setTimeout as delay } from "node:timers/promises";

/** Resolves after `ms` milliseconds, or at once (without throwing) when the signal aborts. */
export async function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  if (signal?.aborted) return;
  await delay(ms, undefined, { signal }).catch(() => undefined);
}

/** Yields 0, 1, 2, ... every `ms` milliseconds until the signal aborts: the loop form of a timer. */
export async function* every(ms: number, signal: AbortSignal): AsyncGenerator<number> {
  for (let n = 0; !signal.aborted; n++) {
    yield n;
    await sleep(ms, signal);
  }
}

/** Polls until `probe` returns something truthy; throws after `timeoutMs` saying `what` did not happen. */
export async function until<T>(
  probe: () => T | Promise<T>,
  options: { what: string; timeoutMs: number; everyMs?: number; signal?: AbortSignal },
): Promise<NonNullable<T>> {
  const { what, timeoutMs, everyMs = 100, signal } = options;
  const deadline = performance.now() + timeoutMs;
  let last: unknown;
  while (performance.now() < deadline) {
    signal?.throwIfAborted();
    try {
      const value = await probe();
      if (value) return value as NonNullable<T>;
      last = undefined;
    } catch (error) {
      last = error;
    }
    await sleep(everyMs, signal);
  }
  throw new Error(`${what} did not happen within ${timeoutMs} ms`, { cause: last });
}

/** Rejects with `what` when the promise has not settled after `timeoutMs`; the work itself is not cancelled. */
export async function deadline<T>(promise: Promise<T>, timeoutMs: number, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} took longer than ${timeoutMs} ms`)), timeoutMs);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
