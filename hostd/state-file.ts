// hostd's memory of its jobs on disk, with the inputs of the last plan beside it for `explain`.
import { join } from "node:path";
import { readJson, writeFileAtomic } from "#lib/files.ts";
import type { Container } from "./engine/engine.ts";
import type { JobRecord } from "./job-record.ts";

export interface KeptState {
  bootId: string;
  savedAt: string;
  /** Monotonic time of the save. */
  nowMs: number;
  fresh: boolean;
  engineHealthy: boolean;
  records: JobRecord[];
  containers: Container[];
  busy: [string, string][];
  captured: string[];
  attached?: string[];
  /** Addresses of jobs in the order of their last use, the latest last. */
  addresses?: string[];
  /** Boot steps already told to control in this boot. */
  told: string[];
}

const FILE = "state.json";

export async function loadState(stateDir: string): Promise<KeptState | undefined> {
  const kept = await readJson<KeptState>(join(stateDir, FILE));
  return Array.isArray(kept?.records) ? kept : undefined;
}

export async function saveState(stateDir: string, state: KeptState): Promise<void> {
  await writeFileAtomic(join(stateDir, FILE), JSON.stringify(state), { mode: 0o600 });
}

/** Records as they hold after a start of hostd: monotonic times mean nothing in another boot. */
export function recordsAfter(kept: KeptState | undefined, bootId: string): Map<string, JobRecord> {
  const same = kept?.bootId === bootId;
  const records = (kept?.records ?? []).map((record): JobRecord => {
    if (same) return record;
    const {
      runningSinceMs: _,
      upSinceMs: __,
      stoppingSinceMs: ___,
      untold: ________,
      killedAtMs: ____,
      endSeenMs: _____,
      nextStartAt: ______,
      waitsSinceMs: _______,
      ...rest
    } = record;
    return { ...rest, startAfterMs: 0 };
  });
  return new Map(records.map((record) => [record.jobId, record]));
}
