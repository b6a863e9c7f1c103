// hostd's memory of its builds on disk: what it has begun, and results that control has not heard yet.
import { join } from "node:path";
import type { BuildResult } from "#api/builds.ts";
import type { JobReport } from "#api/jobs.ts";
import { readJson, writeFileAtomic } from "#lib/files.ts";

export interface BuildRecord {
  id: string;
  jobId: string;
  app: string;
  state: Extract<JobReport["state"], "starting" | "up" | "stopping" | "down">;
  reason: string;
  startedAt?: string;
  upAt?: string;
  /** How it ended, kept until control has it. */
  result?: BuildResult;
}

export function buildReport({ jobId, state, reason, startedAt, upAt, result }: BuildRecord): JobReport {
  return {
    id: jobId,
    state,
    reason: reason.slice(0, 4_096),
    restarts: 0,
    ...(startedAt === undefined ? {} : { startedAt }),
    ...(upAt === undefined ? {} : { upAt }),
    ...(state === "down" && result ? { exitCode: result.exitCode } : {}),
  };
}

const FILE = "builds.json";

export async function loadBuilds(stateDir: string): Promise<BuildRecord[]> {
  const kept = await readJson<{ builds: BuildRecord[] }>(join(stateDir, FILE));
  return Array.isArray(kept?.builds) ? kept.builds : [];
}

export async function saveBuilds(stateDir: string, builds: BuildRecord[]): Promise<void> {
  await writeFileAtomic(join(stateDir, FILE), JSON.stringify({ builds }), { mode: 0o600 });
}
