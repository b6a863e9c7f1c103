// The load generator's own process: sends until SIGTERM, then writes its result to the file named first. See load.ts.
import { writeFileSync } from "node:fs";
import { Agent, request } from "node:http";
import { sleep } from "#lib/time.ts";
import type { LoadFailure, LoadOptions, LoadResult } from "./load.ts";

const KEPT_FAILURES = 1_000;
const KEPT_TIMES = 1_000_000;

const [file = "", text = "{}"] = process.argv.slice(2);
const options = JSON.parse(text) as LoadOptions;
const { url, host, requestsPerSecond = 100, timeoutMs = 5_000, expect = [], keepAlive = false } = options;
const agent = new Agent({ keepAlive, maxSockets: 512 });
const failures: LoadFailure[] = [];
const answers: Record<string, number> = Object.fromEntries(expect.map((part) => [part, 0]));
const timesMs: number[] = [];
const count = { requests: 0, failed: 0, open: 0 };
const stopping = new AbortController();
for (const name of ["SIGTERM", "SIGINT"] as const) process.on(name, () => stopping.abort());

console.log("started");
const startedMs = performance.now();
let lastReportMs = startedMs;
for (let sent = 0; !stopping.signal.aborted; ) {
  const due = ((performance.now() - startedMs) / 1_000) * requestsPerSecond;
  for (; sent < due && !stopping.signal.aborted; sent++) void send();
  if (performance.now() - lastReportMs > 250) {
    lastReportMs = performance.now();
    console.log(`progress ${count.requests} ${count.failed}`);
  }
  await sleep(Math.min(50, 1_000 / requestsPerSecond), stopping.signal);
}
while (count.open > 0) await sleep(20);
agent.destroy();
timesMs.sort((a, b) => a - b);
const quantile = (q: number) =>
  Number((timesMs[Math.min(timesMs.length - 1, Math.floor(q * timesMs.length))] ?? 0).toFixed(1));
const result: LoadResult = {
  requests: count.requests,
  failed: count.failed,
  failures,
  answers,
  p50Ms: quantile(0.5),
  p99Ms: quantile(0.99),
  maxMs: quantile(1),
};
writeFileSync(file, JSON.stringify(result));

async function send(): Promise<void> {
  count.open++;
  const sentMs = performance.now();
  const at = new Date().toISOString();
  const answer = await get();
  const tookMs = Math.round(performance.now() - sentMs);
  count.open--;
  count.requests++;
  if (timesMs.length < KEPT_TIMES) timesMs.push(performance.now() - sentMs);
  const matched = expect.filter((part) => answer.body.includes(part));
  for (const part of matched) answers[part]!++;
  const why =
    answer.error ??
    (answer.status !== 200
      ? `status ${answer.status}`
      : expect.length > 0 && matched.length === 0
        ? "body"
        : undefined);
  if (why === undefined) return;
  count.failed++;
  if (failures.length < KEPT_FAILURES)
    failures.push({ at, why, tookMs, ...(answer.body ? { body: answer.body.slice(0, 200) } : {}) });
}

/** Never rejects: an error is an answer with `error`. The deadline covers connecting, waiting and the whole body. */
function get(): Promise<{ status: number; body: string; error?: string }> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    const body = () => Buffer.concat(chunks).toString("utf8");
    const headers = host === undefined ? {} : { host };
    const asked = request(url, { agent, headers, signal: AbortSignal.timeout(timeoutMs) }, (answer) => {
      answer.on("data", (chunk: Buffer) => chunks.push(chunk));
      answer.on("end", () => resolve({ status: answer.statusCode ?? 0, body: body() }));
      answer.on("error", fail);
    });
    const fail = (error: NodeJS.ErrnoException) => {
      const late = error.name === "TimeoutError" || error.code === "ABORT_ERR" || error.name === "AbortError";
      resolve({ status: 0, body: body(), error: late ? "timeout" : (error.code ?? error.message) });
    };
    asked.on("error", fail);
    asked.end();
  });
}
