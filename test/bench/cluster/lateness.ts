// How late this process's event loop is: a timer of 10 ms, and by how much each firing missed its time.
const EVERY_MS = 10;

export interface Lateness {
  /** Of the time since it was read last. */
  read(): { p99Ms: number; maxMs: number };
  stop(): void;
}

export function lateness(): Lateness {
  let samples: number[] = [];
  let dueMs = performance.now() + EVERY_MS;
  let timer: NodeJS.Timeout;
  const look = () => {
    const nowMs = performance.now();
    samples.push(Math.max(0, nowMs - dueMs));
    dueMs = nowMs + EVERY_MS;
    timer = setTimeout(look, EVERY_MS);
  };
  timer = setTimeout(look, EVERY_MS);
  return {
    read() {
      const sorted = samples.sort((a, b) => a - b);
      samples = [];
      return { p99Ms: sorted[Math.floor(sorted.length * 0.99)] ?? 0, maxMs: sorted.at(-1) ?? 0 };
    },
    stop: () => clearTimeout(timer),
  };
}
