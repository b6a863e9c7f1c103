import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Fault } from "#api/fault.ts";
import { until } from "#lib/time.ts";
import type { EngineLogLine } from "../../../hostd/engine/engine.ts";
import { captureLogs, tells } from "../../../hostd/logs/capture.ts";
import { logStore } from "../../../hostd/logs/store.ts";
import { container, job } from "../jobs.ts";

const directory = await mkdtemp(join(tmpdir(), "flynn-capture-"));
test.after(() => rm(directory, { recursive: true, force: true }));
let made = 0;
const at = (n: number) => `2026-01-01T00:00:00.${String(n).padStart(6, "0")}Z`;
const entry = (n: number, line: string): EngineLogLine => ({ at: at(n), stream: "stdout", line });
const exited = container(job(), { status: "exited", exitCode: 0 });
const running = container(job());

/** An engine whose log breaks after some lines, as dockerd's does when it is restarted. */
function brokenLog(entries: EngineLogLine[], breaksAfter: number[]) {
  return {
    async *log(_: string, { since }: { since?: string }) {
      const limit = breaksAfter.shift() ?? Number.POSITIVE_INFINITY;
      let sent = 0;
      for (const found of entries) {
        if (since !== undefined && found.at < since) continue;
        if (sent++ >= limit) throw new Fault("unavailable", "the stream broke");
        yield found;
      }
    },
  };
}

async function captured(path: string, engine: ReturnType<typeof brokenLog>): Promise<string[]> {
  const stop = new AbortController();
  const store = logStore({ directory: path, onError: (error) => assert.unreachable(String(error)) });
  const capture = captureLogs({ engine, store, signal: stop.signal, onEnd: () => {}, onError: () => {} });
  capture.sync([exited]);
  await until(() => capture.captured.has(exited.id), { what: "the log's end", timeoutMs: 20_000, everyMs: 5 });
  stop.abort();
  await store.close();
  return (await (await store.open("hello")).read(() => true, 10_000)).map(({ line }) => line);
}

test("a log is kept whole, once, however often its reading breaks, with many lines in one instant", async () => {
  // Five lines to an instant: resuming at a time alone would lose or repeat some.
  const entries = Array.from({ length: 60 }, (_, n) => entry(Math.floor(n / 5), `line ${n}`));
  const lines = await captured(join(directory, `${++made}`), brokenLog(entries, [3, 7, 0, 11, 1, 2, 23]));
  assert.equal(
    lines,
    entries.map(({ line }) => line),
  );
});

test("a restarted hostd goes on after the last kept line, without loss or repeat", async () => {
  const path = join(directory, `${++made}`);
  const entries = Array.from({ length: 20 }, (_, n) => entry(Math.floor(n / 4), `line ${n}`));
  const first = await captured(path, brokenLog(entries.slice(0, 10), []));
  assert.is(first.length, 10);
  assert.equal(
    await captured(path, brokenLog(entries, [])),
    entries.map(({ line }) => line),
  );
});

test("a running container's log is not captured until it has ended and was read once more", async () => {
  const stop = new AbortController();
  const store = logStore({ directory: join(directory, `${++made}`), onError: () => {} });
  const entries = [entry(1, "first")];
  const engine = brokenLog(entries, []);
  const capture = captureLogs({ engine, store, signal: stop.signal, onEnd: () => {}, onError: () => {} });
  capture.sync([running]);
  await until(() => capture.lastLine(running.id) === "first", { what: "first line", timeoutMs: 20_000, everyMs: 5 });
  assert.is(capture.captured.has(running.id), false);
  entries.push(entry(2, "last words"));
  capture.sync([exited]);
  await until(() => capture.captured.has(running.id), { what: "the log's end", timeoutMs: 20_000, everyMs: 5 });
  assert.is(capture.lastLine(running.id), "last words");
  capture.sync([]);
  assert.is(capture.captured.has(running.id), false, "a removed container is forgotten");
  stop.abort();
  await store.close();
});

test("a job's flood is cut to its rate, and the log says how many lines are missing", async () => {
  const stop = new AbortController();
  const store = logStore({ directory: join(directory, `${++made}`), onError: () => {} });
  const entries = Array.from({ length: 1_000 }, (_, n) => entry(n, `line ${n}`));
  const rate = { linesPerSecond: 10, bytesPerSecond: 1_000, burstSeconds: 2 };
  const engine = brokenLog(entries, []);
  const capture = captureLogs({ engine, store, signal: stop.signal, onEnd: () => {}, onError: () => {}, rate });
  capture.sync([exited]);
  await until(() => capture.captured.has(exited.id), { what: "the log's end", timeoutMs: 20_000, everyMs: 5 });
  stop.abort();
  const kept = await (await store.open("hello")).read(() => true, 10_000);
  const lines = kept.filter(({ source }) => source === "app").length;
  const told = kept.flatMap(({ line }) => /^\.\.\. (\d+) lines dropped/.exec(line)?.[1] ?? []).map(Number);
  assert.ok(lines >= 20 && lines < 100, `${lines} kept`);
  assert.is(lines + told.reduce((sum, count) => sum + count, 0), 1_000);
  assert.is(capture.lastLine(exited.id), "line 999", "the last words are known all the same");
  await store.close();
});

test("a line longer than 16 KiB is cut to it", async () => {
  const lines = await captured(join(directory, `${++made}`), brokenLog([entry(1, "x".repeat(40_000))], []));
  assert.is(lines[0]?.length, 16 << 10);
});

test("what says why a program ended is its error, not the stack, brace or version printed below it", () => {
  const printed = [
    "Error: boom",
    "    at Module._load (node:internal:1:1)",
    "  code: 'EADDRINUSE',",
    "}",
    "",
    "Node.js v24.21.0",
  ];
  assert.equal(printed.filter(tells), ["Error: boom", "  code: 'EADDRINUSE',"]);
  for (const line of ["at", "attempt 3 failed", "Node.js is missing", "}x", "panic: at the disco"])
    assert.ok(tells(line), line);
});

test.run();
