// LevelDB made anew from what verifies: the newest snapshot, the journal after it, and what of the damaged database goes on from there.
import { rename, rm } from "node:fs/promises";
import { Fault } from "#api/fault.ts";
import { syncDirectory } from "#lib/files.ts";
import { type Frame, GENESIS } from "./frame.ts";
import { scanFrom } from "./journal.ts";
import { build } from "./level-db.ts";
import type { Journal, Level } from "./level-look.ts";
import { emptyHead } from "./level-rows.ts";
import { afterFrames } from "./proven.ts";
import { listSnapshots, readSnapshot } from "./snapshot.ts";
import { journalDirectory } from "./snapshot-taker.ts";

export interface Rebuild {
  directory: string;
  path: string;
  level: Level;
  journal: Journal;
  retainRecords: number;
  findings: string[];
}

/** LevelDB anew from the newest snapshot that verifies and the journal after it; the damaged one is set aside. */
export async function rebuild({ directory, path, level, journal, retainRecords, findings }: Rebuild): Promise<void> {
  const header = journal.scan?.header;
  if (header === undefined) throw refusal(directory, findings);
  const { id } = header;
  const bases = [...(await listSnapshots(directory)), undefined];
  for (const file of bases) {
    const snapshot = file && (await readSnapshot(file.path));
    if (file !== undefined && (snapshot === undefined || snapshot.header.id !== id)) {
      findings.push(`snapshot ${file.seq} does not verify`);
      continue;
    }
    const seq = snapshot?.header.seq ?? 0;
    const hash = snapshot?.header.hash ?? GENESIS;
    const scan = await scanFrom(journalDirectory(directory), seq + 1, hash);
    if (scan === undefined || scan.headSeq !== journal.found.headSeq) {
      findings.push(`the journal does not go on from ${file === undefined ? "the first record" : `snapshot ${seq}`}`);
      continue;
    }
    const frames = scan.frames.concat(level.salvageable);
    const kept = frames.findIndex((frame) => headSeq(frames) - frame.lastSeq < retainRecords);
    const dropped = Math.max(0, kept);
    const first = frames[dropped];
    const baseSeq = first?.firstSeq ?? seq + 1;
    const baseHash = first?.before ?? hash;
    // Records that will not be kept still shape the view, so they are applied before the base is written.
    const entries = afterFrames(snapshot?.entries ?? [], frames.slice(0, dropped));
    const term = Math.max(snapshot?.header.term ?? 0, header.term);
    const base = { ...emptyHead(), id, term, seq: baseSeq - 1, hash: baseHash, oldestSeq: baseSeq, baseSeq, baseHash };
    const fresh = `${path}.new`;
    await build(fresh, base, entries, frames.slice(dropped));
    await rm(`${path}.damaged`, { recursive: true, force: true });
    if (level.found.state !== "absent") await rename(path, `${path}.damaged`);
    await rename(fresh, path);
    await syncDirectory(directory);
    return;
  }
  throw refusal(directory, findings);
}

const headSeq = (frames: readonly Frame[]): number => frames.at(-1)?.lastSeq ?? 0;

export function refusal(directory: string, findings: readonly string[]): Fault {
  const text = `state in ${directory} is damaged and cannot be recovered without loss: ${findings.join("; ")}. Put back a backup (\`flynn cluster restore FILE\`), or go on with what verifies: \`flynn cluster restore\`, or \`flynn up --salvage\``;
  return new Fault("unavailable", text, { retry: false, details: { directory, findings } });
}
