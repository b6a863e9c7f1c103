// Repositories whose app control does not know: set aside under their date, brought back when the app is known again (a newer
// backup was restored), and deleted a week later. Restoring an older backup so costs nobody a repository.
import { access, mkdir, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { treeBytes } from "./space.ts";

export const KEPT_MS = 7 * 86_400_000;
/** Of all together: whoever makes apps, fills them and deletes them gains nothing. */
const KEPT_BYTES = 10 * 1024 ** 3;
const SUFFIX = ".git";

export interface Removed {
  /** Moves a repository aside; returns its new place. */
  setAside(path: string, appId: string, now: Date): Promise<string>;
  /** Puts the app's newest one back at `path`; false when there is none. */
  bringBack(appId: string, path: string): Promise<boolean>;
  /** Deletes what was set aside a week ago, and the oldest of what is too much together; returns the names. */
  sweep(now: Date): Promise<string[]>;
}

export function removedRepositories(directory: string, mostBytes = KEPT_BYTES): Removed {
  const list = async (): Promise<SetAside[]> => {
    const names = await readdir(directory).catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return [];
      throw error;
    });
    return names.flatMap((name) => readName(name) ?? []);
  };
  return {
    async setAside(path, appId, now) {
      await mkdir(directory, { recursive: true, mode: 0o700 });
      const place = join(directory, nameOf(appId, now));
      await rename(path, place);
      return place;
    },
    async bringBack(appId, path) {
      const newest = (await list())
        .filter((one) => one.appId === appId)
        .reduce<SetAside | undefined>((a, b) => (a !== undefined && a.atMs >= b.atMs ? a : b), undefined);
      if (newest === undefined) return false;
      try {
        await rename(join(directory, newest.name), path);
        return true;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
        // Two asked for it at once, and the other has brought it back.
        return access(path).then(
          () => true,
          () => false,
        );
      }
    },
    async sweep(now) {
      const old: SetAside[] = [];
      let keptBytes = 0;
      for (const one of (await list()).sort((a, b) => b.atMs - a.atMs)) {
        keptBytes += await treeBytes(join(directory, one.name));
        if (now.getTime() - one.atMs > KEPT_MS || keptBytes > mostBytes) old.push(one);
      }
      for (const { name } of old) await rm(join(directory, name), { recursive: true, force: true });
      return old.map(({ name }) => name);
    },
  };
}

interface SetAside {
  name: string;
  appId: string;
  atMs: number;
}

/** `app-1@2026-01-31T10:20:30.000Z.git`: whoever finds it sees whose it is and since when. */
const nameOf = (appId: string, at: Date): string => `${appId}@${at.toISOString()}${SUFFIX}`;

function readName(name: string): SetAside | undefined {
  const [appId, at] = name.slice(0, -SUFFIX.length).split("@");
  const atMs = Date.parse(at ?? "");
  return appId && name.endsWith(SUFFIX) && Number.isFinite(atMs) ? { name, appId, atMs } : undefined;
}
