// Going on after the disk took no writes: changes are refused meanwhile, and both copies are opened anew, as at a start, until that works.
// Where acknowledged records turn out to be gone, it is the end.
import { Fault, isFault } from "#api/fault.ts";
import { isFullDisk } from "#lib/full-disk.ts";
import type { Log as Logger } from "#lib/log.ts";
import { every } from "#lib/time.ts";
import { frameTexts } from "./frame.ts";
import { chainFrom, type Database, readHead } from "./level-db.ts";
import { type Copies, openCopies } from "./level-open.ts";
import type { Head } from "./level-rows.ts";
import type { LogRecord } from "./log.ts";
import { pausedFault } from "./paused.ts";
import { decodeRecord } from "./record.ts";

export interface GoOnOptions {
  directory: string;
  logger: Logger;
  /** How often it is tried. */
  retryMs: number;
  signal: AbortSignal;
  /** Paused from the beginning: there was no room even to open. */
  paused: Fault | undefined;
  /** Of the newest durable record. */
  seq: () => number;
  /** Opens anew; gives the records that reached the disk although they were refused. */
  reopen: () => Promise<LogRecord[]>;
  /** It can be written again; the records that landed are told after it. */
  onReopened: () => void;
  onPaused: ((why: Fault) => void) | undefined;
  onResumed: ((landed: LogRecord[]) => void) | undefined;
  onFatal: ((error: Error) => void) | undefined;
}

export interface GoingOn {
  /** Why changes are refused now. */
  readonly paused: Fault | undefined;
  /** Why nothing is accepted any more. */
  readonly fatal: Fault | undefined;
  /** Writing failed. */
  pause(cause: unknown): void;
  /** Resolves when no attempt is under way any more; after the signal's abort there is none. */
  ended(): Promise<void>;
}

export function goOn(options: GoOnOptions): GoingOn {
  const { directory, logger, retryMs, signal, seq, reopen, onReopened, onPaused, onResumed, onFatal } = options;
  let { paused } = options;
  let fatal: Fault | undefined;

  const resume = async (): Promise<void> => {
    for await (const turn of every(retryMs, signal)) {
      if (turn === 0) continue;
      try {
        const landed = await reopen();
        if (signal.aborted) return;
        onReopened();
        paused = undefined;
        logger.warn({ directory, seq: seq(), landed: landed.length }, "writing works again");
        onResumed?.(landed);
        return;
      } catch (error) {
        if (isFault(error, "unavailable") && !isFullDisk(error)) {
          fatal = error;
          logger.fatal({ err: error, directory }, "the log cannot go on");
          onFatal?.(fatal);
          return;
        }
        paused = pausedFault(directory, error);
      }
    }
  };
  let resuming = paused === undefined ? undefined : resume();

  return {
    get paused() {
      return paused;
    },
    get fatal() {
      return fatal;
    },
    pause(cause) {
      if (paused !== undefined) return;
      paused = pausedFault(directory, cause);
      logger.error({ err: cause, directory }, "writing failed; changes are refused until it works");
      onPaused?.(paused);
      resuming = resume();
    },
    ended: async () => resuming,
  };
}

/** The copies as the disk has them, and what follows `durable` there; Fault `unavailable` when something acknowledged is gone. */
export async function openAnew(
  options: Parameters<typeof openCopies>[0],
  durable: Head,
): Promise<{ next: Copies; landed: LogRecord[] }> {
  const next = await openCopies(options);
  const landed = await recordsAfter(next.db, durable);
  if (landed !== undefined) return { next, landed };
  await Promise.all([next.db.close(), next.journal.close()]);
  const { directory } = options;
  throw new Fault("unavailable", `records up to ${durable.seq} were acknowledged and are gone from ${directory}`);
}

/** The records that follow this head, which must be among them; undefined when it is not. */
async function recordsAfter(db: Database, { seq, hash }: Head): Promise<LogRecord[] | undefined> {
  const head = readHead(db);
  if (head === undefined || head.seq < seq) return undefined;
  if (head.seq === seq) return head.hash === hash ? [] : undefined;
  const frames = await chainFrom(db, seq + 1, hash);
  if (frames.at(-1)?.lastSeq !== head.seq) return undefined;
  return frames.flatMap(frameTexts).map(decodeRecord);
}
