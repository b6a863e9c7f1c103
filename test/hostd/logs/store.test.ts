import { appendFile, mkdtemp, readdir, rm, stat, symlink, utimes } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { openLineLog } from "#lib/line-log.ts";
import { formatHeader, formatLine, parseSegment } from "#lib/line-segment.ts";
import { type KeptLine, logStore } from "../../../hostd/logs/store.ts";

const directory = await mkdtemp(join(tmpdir(), "flynn-logs-"));
test.after(() => rm(directory, { recursive: true, force: true }));
let made = 0;
const fresh = () => join(directory, `d${++made}`);
const onError = (error: unknown): void => {
  throw error;
};
const at = (n: number) => `2026-01-01T00:00:00.${String(n).padStart(6, "0")}Z`;
const line = (n: number, container = "c1"): KeptLine => ({
  at: at(n),
  app: "hello",
  process: "web",
  jobId: "j1",
  stream: "stdout",
  source: "app",
  line: `line ${n}`,
  container,
});
const all = () => true;
const open = (path: string, { maxBytes, segmentBytes } = { maxBytes: 8_000, segmentBytes: 1_000 }, told = onError) =>
  openLineLog<KeptLine>({
    directory: path,
    maxBytes,
    segmentBytes: () => segmentBytes,
    nextNumber: (last) => last + 1,
    onError: told,
  });

test("lines come back in order, the newest when limited", async () => {
  const log = await open(fresh());
  log.append([1, 2, 3, 4].map((n) => line(n)));
  assert.equal(
    (await log.read(all, 100)).map(({ line: text }) => text),
    ["line 1", "line 2", "line 3", "line 4"],
  );
  assert.equal(
    (await log.read(all, 2)).map(({ line: text }) => text),
    ["line 3", "line 4"],
  );
  assert.equal(await log.read(all, 0), []);
});

test("the size stays under its cap and the newest lines stay", async () => {
  const path = fresh();
  const log = await open(path);
  for (let n = 0; n < 500; n++) log.append([line(n)]);
  const kept = await log.read(all, 1_000);
  const sizes = await Promise.all((await readdir(path)).map(async (name) => (await stat(join(path, name))).size));
  assert.ok(sizes.reduce((sum, size) => sum + size, 0) <= 8_000);
  assert.ok(kept.length > 20 && kept.length < 80);
  assert.is(kept.at(-1)?.line, "line 499");
  assert.equal(
    kept.map(({ at: time }) => time),
    kept.map(({ at: time }) => time).toSorted(),
  );
});

test("a restart goes on: lines and cursors are there, also of containers whose lines were dropped", async () => {
  const path = fresh();
  const first = await open(path);
  first.append([line(1, "quiet")]);
  for (let n = 2; n < 300; n++) first.append([line(n, "loud")]);
  await first.close();
  const second = await open(path);
  assert.equal(second.cursor("quiet"), { at: at(1), count: 1 });
  assert.equal(second.cursor("loud"), { at: at(299), count: 1 });
  second.append([line(300, "loud")]);
  assert.is((await second.read(all, 1))[0]?.line, "line 300");
});

test("a cursor counts the lines of its last instant", async () => {
  const log = await open(fresh());
  log.append([line(1), line(2), { ...line(2), line: "same time" }]);
  assert.equal(log.cursor("c1"), { at: at(2), count: 2 });
  log.forget("c1");
  assert.is(log.cursor("c1"), undefined);
});

test("a torn tail is cut off and the log goes on behind it", async () => {
  const path = fresh();
  const first = await open(path);
  first.append([line(1), line(2)]);
  await first.close();
  await appendFile(join(path, "0000000000.ndjson"), '{"at":"2026-01-01T00:00');
  const second = await open(path);
  second.append([line(3)]);
  assert.equal(
    (await second.read(all, 10)).map(({ line: text }) => text),
    ["line 1", "line 2", "line 3"],
  );
});

for (const [what, harm, heal] of [
  ["a full disk", (path: string) => symlink("/dev/full", path), (path: string) => rm(path)],
  ["a torn write", (path: string) => symlink("/dev/full", path), tear],
] as const)
  test(`${what} loses the lines of that time and no other, and what had been read is not read again`, async () => {
    const path = fresh();
    const errors: unknown[] = [];
    const log = await open(path, undefined, (error) => void errors.push(error));
    const segment = join(path, "0000000000.ndjson");
    await harm(segment);
    log.append([line(1, "ended"), line(2)]);
    await log.flush();
    assert.is(errors.length, 1, "it is told");
    await heal(segment);
    log.append([line(3)]);
    const before = await log.read(all, 100);
    log.append([line(4)]);
    assert.equal(
      before.map(({ line: text }) => text),
      ["line 3"],
    );
    await log.close();
    assert.is(errors.length, 1);
    const again = await open(path);
    assert.equal(again.cursor("ended"), { at: at(1), count: 1 });
    assert.equal(
      (await again.read(all, 100)).map(({ line: text }) => text),
      ["line 3", "line 4"],
    );
  });

async function tear(path: string): Promise<void> {
  await rm(path);
  await appendFile(path, '{"at":"2026-01-01T00:00:00.00');
}

test("a directory that was removed is made again, and what comes then is kept", async () => {
  const path = fresh();
  const log = await open(path);
  log.append([line(1, "ended")]);
  await log.flush();
  await rm(path, { recursive: true });
  log.append([line(2)]);
  log.append([line(3)]);
  await log.flush();
  log.append([line(4)]);
  assert.equal(
    (await log.read(all, 100)).map(({ line: text }) => text),
    ["line 2", "line 3", "line 4"],
  );
  await log.close();
  assert.equal((await open(path)).cursor("ended"), { at: at(1), count: 1 });
});

