// Bounded, jittered retry that ends with its signal.
import { sleep } from "./time.ts";

export interface RetryOptions {
  attempts: number;
  baseMs?: number;
  maxMs?: number;
  signal?: AbortSignal;
  /** False ends the retrying at once with the error. */
  retryable?: (error: unknown) => boolean;
  random?: () => number;
}

/** Full-jitter exponential backoff: the wait before attempt n (from 1), in milliseconds. */
export function backoffMs(n: number, baseMs: number, maxMs: number, random: () => number = Math.random): number {
  const ceiling = Math.min(maxMs, baseMs * 2 ** Math.min(n - 1, 30));
  return Math.round(ceiling / 2 + (random() * ceiling) / 2);
}

export async function retry<T>(work: (attempt: number) => Promise<T>, options: RetryOptions): Promise<T> {
  const { attempts, baseMs = 200, maxMs = 5_000, signal, retryable = () => true, random } = options;
  for (let attempt = 1; ; attempt++) {
    signal?.throwIfAborted();
    try {
      return await work(attempt);
    } catch (error) {
      if (attempt >= attempts || signal?.aborted || !retryable(error)) throw error;
      await sleep(backoffMs(attempt, baseMs, maxMs, random), signal);
    }
  }
}
