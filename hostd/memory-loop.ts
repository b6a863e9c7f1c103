// Keeps what each running job has in memory, for reports: a number of the last seconds, never on disk.
import type { Log } from "#lib/log.ts";
import { every } from "#lib/time.ts";
import { type Container, LABELS } from "./engine/engine.ts";
import { memoryInUse } from "./memory.ts";

export interface MemoryWatch {
  /** Bytes by job. */
  of(jobId: string): number | undefined;
  run(signal: AbortSignal): Promise<void>;
}

export interface MemoryWatchOptions {
  running: () => readonly Container[];
  read?: (container: Container) => Promise<number | undefined>;
  everyMs?: number;
  log: Log;
}

export function watchMemory({ running, read = memoryInUse, everyMs = 10_000, log }: MemoryWatchOptions): MemoryWatch {
  let bytes = new Map<string, number>();
  let trouble = "";
  const look = async (): Promise<void> => {
    const next = new Map<string, number>();
    for (const container of running()) {
      const jobId = container.labels[LABELS.job];
      const found = await read(container);
      if (jobId !== undefined && found !== undefined) next.set(jobId, found);
    }
    bytes = next;
  };
  return {
    of: (jobId) => bytes.get(jobId),
    async run(signal) {
      for await (const _ of every(everyMs, signal))
        await look().then(
          () => {
            trouble = "";
          },
          (error: unknown) => {
            if (trouble !== String(error)) log.warn({ err: error }, "memory in use is not known");
            trouble = String(error);
          },
        );
    },
  };
}
