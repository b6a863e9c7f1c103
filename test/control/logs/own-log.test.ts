import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { silentLog } from "#lib/log.ts";
import { until } from "#lib/time.ts";
import { LINE_MOST, openOwnLog, split } from "../../../control/logs/own-log.ts";

const directory = await mkdtemp(join(tmpdir(), "flynn-own-log-"));
test.after(() => rm(directory, { recursive: true, force: true }));
let made = 0;
const open = (stateDir = join(directory, `${++made}`), sizes = {}) =>
  openOwnLog({ stateDir, log: silentLog(), ...sizes });

test("what was written is there after a restart, in order, several lines as several", async () => {
  const stateDir = join(directory, "restart");
  const first = open(stateDir);
  for (let n = 0; n < 50; n++) first.write({ app: "hello", appId: "hello", source: "build", line: `line ${n}` });
  first.write({ app: "hello", appId: "hello", source: "deploy", line: "two\nlines" });
  await until(async () => (await first.tail({ app: "hello", lines: 100 })).length === 52, {
    what: "lines",
    timeoutMs: 30_000,
  });
  await first.close();
  const second = open(stateDir);
  const lines = (await second.tail({ app: "hello", lines: 100 })).map(({ line }) => line);
  assert.equal(lines.slice(-3), ["line 49", "two", "lines"]);
  assert.is((await second.tail({ app: "hello", source: "deploy" })).length, 2);
  await second.close();
});

test("an app whose name is no name, or a disk that cannot be written, fails nobody", async () => {
  const file = join(directory, "a-file");
  await writeFile(file, "");
  const log = open(file);
  log.write({ app: "hello", appId: "hello", source: "deploy", line: "x" });
  log.write({ app: "../etc", appId: "../etc", source: "deploy", line: "x" });
  assert.equal(await log.tail({ app: "hello" }), []);
  await log.close();
});

test("a flood of one app's requests costs another app no line", async () => {
  const log = open(undefined, { maxBytes: 100_000, totalBytes: 150_000, segmentBytes: 20_000 });
  log.write({ app: "quiet", appId: "quiet", source: "deploy", line: "Deployed v1 by admin" });
  for (let n = 0; n < 5_000; n++)
    log.write({ app: "loud", appId: "loud", source: "router", line: `at=info ${n} ${"x".repeat(200)}` });
  await until(async () => (await log.tail({ app: "loud", lines: 1 }))[0]?.line.includes("4999"), {
    what: "the last request",
    timeoutMs: 10_000,
  });
  assert.is((await log.tail({ app: "quiet" })).length, 1);
  await log.close();
});

test("cut lines, put together again, are the text; none is longer than may be, none ends in half a character", () => {
  const text = fc.string({ unit: "binary", maxLength: 200 }).map((piece) => piece.repeat(400));
  fc.assert(
    fc.property(text, (whole) => {
      const pieces = split(whole);
      assert.ok(pieces.every(({ line }) => line.length <= LINE_MOST));
      const joined = pieces.map(({ line, partial }) => (partial ? line : `${line}\n`)).join("");
      assert.is(joined.slice(0, -1), whole.replaceAll("\r\n", "\n"));
    }),
    { numRuns: 30 },
  );
});

test.run();
