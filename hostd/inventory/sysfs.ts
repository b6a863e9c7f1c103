// Small files of the kernel: read bounded in size and time, absent when they cannot be read.
import { open, readdir, readlink } from "node:fs/promises";
import { basename } from "node:path";
import { readStart } from "#lib/read-start.ts";
import { deadline } from "#lib/time.ts";

/** Files of the kernel answer at once; an emulated machine that starts ten programs at a time does not. */
const READ_MS = 30_000;

/** The first bytes; undefined when there are none to be had (a card without carrier refuses `speed`). */
export async function textOf(path: string, mostBytes = 4096): Promise<string | undefined> {
  const text = await deadline(readStart(path, mostBytes), READ_MS, `read ${path}`).catch(() => undefined);
  return text === undefined || text.trim() === "" ? undefined : text.trim();
}

export async function bytesOf(path: string, mostBytes: number): Promise<Buffer | undefined> {
  const read = async (): Promise<Buffer> => {
    await using file = await open(path, "r");
    const bytes = Buffer.alloc(mostBytes);
    let length = 0;
    for (let n = 1; n > 0 && length < mostBytes; length += n)
      n = (await file.read(bytes, length, mostBytes - length, length)).bytesRead;
    return bytes.subarray(0, length);
  };
  return deadline(read(), READ_MS, `read ${path}`).catch(() => undefined);
}

export const namesIn = (path: string): Promise<string[]> =>
  readdir(path).then(
    (names) => names.sort(),
    () => [],
  );

export const linkOf = (path: string): Promise<string | undefined> =>
  readlink(path).then(
    (target) => basename(target),
    () => undefined,
  );
