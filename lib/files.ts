// Files that survive a power cut: written beside, synced, renamed, and the directory synced.
import { mkdir, open, readdir, readFile, rename, rm } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { isFullDisk } from "./full-disk.ts";
import { processId } from "./process-id.ts";

export async function writeFileAtomic(
  path: string,
  content: string | Buffer,
  options: { mode?: number } = {},
): Promise<void> {
  await makeDirectory(dirname(path));
  const beside = `${path}.${process.pid}.tmp`;
  const file = await open(beside, "w", options.mode ?? 0o644);
  try {
    try {
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(beside, path).catch((cause) => {
      throw new Error(`replace ${path}`, { cause });
    });
  } catch (error) {
    await rm(beside, { force: true }); // on a full disk it holds what room there was
    throw error;
  }
  await syncDirectory(dirname(path));
}

/**
 * As `writeFileAtomic`; on a full disk into the room of what was there, where a power cut in the middle leaves something torn. For
 * what nobody misses after one.
 */
export async function writeFileInPlace(path: string, content: string, options: { mode?: number } = {}): Promise<void> {
  try {
    await writeFileAtomic(path, content, options);
  } catch (error) {
    if (!isFullDisk(error)) throw error;
    const file = await open(path, "r+").catch(() => {
      throw error;
    });
    try {
      await file.write(content, 0);
      await file.truncate(Buffer.byteLength(content));
    } finally {
      await file.close();
    }
  }
}

/** Removes what writers that were killed in the middle left in `directories`: files of processes that are no more. */
export async function removeUnfinished(...directories: string[]): Promise<void> {
  for (const directory of directories) {
    const names = await readdir(directory).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "ENOENT") throw error;
      return [];
    });
    for (const name of names) {
      const pid = Number(/\.(\d+)\.tmp$/.exec(name)?.[1] ?? 0);
      if (pid > 0 && pid !== process.pid && (await processId(pid)) === undefined)
        await rm(join(directory, name), { force: true });
    }
  }
}

/** With those above it; the name of each that was made is on disk, or a power cut would take all that is put there. */
export async function makeDirectory(path: string, mode?: number): Promise<void> {
  const first = await mkdir(path, { recursive: true, mode });
  if (first === undefined) return;
  for (let made = resolve(path); made.length >= first.length; made = dirname(made)) await syncDirectory(dirname(made));
}

export async function syncDirectory(path: string): Promise<void> {
  if (process.platform === "win32") return; // directories are not opened there, and a rename is in the journal
  const directory = await open(path, "r");
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

/** The file's text, or undefined when there is none. */
export async function readText(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** The file parsed as JSON, or undefined when there is none or it is not JSON (a torn copy is no copy). */
export async function readJson<T>(path: string): Promise<T | undefined> {
  const text = await readText(path);
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text) as T;
  } catch {
    return undefined;
  }
}
