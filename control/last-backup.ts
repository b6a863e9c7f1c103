// How the last `flynn cluster backup` went, kept beside the state for who looks at the cluster: the command itself runs from cron, and
// nobody reads what it says.
import { join } from "node:path";
import { readJson, writeFileAtomic } from "#lib/files.ts";
import { causeChain } from "#lib/run.ts";

export interface LastBackup {
  /** ISO time of its end. */
  at: string;
  /** The file it was to be. */
  out: string;
  /** Why there is none. */
  problem?: string;
}

const fileOf = (stateDir: string): string => join(stateDir, "last-backup.json");

/** Null: none was ever tried here. Throws when that cannot be read. */
export const lastBackup = async (stateDir: string): Promise<LastBackup | null> =>
  (await readJson<LastBackup>(fileOf(stateDir))) ?? null;

/** Makes the backup and notes how it went. Throws what the backup threw; a note that cannot be written changes nothing. */
export async function noted<T>(stateDir: string, out: string, backup: () => Promise<T>): Promise<T> {
  const note = async (more: Pick<LastBackup, "problem">): Promise<void> => {
    const text = JSON.stringify({ at: new Date().toISOString(), out, ...more } satisfies LastBackup);
    await writeFileAtomic(fileOf(stateDir), text, { mode: 0o600 }).catch((error: unknown) =>
      process.stderr.write(`how this backup went is not kept: ${causeChain(error)[0]}\n`),
    );
  };
  try {
    const made = await backup();
    await note({});
    return made;
  } catch (error) {
    await note({ problem: [...new Set(causeChain(error))].join(": ").slice(0, 400) });
    throw error;
  }
}
