// Constant HTTP load from inside a lab namespace, open loop: requests leave at their time whether earlier ones have been
// answered or not, and everything that is not the expected answer is counted and kept with its time.

import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { readJson } from "#lib/files.ts";
import type { Running, SpawnOptions } from "./process.ts";
import type { Scope } from "./scope.ts";

export interface LoadOptions {
  url: string;
  /** Host header; default that of the URL. */
  host?: string;
  requestsPerSecond?: number;
  timeoutMs?: number;
  /** The body must contain one of these; default any body. */
  expect?: string[];
  /** Connections are kept and used again; default a connection per request. */
  keepAlive?: boolean;
}

export interface LoadFailure {
  at: string;
  /** `status 503`, `timeout`, `ECONNRESET`, `body`. */
  why: string;
  body?: string;
  tookMs: number;
}

export interface LoadResult {
  requests: number;
  failed: number;
  /** The first 1,000. */
  failures: LoadFailure[];
  /** How many answers held each `expect` text. */
  answers: Record<string, number>;
  p50Ms: number;
  p99Ms: number;
  maxMs: number;
}

export interface Load {
  /** Requests answered well so far. */
  progress(): Promise<{ requests: number; failed: number }>;
  /** Sends no more, waits for what is under way, and tells the result. */
  stop(): Promise<LoadResult>;
}

const WORKER = fileURLToPath(new URL("load-worker.ts", import.meta.url));

export async function startLoad(
  scope: Scope,
  where: { spawn(argv: readonly string[], options?: SpawnOptions): Promise<Running> },
  options: LoadOptions,
): Promise<Load> {
  const file = join(scope.folder, `load-${Math.random().toString(36).slice(2, 8)}.json`);
  const worker = await where.spawn([process.execPath, WORKER, file, JSON.stringify(options)], { name: "load" });
  await worker.waitFor(/started/, 10_000);
  return {
    async progress() {
      const last = [...worker.output().matchAll(/progress (\d+) (\d+)\n/g)].at(-1);
      return { requests: Number(last?.[1] ?? 0), failed: Number(last?.[2] ?? 0) };
    },
    async stop() {
      await worker.kill("SIGTERM");
      await worker.exited;
      const result = await readJson<LoadResult>(file);
      if (result === undefined) throw new Error(`the load generator left no result: ${worker.output().slice(-2_000)}`);
      return result;
    },
  };
}
