// What is mounted in this mount namespace.
import { readFile } from "node:fs/promises";

export const isMounted = async (path: string): Promise<boolean> =>
  isMountPoint(await readFile("/proc/self/mountinfo", "utf8"), path);

/** Field 5 of a mountinfo line is the mount point, with spaces as \040. */
export function isMountPoint(mountinfo: string, path: string): boolean {
  return mountinfo.split("\n").some((line) => line.split(" ")[4] === path);
}
