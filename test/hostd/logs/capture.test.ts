import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Fault } from "#api/fault.ts";
import { until } from "#lib/time.ts";
import { type EngineLogLine, LABELS } from "../../../hostd/engine/engine.ts";
import { captureLogs, mayBeSkipped, tells } from "../../../hostd/logs/capture.ts";
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
  return (await (await store.open("app-1")).read(() => true, 10_000)).map(({ line }) => line);
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

test("a container from before its app's id was kept goes on in the log of the app's name, where its cursor is", async () => {
  const path = join(directory, `${++made}`);
  const { [LABELS.appId]: _, ...labels } = exited.labels;
  const store = logStore({ directory: path, onError: () => {} });
  const stop = new AbortController();
  const engine = brokenLog([entry(1, "line")], []);
  const capture = captureLogs({ engine, store, signal: stop.signal, onEnd: () => {}, onError: () => {} });
  capture.sync([{ ...exited, labels }]);
  await until(() => capture.captured.has(exited.id), { what: "the log's end", timeoutMs: 20_000, everyMs: 5 });
  stop.abort();
  await store.close();
  assert.equal(await store.names(), ["hello"]);
  const [line] = await (await store.open("hello")).read(() => true, 10);
  assert.equal([line?.line, line?.app, line?.appId], ["line", "hello", undefined]);
});

