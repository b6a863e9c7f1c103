// A build's log on disk: control's words and a job's output in one text, each byte once, whatever is sent again or cut off.
import { appendFile, mkdtemp, readFile, rm, stat, truncate } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type BuildLog, buildLogs, LOG_MOST_BYTES } from "../../../control/builds/build-log.ts";

async function withLog(
  body: (log: BuildLog, again: () => BuildLog, directory: string) => Promise<void>,
): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), "build-log-"));
  const again = () => buildLogs(() => directory).of("app", "build");
  try {
    await body(again(), again, directory);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
const text = async (log: BuildLog): Promise<string> => (await log.read(0, LOG_MOST_BYTES)).text;

test("output sent again adds nothing, overlapping adds what is new, a gap adds nothing and says where it is", () =>
  withLog(async (log) => {
    await log.write("-----> one\n");
    assert.is(await log.receive("job-1", 0, "abc\n"), 4);
    assert.is(await log.receive("job-1", 0, "abc\n"), 4);
    assert.is(await log.receive("job-1", 2, "c\nd\n"), 6);
    assert.is(await log.receive("job-1", 10, "later\n"), 6);
    assert.is(await text(log), "-----> one\nabc\nd\n");
    await log.write("-----> two\n");
    assert.is(await log.receive("job-1", 6, "e\n"), 8, "control's own words do not count");
    assert.is(await log.receive("job-2", 0, "again\n"), 6, "another job begins anew");
    assert.is(await text(log), "-----> one\nabc\nd\n-----> two\ne\nagain\n");
  }));

test("however output is cut into pieces, repeated and restarted under, the log is the output (200 random ways)", async () => {
  const output = Array.from({ length: 40 }, (_, n) => `line ${n} é\u{1f600}\n`).join("");
  const bytes = Buffer.from(output);
  const isBoundary = (at: number) => at >= bytes.length || (bytes[at]! & 0xc0) !== 0x80;
  const cuts = fc.array(fc.tuple(fc.nat(bytes.length), fc.nat(200), fc.boolean()), { maxLength: 30 });
  await fc.assert(
    fc.asyncProperty(cuts, (pieces) =>
      withLog(async (first, again) => {
        let log = first;
        const whole: [number, number, boolean][] = [...pieces, [0, bytes.length, true]];
        for (const [start, length, restart] of whole) {
          let from = Math.min(start, await log.receive("job", 0, ""));
          while (!isBoundary(from)) from--;
          let to = Math.min(bytes.length, from + length);
          while (!isBoundary(to)) to++;
          await log.receive("job", from, bytes.subarray(from, to).toString());
          if (restart) log = again();
        }
        assert.is(await text(log), output);
      }),
    ),
    { numRuns: 200 },
  );
});

test("after a crash in the middle of an addition the log goes back to the last whole one, and the host is told from where", () =>
  withLog(async (log, again, directory) => {
    const file = join(directory, "log");
    await log.receive("job", 0, "whole\n");
    await log.receive("job", 6, "half of this one is lost\n");
    await truncate(file, 12);
    const second = again();
    assert.is(await second.receive("job", 31, "more\n"), 6);
    assert.is(await text(second), "whole\n");
    assert.is(await second.receive("job", 6, "half of this one is lost\n"), 31);
    await appendFile(join(directory, "log.marks"), "999 job 99"); // the mark itself was half written
    const third = again();
    assert.is(await third.receive("job", 31, "end\n"), 35);
    assert.is(await text(third), "whole\nhalf of this one is lost\nend\n");
  }));

test("words are said once, from where one looks", () =>
  withLog(async (log) => {
    await log.writeOnce("-----> a\n");
    await log.writeOnce("-----> b\n");
    await log.writeOnce("-----> a\n");
    assert.is(await text(log), "-----> a\n-----> b\n");
    await log.writeOnce("-----> a\n", await log.sizeBytes());
    assert.is(await text(log), "-----> a\n-----> b\n-----> a\n");
  }));

test("a chunk never ends within a character", () =>
  withLog(async (log) => {
    await log.write("é\u{1f600}€x");
    for (let most = 4; most < 12; most++) {
      const pieces: string[] = [];
      for (let at = 0; ; ) {
        const chunk = await log.read(at, most);
        if (chunk.text === "") break;
        assert.is(chunk.end, at + Buffer.byteLength(chunk.text));
        pieces.push(chunk.text);
        at = chunk.end;
      }
      assert.is(pieces.join(""), "é\u{1f600}€x");
    }
  }));

test("a flood is cut off at 16 MiB with one line, and goes on being taken", () =>
  withLog(async (log, again, directory) => {
    const megabyte = `${"x".repeat(1024 ** 2 - 1)}\n`;
    let at = 0;
    for (let n = 0; n < 20; n++) at = await log.receive("job", at, megabyte);
    assert.is(at, 20 * 1024 ** 2);
    await again().receive("job", at, megabyte);
    assert.ok((await stat(join(directory, "log"))).size <= LOG_MOST_BYTES);
    assert.is((await readFile(join(directory, "log"), "utf8")).match(/is cut off here/g)?.length, 1);
    await log.write(" !     Push rejected, x\n");
    assert.match(await text(log), /cut off here.*\n ! {5}Push rejected, x\n$/);
  }));

test.run();
