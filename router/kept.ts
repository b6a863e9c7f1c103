// What the router keeps on disk of what it serves, for its next start and for `explain`: the newest target, and what of it is where.
// Both as whole files, and after them a journal of what changed since: a change is one line, written and synced, however much there
// is beside it.
import { open, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import type { RouterTarget } from "#api/router-agents.ts";
import { readJson, writeFileAtomic } from "#lib/files.ts";
import type { Assignment } from "./assignment.ts";
import { applied, type Change, changeBetween } from "./kept-changes.ts";
import { inSlices, stringified } from "./slices.ts";

const TARGET_FILE = "target.json";
/** Apart, since they change rarely and are large: mode 600, as is the target of builds before this one, which has them in it. */
const CERTIFICATES_FILE = "certificates.json";
const ASSIGNMENT_FILE = "assignment.json";
const JOURNAL_FILE = "changes.jsonl";
/** The journal grows to the size of what it changes, and at least to this, before all is written anew. */
const JOURNAL_LEAST_BYTES = 256 << 10;

/** Each undefined when there is none, or it is none of ours. */
export interface Kept {
  target: RouterTarget | undefined;
  assignment: Assignment | undefined;
}

/** Files of builds before this one have no number: no line of a journal is older. */
type Numbered<T> = T & { keptSeq?: number };

export async function readKept(stateDir: string): Promise<Kept> {
  const { target, assignment } = await readAll(stateDir);
  return { target, assignment };
}

async function readAll(stateDir: string): Promise<Kept & { seq: number }> {
  const [target, certificates, assignment, journal] = await Promise.all([
    readJson<Numbered<RouterTarget>>(join(stateDir, TARGET_FILE)),
    readJson<RouterTarget["certificates"]>(join(stateDir, CERTIFICATES_FILE)),
    readJson<Numbered<Assignment>>(join(stateDir, ASSIGNMENT_FILE)),
    readFile(join(stateDir, JOURNAL_FILE), "utf8").catch(() => ""),
  ]);
  const seqs = { target: target?.keptSeq ?? 0, assignment: assignment?.keptSeq ?? 0 };
  delete target?.keptSeq;
  delete assignment?.keptSeq;
  const whole = target && !target.certificates && certificates ? { ...target, certificates } : target;
  const base = { target: whole, assignment: Array.isArray(assignment?.backends) ? assignment : undefined };
  if (base.target === undefined || base.assignment === undefined)
    return { ...base, seq: Math.max(seqs.target, seqs.assignment) };
  return applied({ target: base.target, assignment: base.assignment }, linesOf(journal), seqs);
}

/** Up to the first that is not whole: what follows a torn line was never counted on. */
function linesOf(journal: string): Change[] {
  const changes: Change[] = [];
  for (const line of journal.split("\n").slice(0, -1)) {
    try {
      changes.push(JSON.parse(line) as Change);
    } catch {
      break;
    }
  }
  return changes;
}

export interface Keeper {
  /** True once this very target is on disk. */
  has(target: RouterTarget): boolean;
  /** Writes what differs from what was written last. */
  keep(target: RouterTarget, assignment: Assignment): Promise<void>;
  /** Rows written so far: of targets and of assignments, wholly or as a change. */
  written(): number;
}

/** `known`: a target that needs no writing. */
export function createKeeper(stateDir: string, known: RouterTarget): Keeper {
  let kept: { target: RouterTarget; assignment: Assignment } = { target: known, assignment: { backends: [] } };
  let keptCertificates: RouterTarget["certificates"];
  let seq: number | undefined;
  let baseBytes = 0;
  /** Undefined while the next write is to be of everything. */
  let journalBytes: number | undefined;
  let written = 0;
  const path = (name: string) => join(stateDir, name);

  const writeAll = async (target: RouterTarget, assignment: Assignment): Promise<void> => {
    journalBytes = undefined;
    seq = (seq ?? 0) + 1;
    const { certificates, ...rest } = target;
    const text = await inSlices(stringified({ ...rest, keptSeq: seq }));
    const placed = await inSlices(stringified({ ...assignment, keptSeq: seq }));
    if (certificates !== keptCertificates || certificates === undefined)
      await writeFileAtomic(path(CERTIFICATES_FILE), await inSlices(stringified(certificates ?? [])), { mode: 0o600 });
    keptCertificates = certificates;
    await writeFileAtomic(path(TARGET_FILE), text, { mode: 0o600 });
    await writeFileAtomic(path(ASSIGNMENT_FILE), placed);
    await rm(path(JOURNAL_FILE), { force: true });
    written += target.pools.length + assignment.backends.length;
    baseBytes = text.length + placed.length;
    journalBytes = 0;
  };

  /** What an earlier run wrote needs no writing, and on a full disk no room; the first change after it is written with all the rest. */
  const isThere = async (target: RouterTarget, assignment: Assignment): Promise<boolean> => {
    const there = await readAll(stateDir);
    seq = there.seq;
    const text = (of: object | undefined) => inSlices(stringified(of ?? {}));
    return (
      (await text(there.assignment)) === (await text(assignment)) && (await text(there.target)) === (await text(target))
    );
  };

  return {
    has: (target) => target === kept.target,
    written: () => written,
    async keep(target, assignment) {
      if (target === kept.target && assignment === kept.assignment) return;
      if (seq === undefined && (await isThere(target, assignment))) {
        kept = { target, assignment };
        return;
      }
      const change = changeBetween(kept, { target, assignment });
      if (change === undefined) {
        kept = { target, assignment };
        return;
      }
      const mostBytes = Math.max(JOURNAL_LEAST_BYTES, baseBytes);
      const { rows = Number.POSITIVE_INFINITY, ...line } = change;
      const isLarge = rows > target.pools.length / 2 + 100;
      const areKeysOther = target.certificates !== kept.target.certificates;
      if (journalBytes === undefined || journalBytes > mostBytes || isLarge || areKeysOther)
        await writeAll(target, assignment);
      else {
        const text = `${JSON.stringify({ seq: (seq ?? 0) + 1, ...line })}\n`;
        const before = journalBytes;
        journalBytes = undefined; // a line that was torn ends the journal
        await appendSynced(path(JOURNAL_FILE), text);
        seq = (seq ?? 0) + 1;
        journalBytes = before + text.length;
        written += rows;
      }
      kept = { target, assignment };
    },
  };
}

async function appendSynced(path: string, text: string): Promise<void> {
  const file = await open(path, "a", 0o600);
  try {
    await file.writeFile(text);
    await file.datasync();
  } finally {
    await file.close();
  }
}
