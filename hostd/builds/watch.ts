// Watches what a running build takes of time and disk, and ends it beyond its limits, or when the host itself runs short.
import { statfs } from "node:fs/promises";
import { sleep } from "#lib/time.ts";
import { formatSize } from "#lib/units.ts";
import { treesBytes, Uncountable } from "../job-disk/use.ts";
import type { DiskFloor } from "./disk-floor.ts";
import { BuildFailure, diskReason, timeReason } from "./failure.ts";

export interface WatchOptions {
  limits: { timeoutMs: number; diskBytes: number };
  /** Bytes the build has on disk now. */
  usedBytes: () => Promise<number>;
  freeBytes: () => Promise<number>;
  floor: DiskFloor;
  buildId: string;
  fail: (failure: Error) => void;
  onError: (error: unknown) => void;
  everyMs?: number;
}

/** A build whose use is not known so often in a row ends: it may be anything. */
const UNKNOWN_MOST = 20;
/** And so often if that is of its own making. */
const UNCOUNTABLE_MOST = 2;

/** Watches until `stop` is called. */
export function watchLimits(options: WatchOptions): { stop(): void } {
  const { limits, usedBytes, freeBytes, floor, buildId, fail, onError, everyMs = 1_500 } = options;
  const ended = new AbortController();
  const timer = setTimeout(
    () => fail(new BuildFailure(timeReason(limits.timeoutMs), { exitCode: 124 })),
    limits.timeoutMs,
  );
  const loop = async (): Promise<void> => {
    let uncountable = 0;
    for (let unknown = 0; !ended.signal.aborted; ) {
      try {
        const [used, free] = await Promise.all([usedBytes(), freeBytes()]);
        if (ended.signal.aborted) return;
        [unknown, uncountable] = [0, 0];
        if (used > limits.diskBytes) return fail(new BuildFailure(diskReason(limits.diskBytes)));
        if (floor.look(buildId, { usedBytes: used, freeBytes: free, nowMs: performance.now() }))
          return fail(
            new BuildFailure(`the host's disk is almost full (${formatSize(free)} left), and this build grew most`),
          );
      } catch (error) {
        if (ended.signal.aborted) return;
        if (error instanceof BuildFailure) return fail(error);
        onError(error);
        if (error instanceof Uncountable && ++uncountable >= UNCOUNTABLE_MOST)
          return fail(new BuildFailure(`the build's use of the disk is not known: ${error.message}`, { cause: error }));
        if (++unknown >= UNKNOWN_MOST)
          return fail(new BuildFailure("the host cannot tell how much disk the build uses", { cause: error }));
      }
      await sleep(everyMs, ended.signal);
    }
  };
  void loop();
  return {
    stop() {
      clearTimeout(timer);
      ended.abort();
      floor.forget(buildId);
    },
  };
}

export const treeBytes = (path: string): Promise<number> => treesBytes([path]);

export async function freeBytes(path: string): Promise<number> {
  const { bavail, bsize } = await statfs(path);
  return bavail * bsize;
}
