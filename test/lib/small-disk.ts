// A small file system of a test's own (tmpfs), to fill to its last byte. Needs root, as all of the lab does.
import { mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { exec } from "#lib/exec.ts";
import { until } from "#lib/time.ts";

export interface SmallDisk {
  /** Where it is mounted. */
  path: string;
  /** Until not a byte more goes in. */
  fill(): Promise<void>;
  /** Takes out what `fill` put in. */
  free(): Promise<void>;
}

export async function onSmallDisk(body: (disk: SmallDisk) => Promise<void>): Promise<void> {
  const path = await mkdtemp(join(tmpdir(), "small-disk-"));
  const filler = join(path, "filler");
  await exec(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", path]);
  try {
    await body({ path, fill: () => fillFile(filler), free: () => rm(filler, { force: true }) });
  } finally {
    await until(() => exec(["umount", path]).then(() => true), { what: "unmounting", timeoutMs: 30_000 });
    await rm(path, { recursive: true, force: true });
  }
}

/** Appends until the file system takes not a byte more. */
export async function fillFile(path: string): Promise<void> {
  const file = await open(path, "a");
  try {
    for (let chunk = 1 << 20; chunk >= 1; chunk >>= 1)
      for (const bytes = Buffer.alloc(chunk, 1); (await file.write(bytes).then(written, isNotFull)) === chunk; );
    await file.sync().catch(isNotFull);
  } finally {
    await file.close();
  }
}

const written = ({ bytesWritten }: { bytesWritten: number }): number => bytesWritten;

function isNotFull(error: NodeJS.ErrnoException): 0 {
  if (error.code !== "ENOSPC") throw error;
  return 0;
}