test("what is about to be written saves a log that had been silent from being removed", async () => {
  const path = fresh();
  const logs = logStore({ directory: path, onError });
  const log = await logs.open("hello");
  log.append([line(1)]);
  await log.flush();
  const [name] = await readdir(join(path, "hello"));
  await utimes(join(path, "hello", name!), 1, 1);
  log.append([line(2)]);
  assert.equal(await logs.prune(new Set(), Date.now() - 1_000_000), []);
  assert.is((await log.read(all, 10)).length, 2);
  await logs.close();
});

test("reading past and then live has no gap and no repeat, while lines keep coming", async () => {
  const log = await open(fresh(), { maxBytes: 1 << 20, segmentBytes: 1 << 16 });
  for (let round = 0; round < 20; round++) {
    const before = (await log.read(all, 10_000)).length;
    log.append(Array.from({ length: 30 }, (_, n) => line(round * 100 + n)));
    const live: KeptLine[] = [];
    const unsubscribe = log.subscribe((entry) => live.push(entry));
    const reading = log.read(all, 10_000);
    log.append(Array.from({ length: 30 }, (_, n) => line(round * 100 + 50 + n)));
    const past = await reading;
    unsubscribe();
    assert.is(past.length, before + 30);
    assert.is(live.length, 30);
  }
});

test("any line survives its segment, a hostile one too", () => {
  fc.assert(
    fc.property(fc.array(fc.string({ unit: "binary" })), (texts) => {
      const lines = texts.map((text, n) => ({ ...line(n), line: text }));
      const parsed = parseSegment<KeptLine>(formatHeader(new Map()) + lines.map(formatLine).join(""));
      assert.equal(
        parsed.lines.map((entry) => entry.line),
        JSON.parse(JSON.stringify(texts)),
      );
    }),
  );
});

test("bytes that are no log are stepped over, never thrown on", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (noise) => {
      const parsed = parseSegment<KeptLine>(`${formatLine(line(1))}${noise}\n${formatLine(line(2))}`);
      assert.is(parsed.lines[0]?.line, "line 1");
      assert.is(parsed.lines.at(-1)?.line, "line 2");
    }),
  );
});

test("one app's flood costs another no line", async () => {
  const store = logStore({ directory: fresh(), maxBytes: 8_000, segmentBytes: 1_000, onError });
  const quiet = await store.open("quiet");
  quiet.append([line(1)]);
  const loud = await store.open("loud");
  for (let n = 0; n < 1_000; n++) loud.append([line(n)]);
  await store.close();
  assert.equal((await quiet.read(all, 10)).length, 1);
});

test("under one total, floods share it and whoever has less than a share loses nothing, over a restart too", async () => {
  const path = fresh();
  const sizes = { directory: path, maxBytes: 1 << 20, totalBytes: 400_000, segmentBytes: 1 << 18, onError };
  const store = logStore(sizes);
  const quiet = await store.open("quiet");
  for (let n = 0; n < 100; n++) quiet.append([line(n)]);
  const loud = await Promise.all(["a", "b", "c"].map((name) => store.open(name)));
  for (let n = 0; n < 3_000; n++) for (const log of loud) log.append([{ ...line(n), line: "x".repeat(100) }]);
  await store.close();
  const bytesOf = async (name: string) => {
    const files = await readdir(join(path, name));
    const each = await Promise.all(files.map(async (file) => (await stat(join(path, name, file))).size));
    return each.reduce((sum, size) => sum + size, 0);
  };
  const sums = await Promise.all(["a", "b", "c", "quiet"].map(bytesOf));
  assert.ok(sums.reduce((sum, size) => sum + size, 0) <= 400_000, String(sums));
  assert.ok(Math.min(...sums.slice(0, 3)) >= 60_000, `each flood keeps a part: ${sums}`);
  assert.is((await quiet.read(all, 1_000)).length, 100);

  const again = logStore(sizes);
  const late = await again.open("late");
  for (let n = 0; n < 3_000; n++) late.append([{ ...line(n), line: "x".repeat(100) }]);
  await again.close();
  const after = await Promise.all(["a", "b", "c", "quiet", "late"].map(bytesOf));
  assert.ok(after.reduce((sum, size) => sum + size, 0) <= 400_000, String(after));
  assert.is((await (await again.open("quiet")).read(all, 1_000)).length, 100);
});

test("an app's name is a directory name or an error", async () => {
  const store = logStore({ directory: fresh(), onError });
  for (const name of ["../etc", "a/b", "", ".", "A", "x".repeat(40)]) {
    assert.is(await store.find(name), undefined);
    const error = await store.open(name).catch((caught: unknown) => caught);
    assert.instance(error, Error);
  }
  assert.is(await store.find("never-written"), undefined);
});

test("logs of apps long gone are removed, those in use are not", async () => {
  const path = fresh();
  const store = logStore({ directory: path, onError });
  for (const app of ["used", "gone", "new"]) (await store.open(app)).append([line(1)]);
  await store.close();
  for (const app of ["used", "gone"]) await utimes(join(path, app, "0000000000.ndjson"), 1_000, 1_000);
  assert.equal(await store.prune(new Set(["used"]), Date.now() - 60_000), ["gone"]);
  assert.equal((await readdir(path)).sort(), ["new", "used"]);
});

test.run();
