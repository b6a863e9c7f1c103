// Watches what a running build takes of time and disk, and ends it beyond its limits, or when the host itself runs short.
import { statfs } from "node:fs/promises";
import { exec } from "#lib/exec.ts";
import { sleep } from "#lib/time.ts";
import { formatSize } from "#lib/units.ts";
import { BuildFailure, diskReason, timeReason } from "./failure.ts";

export interface WatchOptions {
  limits: { timeoutMs: number; diskBytes: number };
  /** Bytes the build has on disk now. */
  usedBytes: () => Promise<number>;
  freeBytes: () => Promise<number>;
  fail: (failure: Error) => void;
  onError: (error: unknown) => void;
  everyMs?: number;
}

/** Below it, no build goes on: apps need the rest. */
const LOW_DISK_BYTES = 512 * 1024 ** 2;

/** Watches until `stop` is called. */
export function watchLimits(options: WatchOptions): { stop(): void } {
  const { limits, usedBytes, freeBytes, fail, onError, everyMs = 1_500 } = options;
  const ended = new AbortController();
  const timer = setTimeout(
    () => fail(new BuildFailure(timeReason(limits.timeoutMs), { exitCode: 124 })),
    limits.timeoutMs,
  );
  const loop = async (): Promise<void> => {
    while (!ended.signal.aborted) {
      try {
        const [used, free] = await Promise.all([usedBytes(), freeBytes()]);
        if (ended.signal.aborted) return;
        if (used > limits.diskBytes) return fail(new BuildFailure(diskReason(limits.diskBytes)));
        if (free < LOW_DISK_BYTES)
          return fail(new BuildFailure(`the host's disk is almost full (${formatSize(free)} left)`));
      } catch (error) {
        onError(error);
      }
      await sleep(everyMs, ended.signal);
    }
  };
  void loop();
  return {
    stop() {
      clearTimeout(timer);
      ended.abort();
    },
  };
}

/** What `du` counts under a directory; 0 when there is none. Files that vanish meanwhile are no error. */
export async function treeBytes(path: string): Promise<number> {
  const { stdout } = await exec(["du", "-sxk", "--", path], { timeoutMs: 60_000 }).catch((error: unknown) => {
    const said = (error as { stdout?: string }).stdout ?? "";
    if (/^\d+/.test(said)) return { stdout: said };
    if (/No such file/.test(String(error))) return { stdout: "0" };
    throw error;
  });
  return Number.parseInt(stdout, 10) * 1024;
}

export async function freeBytes(path: string): Promise<number> {
  const { bavail, bsize } = await statfs(path);
  return bavail * bsize;
}
