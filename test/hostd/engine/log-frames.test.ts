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
      const bytes = Buffer.concat(lines.map((line) => frame(1, `${AT} ${line}\n`)));
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

test.run();
