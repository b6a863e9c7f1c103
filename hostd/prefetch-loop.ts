// Fetches the stack's images in the background, one at a time, while no app's job waits for an image: one that
// does ends the fetch, which is tried again later. What Docker fetches for a build meanwhile is the build's and goes on.
import { statfs } from "node:fs/promises";
import type { HostTarget } from "#api/host-agents.ts";
import type { Log } from "#lib/log.ts";
import { backoffMs } from "#lib/retry.ts";
import { joined, sleep } from "#lib/time.ts";
import type { Engine } from "./engine/engine.ts";
import { nextPrefetch, type Room } from "./prefetch.ts";

export interface PrefetchLoopOptions {
  engine: Pick<Engine, "images" | "pull">;
  target: () => HostTarget | undefined;
  healthy: () => boolean;
  /** A job of an app waits for its image. */
  pulling: () => boolean;
  room: () => Promise<Room>;
  log: Log;
  signal: AbortSignal;
  everyMs?: number;
  /** How soon a fetch makes way. */
  yieldMs?: number;
}

const TMPFS_MAGIC = 0x01021994;

export async function prefetchLoop(options: PrefetchLoopOptions): Promise<void> {
  const { log, signal, everyMs = 5_000 } = options;
  let done = "";
  let said = "";
  let failures = 0;
  const pauseMs = () =>
    failures > 0 ? backoffMs(failures, 2 * everyMs, 120 * everyMs) : said !== "" ? 12 * everyMs : everyMs;
  for (; !signal.aborted; await sleep(pauseMs(), signal)) {
    const target = options.target();
    const wanted = JSON.stringify(target?.stack);
    if (target === undefined || wanted === done || !options.healthy() || options.pulling()) continue;
    try {
      const present = new Set((await options.engine.images()).map(({ ref }) => ref));
      const next = nextPrefetch({ stack: target.stack, present, room: await options.room() });
      if (next === undefined) [done, said] = [wanted, ""];
      else if ("waits" in next) {
        if (said !== next.waits)
          log.info({ stack: target.stack?.name }, `the stack is not fetched ahead: ${next.waits}`);
        said = next.waits;
      } else if (await fetch(next.image, options)) {
        said = "";
        log.info({ image: next.image }, `the stack's ${next.part} image is here`);
      }
      failures = 0;
    } catch (error) {
      failures++;
      log.warn({ err: error }, "the stack's images are not fetched ahead, it is tried again");
    }
  }
}

/** False when it made way for a job. */
async function fetch(image: string, { engine, pulling, signal, yieldMs = 250 }: PrefetchLoopOptions): Promise<boolean> {
  const way = new AbortController();
  const until = joined(signal, way.signal);
  const timer = setInterval(() => pulling() && way.abort(new Error("a job needs an image")), yieldMs);
  try {
    await engine.pull(image, until.signal);
    return true;
  } catch (error) {
    if (way.signal.aborted || signal.aborted) return false;
    throw error;
  } finally {
    clearInterval(timer);
    until.release();
  }
}

export async function roomOf(directory: string): Promise<Room> {
  const { bavail, blocks, bsize, type } = await statfs(directory);
  return { freeBytes: bavail * bsize, totalBytes: blocks * bsize, inMemory: type === TMPFS_MAGIC };
}
