// Waiting, always bounded and always ended by a signal.
import { setTimeout as delay } from "node:timers/promises";

/** Resolves after `ms` milliseconds, or at once (without throwing) when the signal aborts. */
export async function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  if (signal?.aborted) return;
  await delay(ms, undefined, { signal }).catch(() => undefined);
}

export interface Joined {
  signal: AbortSignal;
  /** Nothing is heard of the others any more, and nothing of this is left with them. */
  release(): void;
}

/**
 * Aborts with the first of these. Unlike `AbortSignal.any`, it can be let go: a signal that lives as long as its program keeps
 * all that ever listened to it.
 */
export function joined(...signals: readonly AbortSignal[]): Joined {
  const controller = new AbortController();
  const ends = signals.map((signal) => ({ signal, end: () => abort(signal.reason) }));
  const release = () => {
    for (const { signal, end } of ends) signal.removeEventListener("abort", end);
  };
  const abort = (reason: unknown) => {
    release();
    controller.abort(reason);
  };
  const over = signals.find(({ aborted }) => aborted);
  if (over !== undefined) abort(over.reason);
  else for (const { signal, end } of ends) signal.addEventListener("abort", end, { once: true });
  return { signal: controller.signal, release };
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

/** The time of day as it was when the program started, gone on by the monotonic clock: setting the clock meanwhile changes nothing. */
export const steadyNow = (): number => performance.timeOrigin + performance.now();

const DAY_MS = 86_400_000;

/**
 * The time of day for what ends by a date that was written down: whoever sets the clock, forward or back, by up to a day ends nothing
 * early by it. A clock that was off by more (a machine without one, until it reaches a time server) keeps things for a day longer.
 */
export function unhurriedNow(wallMs: number = Date.now(), steadyMs: number = steadyNow()): number {
  return Math.max(Math.min(wallMs, steadyMs), wallMs - DAY_MS);
}

/** RFC 3339 UTC with any number of fraction digits -> with exactly six, so that texts sort as times. */
export function toMicroseconds(time: string): string {
  const match = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?Z$/.exec(time);
  if (match) return `${match[1]}.${(match[2] ?? "").slice(0, 6).padEnd(6, "0")}Z`;
  const ms = Date.parse(time);
  return Number.isNaN(ms) ? "1970-01-01T00:00:00.000000Z" : `${new Date(ms).toISOString().slice(0, -1)}000Z`;
}

/** The wall clock now, in that form; the clock itself gives milliseconds. */
export const microsecondsNow = (): string => `${new Date().toISOString().slice(0, -1)}000Z`;
