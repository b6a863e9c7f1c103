// A file tree as a list of what would be seen of it, and the difference of two such lists: the layer that makes one tree
// out of the other.
import { createHash } from "node:crypto";
import { lstat, readdir, readFile, readlink } from "node:fs/promises";
import { join } from "node:path";

/** Path from the tree's root to what tells one entry from another: kind, mode, owner, and content or target. */
export type Snapshot = ReadonlyMap<string, string>;

export async function snapshot(tree: string): Promise<Snapshot> {
  const found = new Map<string, string>();
  const walk = async (folder: string): Promise<void> => {
    const entries = await readdir(join(tree, folder), { withFileTypes: true });
    for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      const path = folder === "" ? entry.name : `${folder}/${entry.name}`;
      found.set(path, await describe(join(tree, path)));
      if (entry.isDirectory()) await walk(path);
    }
  };
  await walk("");
  return found;
}

async function describe(path: string): Promise<string> {
  const { mode, uid, gid, size, rdev, isFile, isSymbolicLink } = await look(path);
  const head = `${mode.toString(8)} ${uid} ${gid}`;
  if (isSymbolicLink) return `${head} ${await readlink(path)}`;
  if (isFile)
    return `${head} ${size} ${createHash("sha256")
      .update(await readFile(path))
      .digest("hex")}`;
  return `${head} ${rdev}`;
}

async function look(path: string) {
  const stats = await lstat(path);
  const { mode, uid, gid, size, rdev } = stats;
  return { mode, uid, gid, size, rdev, isFile: stats.isFile(), isSymbolicLink: stats.isSymbolicLink() };
}

export interface Difference {
  /** New or changed, folders before what is in them. */
  written: string[];
  /** Gone; what was in a folder that is gone is not listed. */
  removed: string[];
}

/** What must be written and removed to turn `before` into `after`. */
export function difference(before: Snapshot, after: Snapshot): Difference {
  const written = [...after].filter(([path, what]) => before.get(path) !== what).map(([path]) => path);
  const gone = new Set([...before.keys()].filter((path) => !after.has(path)));
  const removed = [...gone].filter((path) => !gone.has(path.slice(0, Math.max(0, path.lastIndexOf("/")))));
  return { written: written.sort(), removed: removed.sort() };
}

/** The names by which an image layer takes a path away (OCI image layer: whiteouts). */
export function whiteouts(removed: readonly string[]): string[] {
  return removed.map((path) => {
    const at = path.lastIndexOf("/") + 1;
    return `${path.slice(0, at)}.wh.${path.slice(at)}`;
  });
}
