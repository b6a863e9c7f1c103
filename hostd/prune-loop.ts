// Every few minutes: unused images of our registry and logs of apps long gone are removed.
import type { Log } from "#lib/log.ts";
import { sleep } from "#lib/time.ts";
import type { Agent } from "./agent.ts";
import type { Engine } from "./engine/engine.ts";
import type { LogStore } from "./logs/store.ts";
import { prunableImages } from "./prune.ts";

export interface PruneLoopOptions {
  engine: Pick<Engine, "images" | "removeImage">;
  agent: Pick<Agent, "target" | "used">;
  logs: Pick<LogStore, "prune">;
  healthy: () => boolean;
  log: Log;
  signal: AbortSignal;
  everyMs?: number;
  unusedForMs?: number;
  keep?: number;
}

const LOG_DAYS_MS = 7 * 86_400_000;

export async function pruneLoop(options: PruneLoopOptions): Promise<void> {
  const { engine, agent, logs, healthy, log, signal, everyMs = 300_000, ...bounds } = options;
  const lastUsedMs = new Map<string, number>();
  /** Those that could not be removed, so that it is told once. */
  const kept = new Set<string>();
  const remove = async (image: string): Promise<void> => {
    try {
      await engine.removeImage(image);
      kept.delete(image);
      log.info({ image }, "unused image removed");
    } catch (error) {
      if (!kept.has(image)) log.warn({ err: error, image }, "unused image cannot be removed, it is tried again");
      kept.add(image);
    }
  };
  for (; !signal.aborted; await sleep(everyMs, signal)) {
    const target = agent.target();
    if (target === undefined || !healthy()) continue;
    const { images: used, logs: usedLogs } = agent.used();
    try {
      const nowMs = performance.now();
      const refs = (await engine.images()).map(({ ref }) => ref).filter((ref) => ref.startsWith(`${target.registry}/`));
      for (const ref of refs) if (used.has(ref) || !lastUsedMs.has(ref)) lastUsedMs.set(ref, nowMs);
      for (const ref of lastUsedMs.keys()) if (!refs.includes(ref)) lastUsedMs.delete(ref);
      for (const ref of kept) if (!refs.includes(ref)) kept.delete(ref);
      const { keep, unusedForMs } = bounds;
      for (const ref of prunableImages({ refs, used, lastUsedMs, nowMs, keep, unusedForMs })) await remove(ref);
    } catch (error) {
      log.warn({ err: error }, "pruning stopped");
    }
    try {
      const removed = await logs.prune(usedLogs, Date.now() - LOG_DAYS_MS);
      if (removed.length > 0) log.info({ logs: removed }, "old logs removed");
    } catch (error) {
      log.warn({ err: error }, "old logs not removed");
    }
  }
}
