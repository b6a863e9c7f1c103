// What builds leave for the next one, bounded: the newest few of each kind stay.
import { readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";

/** Names in a directory that match, newest first. */
export async function byAge(directory: string, pattern: RegExp): Promise<string[]> {
  const names = (await readdir(directory).catch(() => [])).filter((name) => pattern.test(name));
  const aged = await Promise.all(
    names.map(async (name) => ({ name, at: (await stat(join(directory, name))).mtimeMs })),
  );
  return aged.sort((a, b) => b.at - a.at).map(({ name }) => name);
}

export async function keepNewest(directory: string, pattern: RegExp, count: number): Promise<void> {
  for (const name of (await byAge(directory, pattern)).slice(count)) await rm(join(directory, name), { force: true });
}
