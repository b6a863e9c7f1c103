// One process per state directory: a small file naming the owner, so that a second start can say who has it. Left behind
// by a crash it means nothing, since the process it names is gone; LevelDB's own lock stands behind it.
import { link, rm, unlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Fault } from "#api/fault.ts";
import { readJson } from "#lib/files.ts";
import { processId } from "#lib/process-id.ts";

interface Owner {
  pid: number;
  /** Start time in clock ticks, so that a pid used again is not taken for the owner. */
  startTicks: string;
  program: string;
  since: string;
}

/** Takes the directory or throws Fault `conflict` naming the process that has it. Returns the way to give it back. */
export async function claimDirectory(directory: string): Promise<() => Promise<void>> {
  const path = join(directory, "owner.json");
  const mine = `${path}.${process.pid}.tmp`;
  const program = process.argv.slice(0, 3).join(" ");
  const owner: Owner = {
    pid: process.pid,
    startTicks: String((await processId(process.pid))?.startTicks),
    program,
    since: new Date().toISOString(),
  };
  await writeFile(mine, JSON.stringify(owner), { mode: 0o600 });
  try {
    for (let attempt = 0; ; attempt++) {
      try {
        await link(mine, path); // fails when there is one, and is never seen half written
        return () => rm(path, { force: true });
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EEXIST" || attempt === 2) throw error;
      }
      const found = await readJson<Owner>(path);
      if (found !== undefined && (await isAlive(found))) throw taken(directory, found);
      await rm(path, { force: true });
    }
  } finally {
    await unlink(mine);
  }
}

export function taken(directory: string, owner?: { pid: number; program: string; since: string }): Fault {
  const by = owner === undefined ? "another process" : `process ${owner.pid} (${owner.program}, since ${owner.since})`;
  return new Fault("conflict", `state directory ${directory} is in use by ${by}`, {
    details: { directory, pid: owner?.pid },
  });
}

async function isAlive({ pid, startTicks }: Owner): Promise<boolean> {
  return String((await processId(pid))?.startTicks) === startTicks;
}
