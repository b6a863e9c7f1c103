// What a program holds open, by name, and a look at anything that stands still: a sample with something passing in it proves nothing.
import { readdir, readlink } from "node:fs/promises";
import { until } from "#lib/time.ts";

/** What its file descriptors lead to, sockets without their numbers, sorted. */
export async function openFiles(pid: number): Promise<string[]> {
  const folder = `/proc/${pid}/fd`;
  const fds = await readdir(folder);
  const found = await Promise.all(fds.map((fd) => readlink(`${folder}/${fd}`).catch(() => undefined)));
  return found.flatMap((to) => (to === undefined ? [] : to.replace(/\[\d+\]$/, ""))).sort();
}

/** The value once it was the same three times in a row; of counts that move, the least that was seen is taken in the end. */
export async function steady<T extends readonly unknown[]>(
  look: () => Promise<T>,
  { what = "what stands still", times = 3, timeoutMs = 20_000, everyMs = 500 } = {},
): Promise<T> {
  let last: T | undefined;
  let least: T | undefined;
  let same = 0;
  const stood = async () => {
    const now = await look();
    same = JSON.stringify(now) === JSON.stringify(last) ? same + 1 : 1;
    last = now;
    if (least === undefined || now.length < least.length) least = now;
    return same >= times ? now : undefined;
  };
  return until(stood, { what, timeoutMs, everyMs }).catch(() => least!);
}
