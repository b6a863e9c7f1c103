// The copies opened by the one process that may: as they are, salvaged where an operator asked for it, or, with no room on the disk even to
// open, only read.
import { type Fault, isFault } from "#api/fault.ts";
import { makeDirectory } from "#lib/files.ts";
import { isFullDisk } from "#lib/full-disk.ts";
import type { Log as Logger } from "#lib/log.ts";
import type { JournalWriter } from "./journal.ts";
import type { Database } from "./level-db.ts";
import { type Copies, openCopies } from "./level-open.ts";
import { emptyHead, type Head } from "./level-rows.ts";
import type { OpenReport } from "./log.ts";
import { claimDirectory } from "./owner.ts";
import { pausedFault } from "./paused.ts";
import { evidenceIn } from "./proven.ts";
import { restoreState } from "./restore.ts";
import { nextTerm } from "./term.ts";

interface Opened {
  directory: string;
  logger: Logger;
  retainRecords: number;
  /** Restore what can be proven when acknowledged records are lost. */
  salvage: boolean;
  now: () => number;
}

export interface Claimed {
  copies: Omit<Copies, "db" | "journal"> & { db: Database | undefined; journal: JournalWriter | undefined };
  release: (() => Promise<void>) | undefined;
  /** Only read, for now. */
  paused?: Fault;
}

/** No room even to open: the view is what snapshots and journal prove, and nothing is written until there is. */
async function readOnly(
  directory: string,
  { nowMs, cause, logger }: { nowMs: number; cause: unknown; logger: Logger },
): Promise<Claimed> {
  const { proven, claimedSeq, claimedTerm, tail } = await evidenceIn(directory);
  if (proven === undefined || tail === "damaged" || (tail === "clean" && claimedSeq > proven.seq)) throw cause;
  const { id, seq, hash, entries } = proven;
  const term = nextTerm({ known: claimedTerm, whole: true, nowMs });
  const head: Head = { ...emptyHead(), id, seq, hash, term, oldestSeq: seq + 1, baseSeq: seq + 1, baseHash: hash };
  logger.error({ err: cause, directory, seq }, "no room to open the state: it is read, and changes are refused");
  const findings = ["there is no room on the disk; the state is read only"];
  const report: OpenReport = {
    ...{ outcome: "clean", findings, headSeq: seq, oldestSeq: seq + 1, entries: entries.length, tookMs: 0 },
  };
  const nothing = { db: undefined, journal: undefined };
  return {
    copies: { ...nothing, entries, report, term, snapshotSeq: -1, state: { head, checks: new Map() } },
    release: undefined,
    paused: pausedFault(directory, cause),
  };
}

/** The copies, opened by the one process that may. */
export async function openClaimed({ directory, logger, retainRecords, salvage, now }: Opened): Promise<Claimed> {
  const open = async (): Promise<Claimed> => {
    await makeDirectory(directory, 0o700);
    const release = await claimDirectory(directory);
    try {
      return { copies: await openCopies({ directory, logger, retainRecords, nowMs: now() }), release };
    } catch (error) {
      await release();
      throw error;
    }
  };
  try {
    return await open();
  } catch (error) {
    if (isFullDisk(error)) return await readOnly(directory, { nowMs: now(), cause: error, logger });
    const findings = isFault(error, "unavailable") ? error.details?.["findings"] : undefined;
    if (!salvage || !Array.isArray(findings)) throw error;
    const restored = await restoreState({ directory, now: new Date(now()) });
    const opened = await open();
    if (opened.paused) return opened;
    const { report } = opened.copies;
    report.outcome = "recovered";
    report.findings = [...findings, "went on with what is left, as asked"];
    logger.error({ directory, ...restored, findings: report.findings }, "state was damaged and has been salvaged");
    return opened;
  }
}
