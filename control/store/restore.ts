// Putting a state directory right offline: what can be proven of a damaged one, or a backup, becomes a new log; the old
// directory is kept beside it. The new log goes on after every seq and term the old one may have used, so that a version
// or an order from the lost part is never taken for one of the new part.
import { randomUUID } from "node:crypto";
import { access, cp, readdir, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { Fault, isFault } from "#api/fault.ts";
import { makeDirectory, readJson, syncDirectory, writeFileAtomic } from "#lib/files.ts";
import { silentLog } from "#lib/log.ts";
import { createSegment } from "./journal.ts";
import { build, openDatabase, readHead } from "./level-db.ts";
import { openCopies } from "./level-open.ts";
import { emptyHead } from "./level-rows.ts";
import type { Restoration } from "./log.ts";
import { claimDirectory } from "./owner.ts";
import { type Evidence, evidenceIn, type Proven } from "./proven.ts";
import { readSnapshot, snapshotChunks, writeSnapshot, writeSnapshotFile } from "./snapshot.ts";
import { journalDirectory } from "./snapshot-taker.ts";
import { nextTerm } from "./term.ts";

/** What a backup would take the place of, and what it would bring: asked of a person before. */
export interface Replacement {
  /** It opens without loss. */
  sound: boolean;
  from: Reach;
  to: Reach;
}

interface Reach {
  seq: number;
  entries: number;
  /** When the last record was made, as far as known. */
  at?: string;
}

export interface Restored {
  /** Where the directory as it was is kept; undefined when there was none. */
  asideDir: string | undefined;
  /** Last record whose effect is in the restored state. */
  seq: number;
  entries: number;
  /** When that record was made, as far as known. */
  at: string | undefined;
  /** Records that were written and are not in the restored state; undefined when nothing speaks of any. */
  lost: { fromSeq: number; toSeq: number; after: string | undefined; until: string | undefined } | undefined;
}

const RETAIN_RECORDS = 20_000;
const RESTORED_FILE = "restored.json";

/** How this directory came about, if it was restored. */
export const restorationOf = (directory: string): Promise<Restoration | undefined> =>
  readJson<Restoration>(join(directory, RESTORED_FILE));

export interface Restore {
  directory: string;
  /** A backup to restore, or a directory that was moved aside; without it, what the directory itself proves. */
  from?: string;
  /** State that is there and would be lost to `from` is given up: it is moved aside. */
  replace?: boolean;
  now: Date;
}

/** What `from` would take the place of; undefined when there is nothing that it would undo. */
export async function replacedBy({
  directory,
  from,
}: {
  directory: string;
  from: string;
}): Promise<Replacement | undefined> {
  const work = `${directory}.restoring`;
  const release = (await exists(directory)) ? await claimDirectory(directory) : undefined;
  try {
    const base = await backupIn(from, work);
    return release && replacement(await lookAt(directory, work), base, await newestChange(directory));
  } finally {
    await rm(work, { recursive: true, force: true });
    await release?.();
  }
}

/** Of damaged state, what a backup reaches as far as is no loss. */
function replacement({ sound, proven }: Looked, base: Proven, changedAt: string | undefined): Replacement | undefined {
  if (proven === undefined || proven.seq === 0 || (!sound && proven.seq <= base.seq)) return undefined;
  const reach = ({ seq, entries, at }: Proven, known = at): Reach => ({
    seq,
    entries: entries.length,
    ...(known === undefined ? {} : { at: known }),
  });
  return { sound, from: reach(proven, proven.at ?? changedAt), to: reach(base) };
}

/** Undefined when the directory opens without loss as it is: then nothing is changed. */
export async function restoreState({ directory, from, replace, now }: Restore): Promise<Restored | undefined> {
  const there = await exists(directory);
  if (!there && from === undefined) throw new Fault("not-found", `there is no state in ${directory}`);
  const release = there ? await claimDirectory(directory) : async () => undefined;
  const work = `${directory}.restoring`;
  let asideDir: string | undefined;
  try {
    await rm(work, { recursive: true, force: true });
    const old = there ? await lookAt(directory, work) : undefined;
    if (from === undefined && old?.sound === true) return undefined;
    const base = from === undefined ? old?.proven : await backupIn(from, work);
    if (base === undefined)
      throw new Fault(
        "unavailable",
        `nothing in ${directory} can be proven; restore a backup: flynn cluster restore FILE (restore --from FILE)`,
      );
    if (from !== undefined && !replace && old !== undefined && replacement(old, base, undefined))
      throw new Fault("conflict", `there is state in ${directory} that ${from} would undo; with --replace it does`);
    const claimedSeq = Math.max(base.seq, old?.claimedSeq ?? 0);
    const known = Math.max(base.term, old?.claimedTerm ?? 0);
    const term = nextTerm({ known, whole: false, nowMs: now.getTime() });
    await writeState(work, { ...base, id: randomUUID(), seq: claimedSeq, term });
    const until = there ? await newestChange(directory) : undefined;
    const lost =
      claimedSeq > base.seq ? { fromSeq: base.seq + 1, toSeq: claimedSeq, after: base.at, until } : undefined;
    const restored = { restoredAt: now.toISOString(), at: base.at, lost };
    await writeFileAtomic(join(work, RESTORED_FILE), JSON.stringify(restored), { mode: 0o600 });
    asideDir = there ? await moveAside(directory, old?.sound ? "before" : "damaged", now) : undefined;
    await rename(work, directory).catch((cause) => {
      const where = `the restored state is in ${work}${asideDir ? `, the old one in ${asideDir}` : ""}`;
      throw new Fault("conflict", `${directory} was made anew meanwhile; ${where}`, { cause });
    });
    await syncDirectory(dirname(directory));
    return { asideDir, seq: base.seq, entries: base.entries.length, at: base.at, lost };
  } finally {
    // Once the old directory is aside, the claim went with it and what was made is all there is.
    if (asideDir === undefined) {
      await rm(work, { recursive: true, force: true });
      await release();
    }
  }
}

/** Writes what snapshots and journal hold now into one file; control may run meanwhile. Returns its seq and size. */
export async function backupState(directory: string, out: string): Promise<{ seq: number; sizeBytes: number }> {
  if (await exists(out)) throw new Fault("conflict", `${out} exists already`);
  const folder = dirname(out);
  if (!(await exists(folder)))
    throw new Fault("not-found", `there is no directory ${folder}: mount or make it first (mkdir -p ${folder})`);
  const { proven, claimedSeq, tail } = await steadyEvidence(directory);
  if (proven === undefined) throw new Fault("not-found", `there is no state in ${directory} that verifies`);
  // A torn end is a write in flight: nobody was told yet that it is done.
  if (tail === "damaged" || (tail === "clean" && claimedSeq > proven.seq))
    throw new Fault(
      "unavailable",
      `the journal in ${directory} is damaged after record ${proven.seq} of ${claimedSeq}; a restart of control heals or refuses it`,
      { retry: false, details: { seq: proven.seq, claimedSeq } },
    );
  const { id, seq, hash, term, entries, at } = proven;
  const sizeBytes = await writeSnapshotFile(out, { format: 1, id, seq, hash, term, at }, snapshotChunks(entries));
  return { seq, sizeBytes };
}

const ATTEMPTS = 3;

/** A snapshot taken meanwhile removes older files between listing and reading them: then look again. */
async function steadyEvidence(directory: string): Promise<Evidence> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await evidenceIn(directory);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT" || attempt === ATTEMPTS) throw error;
    }
  }
}

