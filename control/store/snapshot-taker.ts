// When and how a snapshot of the view is taken while writes go on: the journal is cut between two groups, the rows are
// read under LevelDB's own snapshot of that moment, verified on the way, and older generations go once it is durable.
import { rm } from "node:fs/promises";
import { join } from "node:path";
import type { Log as Logger } from "#lib/log.ts";
import { causeChain } from "#lib/run.ts";
import { createSegment, type JournalWriter, listSegments } from "./journal.ts";
import type { Database } from "./level-db.ts";
import { addRow, type Head, parseViewRow, VIEW_ROWS } from "./level-rows.ts";
import { listSnapshots, snapshotLine, verifySnapshot, writeSnapshot } from "./snapshot.ts";

const READ_CHUNK = 1000;
/** After one that could not be taken. */
const RETRY_MS = 10_000;

export interface SnapshotTaker {
  /** Whether the journal has grown enough for another snapshot. */
  due(journalBytes: number): boolean;
  /** Takes one unless nothing changed since the last; joins the one being taken. */
  take(): Promise<void>;
  /** Verifies the newest snapshot; when it is damaged says so and takes another. */
  check(): Promise<void>;
  idle(): Promise<void>;
  /** Why the last one could not be taken; undefined when it was. */
  readonly problem: string | undefined;
}

export interface SnapshotTakerOptions {
  directory: string;
  logger: Logger;
  db: () => Database;
  journalBytes: number;
  /** Seq of the newest snapshot there is; -1 when there is none. */
  lastSeq: number;
  cut: (begin: (head: Head, journal: JournalWriter) => Promise<JournalWriter>) => Promise<void>;
  /** Milliseconds since 1970. */
  now: () => number;
}

export const journalDirectory = (directory: string): string => join(directory, "journal");

export function snapshotTaker(options: SnapshotTakerOptions): SnapshotTaker {
  const { directory, logger, db, journalBytes, cut, now } = options;
  let lastSeq = options.lastSeq;
  let lastBytes = 0;
  let notBeforeMs = 0;
  let problem: string | undefined;
  let taking: Promise<void> | undefined;

  const takeOne = async () => {
    let head: Head | undefined;
    let at: string | undefined;
    let moment: ReturnType<Database["snapshot"]> | undefined;
    await cut(async (durable, journal) => {
      if (durable.seq <= lastSeq) return journal;
      const { id, seq, hash, term } = durable;
      const next = await createSegment(journalDirectory(directory), {
        id,
        term,
        firstSeq: seq + 1,
        baseHash: hash,
      });
      head = durable;
      at = new Date(now()).toISOString();
      moment = db().snapshot();
      await journal.close().catch(() => undefined); // all in it was synced when it was written
      return next;
    });
    if (head === undefined || moment === undefined) return;
    try {
      const { id, seq, hash, term } = head;
      const header = { format: 1, id, term, seq, hash, at } as const;
      lastBytes = await writeSnapshot(directory, header, verifiedLines(db(), head, moment));
      lastSeq = seq;
    } finally {
      await moment.close();
    }
    await dropOlder(directory);
    logger.debug({ seq: lastSeq, sizeBytes: lastBytes }, "snapshot taken");
  };

  return {
    due: (bytes) =>
      taking === undefined && performance.now() >= notBeforeMs && bytes > Math.max(journalBytes, lastBytes),
    take() {
      taking ??= takeOne()
        .then(
          () => {
            problem = undefined;
          },
          (error: unknown) => {
            notBeforeMs = performance.now() + RETRY_MS;
            problem = causeChain(error).join(": ");
            throw error;
          },
        )
        .finally(() => {
          taking = undefined;
        });
      return taking;
    },
    get problem() {
      return problem;
    },
    async check() {
      const newest = (await listSnapshots(directory))[0];
      if (newest === undefined || (await verifySnapshot(newest.path))) return;
      logger.error({ path: newest.path }, "snapshot is damaged, taking another");
      lastSeq = -1;
      await this.take();
    },
    async idle() {
      await taking?.catch(() => undefined);
    },
  };
}

/** The view's lines under the snapshot; throws at the end when they are not what the head says. */
export async function* verifiedLines(
  db: Database,
  head: Head,
  moment?: ReturnType<Database["snapshot"]>,
): AsyncGenerator<string, void, undefined> {
  const digest = { count: 0, sum: 0 };
  const iterator = db.iterator({
    ...VIEW_ROWS,
    fillCache: false,
    highWaterMarkBytes: 1 << 20,
    ...(moment && { snapshot: moment }),
  });
  try {
    for (let chunk = await iterator.nextv(READ_CHUNK); chunk.length > 0; chunk = await iterator.nextv(READ_CHUNK)) {
      let lines = "";
      for (const [rowKey, row] of chunk) {
        const key = rowKey.slice(2);
        const parsed = parseViewRow(key, row);
        if (parsed === undefined) throw new Error(`the view entry ${JSON.stringify(key)} does not match its checksum`);
        addRow(digest, parsed.check);
        lines += snapshotLine(key, parsed.version, parsed.valueText);
      }
      yield lines;
    }
  } finally {
    await iterator.close();
  }
  const same = digest.count === head.view.count && digest.sum === head.view.sum;
  if (!same)
    throw new Error(
      `LevelDB's view at record ${head.seq} is damaged: it has ${digest.count} of ${head.view.count} entries`,
    );
}

/** Keeps two snapshots and the journal from the older of them on. */
async function dropOlder(directory: string): Promise<void> {
  const snapshots = await listSnapshots(directory);
  for (const { path } of snapshots.slice(2)) await rm(path, { force: true });
  const base = snapshots[1]?.seq ?? 0;
  const segments = await listSegments(journalDirectory(directory));
  for (const [index, { path }] of segments.entries()) {
    const next = segments[index + 1];
    if (next !== undefined && next.firstSeq <= base + 1) await rm(path, { force: true });
  }
}
