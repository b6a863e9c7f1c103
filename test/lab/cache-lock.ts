// One builder at a time of what labs keep in the cache: two files that need it at once wait for the first, and find it made.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { deadline } from "#lib/time.ts";

const WAIT_MS = 1_800_000;

/** Runs the work while no other process runs work of this name. The kernel gives the lock back when this process dies in whatever way. */
export async function withCacheLock<T>(cache: string, name: string, work: () => Promise<T>): Promise<T> {
  await mkdir(cache, { recursive: true });
  // flock(1) starts cat once it has the lock: the byte that comes back says so.
  const holder = spawn("flock", [join(cache, `${name}.lock`), "cat"], { stdio: ["pipe", "pipe", "inherit"] });
  const failed = once(holder, "error").then(([error]) => Promise.reject(error));
  try {
    holder.stdin.write("x");
    await deadline(Promise.race([once(holder.stdout, "data"), failed]), WAIT_MS, `the lock of ${name}`);
    return await work();
  } finally {
    holder.stdin.destroy();
    holder.kill("SIGKILL");
  }
}
