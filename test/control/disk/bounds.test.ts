// Bytes that stream by: so many and not one more, and none that unpack to a bomb.
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Fault, isFault } from "#api/fault.ts";
import { atMost, bombFault, isBomb, noBomb } from "../../../control/disk/bounds.ts";

const KIB = 1024;
/** What came through of these chunks, or the words with which it ended. */
async function sent(stream: NodeJS.ReadWriteStream, ...chunkBytes: number[]): Promise<number | string> {
  let bytes = 0;
  try {
    await pipeline(Readable.from(chunkBytes.map((size) => Buffer.alloc(size))), stream, async (source) => {
      for await (const chunk of source) bytes += (chunk as Buffer).length;
    });
  } catch (error) {
    if (isFault(error)) return `${error.code}: ${error.message}`;
    throw error;
  }
  return bytes;
}

test("as many bytes as are allowed pass, and one more ends the stream with the words for it", async () => {
  const bounded = () => atMost(100, () => new Fault("too-large", "more than a hundred"));
  const exact = bounded();
  assert.equal([exact.passed(), await sent(exact.stream, 60, 40), exact.passed()], [0, 100, 100]);
  const more = bounded();
  assert.equal([await sent(more.stream, 60, 41), more.passed()], ["too-large: more than a hundred", 101]);
  assert.is(await sent(bounded().stream), 0);
});

test("a bomb is what unpacks to more than is free of charge, and to more than so many times what was packed", () => {
  const limits = { ratio: 10, freeBytes: 1_000 };
  const bomb = (packed: number, unpacked: number) => isBomb(limits, packed, unpacked);
  assert.equal([bomb(100, 1_000), bomb(100, 1_001), bomb(101, 1_010), bomb(101, 1_011)], [false, true, false, true]);
  assert.equal([bomb(1, 1_000), bomb(0, 1_001), bomb(1_000, 10_000)], [false, true, false]);
});

test("what is unpacked passes while it is no bomb, judged by what was packed until then", async () => {
  const limits = { ratio: 2, freeBytes: 10 * KIB };
  let packed = 0;
  const passing = noBomb("the archive", limits, () => (packed += 5 * KIB));
  assert.is(await sent(passing, 10 * KIB, 10 * KIB, 10 * KIB), 30 * KIB);
  const bomb = noBomb("the archive", limits, () => 5 * KIB);
  const words =
    "too-large: the archive unpacks to more than 2 times what it was packed in, and to more than 10 KiB: take out files that are all zeros or one line again and again";
  assert.is(await sent(bomb, 10 * KIB, 1), words);
  const { code, message } = bombFault("the archive", limits);
  assert.is(`${code}: ${message}`, words);
});

test.run();