test("a leap in a flood that is read late may be lines that the engine passed over; a pause is none", () => {
  const time = (ms: number) => `${new Date(ms).toISOString().slice(0, -1)}000Z`;
  const skipped = (before: number, at: number, readAt: number, refusedAt?: number) =>
    mayBeSkipped({
      before: time(before),
      at: time(at),
      readAt: time(readAt),
      refusedAt: refusedAt === undefined ? "" : time(refusedAt),
    });
  assert.ok(skipped(5_000, 6_800, 7_000, 4_999), "it was there already when the line before was read");
  assert.ok(skipped(5_000, 6_800, 6_500, 4_999), "it was written since, behind a file that was there");
  assert.not.ok(skipped(5_000, 6_800, 5_001, 4_999), "whoever keeps up saw that there was nothing");
  assert.not.ok(skipped(5_000, 5_100, 7_000, 4_999), "no leap");
  assert.not.ok(skipped(5_000, 6_800, 7_000), "no flood, but an old log that is read");
  assert.not.ok(skipped(5_000, 6_800, 7_000, 3_000), "a flood that was over before");
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

test("a reader at rest reads at once what is left when its container has ended", async () => {
  const stop = new AbortController();
  const store = logStore({ directory: join(directory, `${++made}`), onError: () => {} });
  let rests = 0;
  const restMs = () => {
    rests++;
    return 3_600_000;
  };
  const engine = brokenLog([entry(1, "last words")], []);
  const capture = captureLogs({ engine, store, signal: stop.signal, onEnd: () => {}, onError: () => {}, restMs });
  capture.sync([running]);
  await until(() => rests > 0, { what: "the reader's rest", timeoutMs: 20_000, everyMs: 5 });
  capture.sync([exited]);
  await until(() => capture.captured.has(running.id), { what: "the log's end", timeoutMs: 20_000, everyMs: 5 });
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
  const kept = await (await store.open("app-1")).read(() => true, 10_000);
  const lines = kept.filter(({ source }) => source === "app").length;
  const told = kept.flatMap(({ line }) => /^\.\.\. (\d+) lines dropped/.exec(line)?.[1] ?? []).map(Number);
  assert.ok(lines >= 20 && lines < 150, `${lines} kept`);
  assert.is(kept.at(-1)?.line, "line 999", "its last words are kept");
  assert.equal(
    kept.slice(-50).map(({ line }) => line),
    Array.from({ length: 50 }, (_, n) => `line ${950 + n}`),
  );
  assert.is(lines + told.reduce((sum, count) => sum + count, 0), 1_000);
  assert.is(capture.lastLine(exited.id), "line 999", "the last words are known all the same");
  const times = kept.map(({ at: time }) => time);
  assert.equal(times, times.toSorted(), "what is missing is told where it is missing, also by time");
  await store.close();
});

test("why a program ended is kept after a flood, also when it ends only after the missing lines were told", async () => {
  const stop = new AbortController();
  const store = logStore({ directory: join(directory, `${++made}`), onError: () => {} });
  const own = await store.open("app-1");
  const read = () => own.read(() => true, 10_000);
  const engine = {
    async *log() {
      for (let n = 0; n < 999; n++) yield entry(n, `line ${n}`);
      yield entry(999, "Error: out of words");
      const isTold = async () => (await read()).some(({ line }) => line.includes("lines dropped"));
      await until(isTold, { what: "the missing lines told", timeoutMs: 20_000, everyMs: 20 });
    },
  };
  const rate = { linesPerSecond: 10, bytesPerSecond: 1_000, burstSeconds: 2 };
  const capture = captureLogs({ engine, store, signal: stop.signal, onEnd: () => {}, onError: () => {}, rate });
  capture.sync([exited]);
  await until(() => capture.captured.has(exited.id), { what: "the log's end", timeoutMs: 30_000, everyMs: 5 });
  stop.abort();
  const kept = await read();
  const told = kept.flatMap(({ line }) => /^\.\.\. (\d+) lines dropped/.exec(line)?.[1] ?? []).map(Number);
  const lines = kept.filter(({ source }) => source === "app").map(({ line }) => line);
  assert.is(lines.at(-1), "Error: out of words");
  assert.is(lines.length + told.reduce((sum, count) => sum + count, 0), 1_000, "each line is kept or told");
  await store.close();
});

test("a reader that cannot keep up drops lines aloud, and never makes the engine wait", async () => {
  const stop = new AbortController();
  const store = logStore({ directory: join(directory, `${++made}`), onError: () => {} });
  const own = await store.open("app-1");
  let isBehind = true;
  const slow = { ...own, isBehind: () => isBehind, ready: () => new Promise<void>(() => undefined) };
  const engine = {
    async *log() {
      for (let n = 0; n < 200; n++) yield entry(n, `line ${n}`);
      isBehind = false;
      for (let n = 200; n < 1_000; n++) yield entry(n, `line ${n}`);
    },
  };
  const late = { ...store, open: async () => slow };
  const capture = captureLogs({ engine, store: late, signal: stop.signal, onEnd: () => {}, onError: () => {} });
  capture.sync([exited]);
  await until(() => capture.captured.has(exited.id), { what: "the log's end", timeoutMs: 20_000, everyMs: 5 });
  stop.abort();
  const kept = await own.read(() => true, 10_000);
  assert.match(kept[0]!.line, /^\.\.\. 200 lines dropped/);
  assert.is(kept.at(-1)?.line, "line 999");
  assert.is(kept.length, 801);
  await store.close();
});

test("lines that the engine gave up while nobody read are told to be missing; where none are, nothing is told", async () => {
  const path = join(directory, `${++made}`);
  const entries = Array.from({ length: 30 }, (_, n) => entry(n, `line ${n}`));
  await captured(path, brokenLog(entries.slice(0, 10), []));
  const again = await captured(path, brokenLog(entries.slice(0, 20), []));
  assert.equal(
    again,
    entries.slice(0, 20).map(({ line }) => line),
  );
  const gap = await captured(path, brokenLog(entries.slice(25), []));
  assert.match(gap[20]!, /^\.\.\. lines dropped: more was written than the engine keeps/);
  assert.equal(
    gap.slice(21),
    entries.slice(25).map(({ line }) => line),
  );
});

test("a line that is cut is cut between characters, and is 16 KiB at most", async () => {
  const [line = ""] = await captured(join(directory, `${++made}`), brokenLog([entry(1, `x${"€".repeat(10_000)}`)], []));
  assert.is(line, `x${"€".repeat(Math.floor(((16 << 10) - 1) / 3))}`);
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
