import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { toMicroseconds } from "#lib/time.ts";
import { parseLogFrames } from "../../../hostd/engine/log-frames.ts";

function frame(stream: 1 | 2, text: string): Buffer {
  const body = Buffer.from(text);
  const header = Buffer.alloc(8);
  header[0] = stream;
  header.writeUInt32BE(body.length, 4);
  return Buffer.concat([header, body]);
}
async function* cut(bytes: Buffer, sizes: readonly number[]): AsyncGenerator<Buffer> {
  let at = 0;
  for (let n = 0; at < bytes.length; n++) {
    const size = sizes[n % sizes.length]!;
    yield bytes.subarray(at, at + size);
    at += size;
  }
}
async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const item of items) found.push(item);
  return found;
}
const AT = "2026-11-22T16:44:59.779423192Z";
/** Docker's clock goes on between two lines of one stream. */
const at = (n: number): string => `2026-11-22T16:44:59.${String(n).padStart(9, "0")}Z`;
const lineOf = (n: number, text = `line ${n}\n`, stream: 1 | 2 = 1): Buffer => frame(stream, `${at(n)} ${text}`);

test("frames become lines with stream and microseconds", async () => {
  const bytes = Buffer.concat([frame(1, `${AT} hello\n`), frame(2, `${AT} \n`), frame(1, `${AT} no newline`)]);
  assert.equal(await collect(parseLogFrames(cut(bytes, [1000]))), [
    { at: "2026-11-22T16:44:59.779423Z", stream: "stdout", line: "hello" },
    { at: "2026-11-22T16:44:59.779423Z", stream: "stderr", line: "" },
    { at: "2026-11-22T16:44:59.779423Z", stream: "stdout", line: "no newline" },
  ]);
});

test("however the stream is cut, the lines are the same", async () => {
  const texts = fc.array(fc.string({ unit: "grapheme", maxLength: 40 }).filter((text) => !/[\r\n]/.test(text)));
  const sizes = fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1 });
  await fc.assert(
    fc.asyncProperty(texts, sizes, async (lines, chunkSizes) => {
      const bytes = Buffer.concat(lines.map((line, n) => lineOf(n, `${line}\n`)));
      const read = await collect(parseLogFrames(cut(bytes, chunkSizes)));
      assert.equal(
        read.map(({ line }) => line),
        lines.map((line) => Buffer.from(line).toString("utf8")),
      );
    }),
  );
});

test("a stream out of step is an error, not endless memory", async () => {
  const error = await collect(parseLogFrames(cut(Buffer.alloc(100, 0xff), [10]))).catch((caught: unknown) => caught);
  assert.match((error as Error).message, /out of step/);
});

test("times have six digits, so that they sort as text", () => {
  assert.is(toMicroseconds("2026-01-02T03:04:05Z"), "2026-01-02T03:04:05.000000Z");
  assert.is(toMicroseconds("2026-01-02T03:04:05.6Z"), "2026-01-02T03:04:05.600000Z");
  assert.is(toMicroseconds("2026-01-02T03:04:05.123456789Z"), "2026-01-02T03:04:05.123456Z");
  assert.is(toMicroseconds("2026-01-02T03:04:05+01:00"), "2026-01-02T02:04:05.000000Z");
});

const linesOf = async (frames: Buffer[]): Promise<string[]> =>
  (await collect(parseLogFrames(cut(Buffer.concat(frames), [4_096])))).map(({ line }) => line);

test("lines that Docker gives again as it turns to the next file come once and in order", async () => {
  const all = Array.from({ length: 1_000 }, (_, n) => lineOf(n));
  const given = [...all.slice(0, 500), ...all.slice(380, 900), ...all.slice(899), ...all.slice(990)];
  assert.equal(
    await linesOf(given),
    Array.from({ length: 1_000 }, (_, n) => `line ${n}`),
  );
});

test("a line of the same instant, of the other stream, or from before the clock was set back is no repeat", async () => {
  assert.equal(await linesOf([lineOf(5, "a\n"), lineOf(5, "b\n"), lineOf(5, "a\n", 2)]), ["a", "b", "a"]);
  assert.equal(
    await linesOf([lineOf(900, "late\n"), lineOf(5, "early\n"), lineOf(6, "next\n"), lineOf(5, "early\n")]),
    ["late", "early", "next"],
  );
});

test("a character that is cut between two pieces of a long line stays whole", async () => {
  for (const character of ["é", "€", "😀"])
    for (let before = (16 << 10) - 4; before <= 16 << 10; before++) {
      const bytes = Buffer.from(`${"a".repeat(before)}${character}z\n`);
      const time = Buffer.from(`${at(1)} `);
      const framed = (body: Buffer): Buffer => {
        const header = Buffer.alloc(8);
        header[0] = 1;
        header.writeUInt32BE(time.length + body.length, 4);
        return Buffer.concat([header, time, body]);
      };
      const pieces = [bytes.subarray(0, 16 << 10), bytes.subarray(16 << 10)].filter(({ length }) => length > 0);
      const read = await collect(parseLogFrames(cut(Buffer.concat(pieces.map(framed)), [1_000])));
      assert.is(read.map(({ line }) => line).join(""), `${"a".repeat(before)}${character}z`);
      assert.not.match(read.map(({ line }) => line).join(""), /\ufffd/);
    }
});

test("pieces of one line that hold the same all count", async () => {
  const piece = "x".repeat(16 << 10);
  const frames = [lineOf(1, piece), lineOf(1, piece), lineOf(1, piece), lineOf(1, "x\n")];
  assert.equal(
    (await linesOf(frames)).map(({ length }) => length),
    [16 << 10, 16 << 10, 16 << 10, 1],
  );
});

test.run();