type Looked = Evidence & { sound: boolean };

/** What a directory proves, found out on a copy, since opening LevelDB changes its files. */
async function lookAt(directory: string, work: string): Promise<Looked> {
  const changedAt = await newestChange(directory);
  const found = await evidenceIn(directory);
  await cp(directory, work, { recursive: true });
  const database = await openDatabase(join(work, "level"));
  if (!("damage" in database)) {
    try {
      const head = readHead(database);
      found.claimedSeq = Math.max(found.claimedSeq, head?.seq ?? 0);
      found.claimedTerm = Math.max(found.claimedTerm, head?.term ?? 0);
    } catch (error) {
      if (!(error as { code?: string }).code?.startsWith("LEVEL_")) throw error;
    } finally {
      await database.close();
    }
  }
  const whole = await openedState(work, false);
  const opened = whole ?? (await openedState(work, true));
  await rm(work, { recursive: true, force: true });
  // Equal reach: the one from the files also knows when the record was made.
  if (opened !== undefined && opened.seq > (found.proven?.seq ?? -1)) found.proven = opened;
  if (whole !== undefined && found.proven !== undefined) found.proven.at ??= changedAt;
  return { ...found, sound: whole !== undefined };
}

async function openedState(directory: string, salvage: boolean): Promise<Proven | undefined> {
  try {
    const options = { directory, logger: silentLog(), retainRecords: RETAIN_RECORDS, salvage, nowMs: 0 };
    const { db, state, entries, journal } = await openCopies(options);
    await db.close();
    await journal.close();
    const { id, seq, hash, term } = state.head;
    return { id, seq, hash, term, entries };
  } catch (error) {
    if (isFault(error, "unavailable") && error.details?.["findings"] !== undefined) return undefined;
    throw error;
  }
}

