// The least rate of a body that comes in: one byte a minute is no silence, and would hold a build's place for years. Only waiting for
// the sender counts, on the monotonic clock: a reader may take its time.
import type { Readable } from "node:stream";
import { Fault } from "#api/fault.ts";
import { formatSize } from "#lib/units.ts";

export interface Pace {
  leastBytesPerSecond: number;
  /** Of waiting, in a row or in pieces, before the rate counts. */
  graceMs: number;
}
export const PACE: Pace = { leastBytesPerSecond: 16 * 1024, graceMs: 60_000 };

/** Fault `unavailable` when it comes slower; the sender is let go of at the end, however that comes. */
export async function* paced(body: Readable, { leastBytesPerSecond, graceMs }: Pace = PACE): AsyncGenerator<Buffer> {
  const chunks = body[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  let leftMs = graceMs;
  try {
    for (;;) {
      const sinceMs = performance.now();
      const next = await within(chunks.next(), leftMs, leastBytesPerSecond);
      if (next.done) return;
      leftMs -= performance.now() - sinceMs;
      leftMs = Math.min(graceMs, leftMs + (next.value.length * 1_000) / leastBytesPerSecond);
      yield next.value;
    }
  } finally {
    body.destroy();
  }
}

async function within<T>(promise: Promise<T>, ms: number, leastBytesPerSecond: number): Promise<T> {
  promise.catch(() => undefined); // may fail once nobody waits for it
  let timer: NodeJS.Timeout | undefined;
  const slow = new Promise<never>((_, reject) => {
    const fault = () =>
      new Fault("unavailable", `the registry sends less than ${formatSize(leastBytesPerSecond)} a second`);
    timer = setTimeout(() => reject(fault()), Math.max(0, ms));
  });
  try {
    return await Promise.race([promise, slow]);
  } finally {
    clearTimeout(timer);
  }
}
