// What a host's jobs take of its disk and its memory, and what is left.
import type { Log } from "#lib/log.ts";
import type { Agent } from "./agent.ts";
import type { HostdConfig } from "./config.ts";
import { ownSpace, type SpaceWatch, watchPressure, watchSpace } from "./job-disk/space.ts";
import { type DiskWatch, watchDisk } from "./job-disk/watch.ts";
import type { LogStore } from "./logs/store.ts";
import { type MemoryWatch, watchMemory } from "./memory-loop.ts";

export interface Usage {
  space: SpaceWatch;
  disk: DiskWatch;
  memory: MemoryWatch;
  run(signal: AbortSignal): Promise<void>;
}

export interface UsageOptions {
  config: Pick<HostdConfig, "dockerDir" | "stateDir" | "diskReserveBytes">;
  agent: () => Pick<Agent, "running" | "find" | "wake">;
  logs: Pick<LogStore, "say">;
  /** The host came under pressure, or out of it. */
  onPressure: () => void;
  log: Log;
}

export function watchUsage({ config, agent, logs, onPressure, log }: UsageOptions): Usage {
  const { dockerDir, stateDir, diskReserveBytes } = config;
  const running = () => agent().running();
  const space = watchSpace({ places: [dockerDir, stateDir], diskReserveBytes });
  const disk = watchDisk({
    running,
    limitOf: (jobId) => agent().find(jobId).job?.diskBytes,
    space: space.disk,
    ownSpace: () => ownSpace(dockerDir),
    reserveBytes: space.reserveBytes,
    say: (job, line) =>
      void logs.say(job, line).catch((error: unknown) => log.error({ err: error }, "log line not kept")),
    onExcess: () => agent().wake(),
    log,
  });
  const memory = watchMemory({ running, log });
  return {
    space,
    disk,
    memory,
    async run(signal) {
      await Promise.all([
        memory.run(signal),
        disk.run(signal),
        watchPressure(space, { onChange: onPressure, log, signal }),
      ]);
    },
  };
}