/** A file of `backupState`, or a directory of state, which is looked at in `work`. */
async function backupIn(path: string, work: string): Promise<Proven> {
  const found = await stat(path).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code !== "ENOENT" && cause.code !== "ENOTDIR") throw cause;
    throw new Fault("not-found", `there is no file ${path}`);
  });
  if (found.isDirectory()) {
    const isState = await exists(journalDirectory(path));
    const proven = isState ? (await lookAt(path, work)).proven : undefined;
    if (proven !== undefined && proven.seq > 0) return proven;
    throw new Fault("invalid", `nothing in ${path} can be proven: it is no state that was kept, or it is damaged`);
  }
  const snapshot = await readSnapshot(path);
  if (snapshot === undefined) throw new Fault("invalid", `${path} is no backup, or it is damaged`);
  // One of before the time was in it: written by then.
  return { at: found.mtime.toISOString(), ...snapshot.header, entries: snapshot.entries };
}

/** A complete state directory that begins with this view, verified by opening it. */
async function writeState(directory: string, { id, seq, hash, term, entries, at }: Proven): Promise<void> {
  await makeDirectory(directory, 0o700);
  const base = { ...emptyHead(), id, seq, hash, term, oldestSeq: seq + 1, baseSeq: seq + 1, baseHash: hash };
  await build(join(directory, "level"), base, entries, []);
  await writeSnapshot(directory, { format: 1, id, seq, hash, term, at }, snapshotChunks(entries));
  const header = { id, term, firstSeq: seq + 1, baseHash: hash };
  await (await createSegment(journalDirectory(directory), header)).close();
  const written = await openedState(directory, false);
  if (written?.seq !== seq) throw new Error(`the state written to ${directory} does not open`);
}

async function moveAside(directory: string, why: "before" | "damaged", now: Date): Promise<string> {
  const name = `${directory}.${why}-${now.toISOString().replace(/[:.]/g, "-")}`;
  let aside = name;
  for (let n = 2; await exists(aside); n++) aside = `${name}-${n}`; // a clock that stands still
  await rename(directory, aside);
  await rm(join(aside, "owner.json"), { force: true });
  return aside;
}

/** When anything in the directory was last written. */
async function newestChange(directory: string): Promise<string | undefined> {
  const files = (await readdir(directory, { recursive: true, withFileTypes: true })).filter(
    (entry) => entry.isFile() && entry.name !== "owner.json",
  );
  const times = await Promise.all(files.map(async (file) => (await stat(join(file.parentPath, file.name))).mtimeMs));
  return times.length === 0 ? undefined : new Date(Math.max(...times)).toISOString();
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
