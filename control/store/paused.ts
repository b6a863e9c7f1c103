// A disk that takes no writes is a state and not an end: reads go on, writes are refused in words, and it is tried again until it works.
import { open, readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { Fault } from "#api/fault.ts";
import { isFullDisk } from "#lib/full-disk.ts";
import type { Log } from "#lib/log.ts";
import { causeChain } from "#lib/run.ts";

const SPARE_BYTES = 1 << 20;

/** What is written at each start and was written before: on a full disk the earlier one goes on to stand. */
export async function unlessFull(log: Log, what: string, work: Promise<void>): Promise<void> {
  await work.catch((error: unknown) => {
    if (!isFullDisk(error)) throw error;
    log.error({ causes: causeChain(error), what }, "the disk is full; the one of an earlier start is used");
  });
}

/** What whoever wants to change something is answered meanwhile. */
export function pausedFault(directory: string, cause: unknown): Fault {
  const why = isFullDisk(cause) ? "the disk is full or read-only" : "writing to the disk failed";
  return new Fault(
    "no-capacity",
    `control takes no changes now: ${why}, at ${directory}. What runs goes on and can be read. Free space there (df -h ${directory}); control goes on by itself`,
    { cause, details: { paused: true, directory } },
  );
}

/** What those are answered whose change was being written just then. */
export const inDoubtFault = ({ code, message, details, cause }: Fault): Fault =>
  new Fault(
    code,
    `whether this change was made is not known: it was being written when the disk failed. Look before you make it again. ${message}`,
    { cause, details: { ...details, inDoubt: true }, retry: false },
  );

export const isPaused = (error: unknown): error is Fault =>
  error instanceof Fault && error.details?.["paused"] === true;

/** Throws unless there is room for what an opening of the copies writes: LevelDB makes a table of its newest log. */
export async function checkRoom(directory: string): Promise<void> {
  const level = join(directory, "level");
  const logs = (await readdir(level).catch(() => [] as string[])).filter((name) => name.endsWith(".log"));
  const sizes = await Promise.all(logs.map((name) => stat(join(level, name)).then(({ size }) => size)));
  const path = join(directory, "room.tmp");
  const file = await open(path, "w", 0o600);
  try {
    const chunk = Buffer.alloc(SPARE_BYTES, 1);
    for (let left = sizes.reduce((sum, size) => sum + size, SPARE_BYTES); left > 0; left -= chunk.length)
      await file.writeFile(chunk);
    await file.sync();
  } finally {
    await file.close();
    await rm(path, { force: true });
  }
}
