// What `hostd disk` and the run after it leave in /run/flynn for the agent: what was decided (disk.json), and what came of it since
// (disk-notes.json). In memory, so it is of this boot.
import { join } from "node:path";
import type { BootCode } from "#api/boot-codes.ts";
import type { MachineDisk, WipeOutcome } from "#api/disks.ts";
import { readJson, writeFileAtomic } from "#lib/files.ts";

export interface DiskOutcome {
  at: string;
  policy: string;
  did: "use" | "format" | "ram";
  path?: string;
  reason: string;
  /** Something that a person should look at. */
  warn: boolean;
  /** What it is, in one word (api/boot-codes.ts). */
  code?: BootCode;
  disks: MachineDisk[];
  wipe?: WipeOutcome;
}

export interface DiskNote {
  /** Each is told once a boot. */
  key: string;
  at: string;
  level: "info" | "warning";
  message: string;
  code?: BootCode;
}

const NOTES_MOST = 40;

/** Its presence starts the run that reads a disk to its end. */
export const laterFile = (runDir: string): string => join(runDir, "disk-later.json");

export const readOutcome = (runDir: string): Promise<DiskOutcome | undefined> => readJson(join(runDir, "disk.json"));
export const writeOutcome = (runDir: string, outcome: DiskOutcome): Promise<void> =>
  writeFileAtomic(join(runDir, "disk.json"), JSON.stringify(outcome));

const notesFile = (runDir: string): string => join(runDir, "disk-notes.json");
export const readNotes = async (runDir: string): Promise<DiskNote[]> => (await readJson(notesFile(runDir))) ?? [];

/** One writer at a time: first `hostd disk`, then the run that it left work to. */
export async function addNote(runDir: string, note: Omit<DiskNote, "at">): Promise<void> {
  const notes = await readNotes(runDir);
  if (notes.length >= NOTES_MOST || notes.some(({ key }) => key === note.key)) return;
  const message = note.message.slice(0, 400);
  await writeFileAtomic(
    notesFile(runDir),
    JSON.stringify([...notes, { ...note, message, at: new Date().toISOString() }]),
  );
}
