// What the snapshots and the journal prove without LevelDB: the view after the longest chain of frames that goes on from a
// snapshot that verifies. Only reads, so it may look at the files of a control that runs.
import { type Frame, frameTexts, GENESIS } from "./frame.ts";
import { listSegments, scanFile } from "./journal.ts";
import type { Scan } from "./journal-format.ts";
import { type ViewEntry, viewChanges } from "./log.ts";
import { decodeRecord } from "./record.ts";
import { listSnapshots, readSnapshot } from "./snapshot.ts";
import { journalDirectory } from "./snapshot-taker.ts";
import { keptTerm } from "./term.ts";

export interface Proven {
  id: string;
  seq: number;
  hash: string;
  term: number;
  entries: ViewEntry[];
  /** When record `seq` was made, or, where that record is no longer kept, when it was the newest; undefined when neither is known. */
  at?: string;
}

export interface Evidence {
  proven: Proven | undefined;
  /** Highest seq and term that anything readable speaks of. */
  claimedSeq: number;
  claimedTerm: number;
  /** Of the newest segment; `damaged` also when an older one does not verify to its end. */
  tail: Scan["tail"];
}

export async function evidenceIn(directory: string): Promise<Evidence> {
  const segments = await listSegments(journalDirectory(directory));
  const scans: Scan[] = [];
  for (const segment of segments) scans.push(await scanFile(segment));
  const frames = scans.flatMap((scan) => scan.frames);
  const found: Evidence = {
    proven: undefined,
    claimedSeq: Math.max(0, ...scans.map((scan) => Math.max(scan.headSeq, scan.claimedSeq))),
    claimedTerm: Math.max(await keptTerm(directory), ...scans.map((scan) => scan.header?.term ?? 0)),
    tail: scans.slice(0, -1).some((scan) => scan.tail !== "clean") ? "damaged" : (scans.at(-1)?.tail ?? "clean"),
  };
  const consider = (base: Proven) => {
    const chain = chainOf(frames, base.seq, base.hash);
    const seq = chain.at(-1)?.lastSeq ?? base.seq;
    if (found.proven !== undefined && found.proven.seq >= seq) return;
    const last = chain.at(-1);
    const newest = last && decodeRecord(frameTexts(last).at(-1)!);
    found.proven = {
      id: base.id,
      seq,
      hash: last?.hash ?? base.hash,
      term: Math.max(base.term, newest?.term ?? 0),
      entries: afterFrames(base.entries, chain),
      at: newest?.at ?? base.at,
    };
    found.claimedTerm = Math.max(found.claimedTerm, found.proven.term);
  };
  for (const file of await listSnapshots(directory)) {
    found.claimedSeq = Math.max(found.claimedSeq, file.seq);
    const snapshot = await readSnapshot(file.path);
    if (snapshot !== undefined) consider({ ...snapshot.header, entries: snapshot.entries });
  }
  const first = scans.find((scan) => scan.header?.firstSeq === 1 && scan.header.baseHash === GENESIS)?.header;
  if (first !== undefined) consider({ id: first.id, seq: 0, hash: GENESIS, term: first.term, entries: [] });
  return found;
}

/** The frames that follow this record, each naming the one before it, as far as they go. */
function chainOf(frames: readonly Frame[], afterSeq: number, hash: string): Frame[] {
  const chain: Frame[] = [];
  let seq = afterSeq;
  let before = hash;
  for (const frame of frames) {
    if (frame.firstSeq !== seq + 1 || frame.before !== before) continue;
    chain.push(frame);
    seq = frame.lastSeq;
    before = frame.hash;
  }
  return chain;
}

/** The view after the records of these frames. */
export function afterFrames(entries: readonly ViewEntry[], frames: readonly Frame[]): ViewEntry[] {
  if (frames.length === 0) return [...entries];
  const byKey = new Map(entries.map((entry) => [entry.key, entry]));
  for (const record of frames.flatMap(frameTexts).map(decodeRecord)) {
    for (const { key, value } of viewChanges(record)) {
      if (value === null) byKey.delete(key);
      else byKey.set(key, { key, value, version: record.seq });
    }
  }
  return [...byKey.values()];
}
