import { test } from "uvu";
import * as assert from "uvu/assert";
import { bufferFile, type TftpFile } from "../../../bootstrap/tftp/files.ts";
import { frameCache, type Segment } from "../../../bootstrap/tftp/frames.ts";
import { content } from "./content.ts";

const packetsOf = (segments: Segment[]): Buffer[] =>
  segments.flatMap(({ packets, stride, firstBlock, lastBlock }) =>
    Array.from({ length: lastBlock - firstBlock + 1 }, (_, i) => packets.subarray(i * stride, (i + 1) * stride)),
  );

test("all packets of a file carry its bytes and their wrapped numbers, for any size and blksize", async () => {
  for (const blksize of [8, 512, 1468, 65464]) {
    for (const sizeBytes of [
      0,
      1,
      blksize - 1,
      blksize,
      blksize + 1,
      blksize * 3,
      200_000,
      blksize === 8 ? 8 * 65_540 : 300_001,
    ]) {
      const bytes = content(sizeBytes);
      const blocks = Math.floor(sizeBytes / blksize) + 1;
      const packets = packetsOf(await frameCache(1 << 30).load(bufferFile(bytes), blksize, 1, blocks));
      assert.is(packets.length, blocks, `${sizeBytes}/${blksize}`);
      assert.ok(Buffer.concat(packets.map((packet) => packet.subarray(4))).equals(bytes));
      assert.ok(
        packets.every((packet, i) => packet.readUInt16BE(0) === 3 && packet.readUInt16BE(2) === ((i + 1) & 0xffff)),
      );
      assert.ok(packets.every((packet, i) => packet.length < blksize + 4 === (i === blocks - 1)));
    }
  }
});

test("one read serves all who ask, also while it is under way", async () => {
  let reads = 0;
  const bytes = content(100_000);
  const file: TftpFile = {
    sizeBytes: bytes.length,
    read: async (offset, length) => {
      reads++;
      return bytes.subarray(offset, offset + length);
    },
  };
  const cache = frameCache(1 << 20);
  const [a, b] = await Promise.all([cache.load(file, 512, 1, 2), cache.load(file, 512, 3, 4)]);
  assert.is(a[0], b[0]);
  assert.not(cache.load(file, 512, 5, 6) instanceof Promise, "cached segments come at once");
  assert.is(reads, 1);
});

test("the cache stays within its bytes and still serves what is bigger", () => {
  const bytes = content(1_000_000);
  const cache = frameCache(150_000);
  const file = bufferFile(bytes);
  for (let block = 1; block <= 1953; block++) {
    const segments = cache.load(file, 512, block, block) as Segment[];
    assert.ok(segments[0]!.firstBlock <= block && segments[0]!.lastBlock >= block);
    assert.ok(cache.bytes <= 150_000, `${cache.bytes} bytes`);
  }
});

test("what was sent last stays, what was sent longest ago goes, and nothing goes before the bytes are used up", () => {
  const reads: number[] = [];
  const bytes = content(64 * 1024 * 5);
  const file: TftpFile = {
    sizeBytes: bytes.length,
    read: (offset, length) => {
      reads.push(offset / (64 * 1024));
      return bytes.subarray(offset, offset + length);
    },
  };
  // A segment of 512 byte blocks holds 128 of them, with headers 66,048 bytes.
  const cache = frameCache(3 * 66_048);
  const ask = (segment: number) => {
    const [found, ...more] = cache.load(file, 512, segment * 128 + 1, segment * 128 + 128) as Segment[];
    assert.equal([found!.firstBlock, found!.lastBlock, more.length], [segment * 128 + 1, segment * 128 + 128, 0]);
    return reads.splice(0);
  };
  assert.is(cache.bytes, 0);
  assert.equal([ask(0), ask(1), ask(2), cache.bytes], [[0], [1], [2], 3 * 66_048]);
  assert.equal([ask(0), ask(1)], [[], []], "all three fit");
  assert.equal([ask(3), cache.bytes], [[3], 3 * 66_048]);
  assert.equal([ask(0), ask(1), ask(3), ask(2)], [[], [], [], [2]], "the one that was not asked for again went");
  assert.equal([ask(1), ask(0)], [[], [0]]);
});

test("packets are of the file and the block size that they were asked for", () => {
  const [one, two] = [content(2_000), content(3_000).reverse()];
  const files = [bufferFile(one), bufferFile(two)] as const;
  const cache = frameCache(1 << 20);
  for (let round = 0; round < 2; round++)
    for (const [at, bytes] of [one, two].entries())
      for (const blksize of [512, 1_468]) {
        const blocks = Math.floor(bytes.length / blksize) + 1;
        const packets = packetsOf(cache.load(files[at]!, blksize, 1, blocks) as Segment[]);
        assert.ok(Buffer.concat(packets.map((packet) => packet.subarray(4))).equals(bytes), `${at} ${blksize}`);
      }
  assert.is(cache.bytes, 2_000 + 3_000 + 4 * (4 + 6) + 2_000 + 3_000 + 4 * (2 + 3));
});

test("blocks of a row that lies in several segments come from each of them, in order", () => {
  const file = bufferFile(content(300_000));
  const spans = (from: number, to: number) =>
    (frameCache(1 << 20).load(file, 512, from, to) as Segment[]).map(({ firstBlock, lastBlock }) => [
      firstBlock,
      lastBlock,
    ]);
  assert.equal(spans(128, 128), [[1, 128]]);
  assert.equal(spans(128, 129), [
    [1, 128],
    [129, 256],
  ]);
  assert.equal(spans(129, 129), [[129, 256]]);
  assert.equal(spans(1, 586), [
    [1, 128],
    [129, 256],
    [257, 384],
    [385, 512],
    [513, 586],
  ]);
});

test("blocks of which some are at hand and some must be read come together", async () => {
  const bytes = content(200_000);
  const file: TftpFile = {
    sizeBytes: bytes.length,
    read: async (offset, length) => bytes.subarray(offset, offset + length),
  };
  const cache = frameCache(1 << 20);
  await cache.load(file, 512, 1, 1);
  const segments = await cache.load(file, 512, 1, 256);
  assert.equal(
    segments.map(({ firstBlock }) => firstBlock),
    [1, 129],
  );
});

test("a file that gives fewer bytes than its size fails the read, and the next read may succeed", async () => {
  let short = true;
  const file: TftpFile = { sizeBytes: 100, read: async (_offset, length) => Buffer.alloc(short ? 1 : length) };
  const cache = frameCache(1 << 20);
  let message = "";
  await Promise.resolve(cache.load(file, 512, 1, 1)).catch((error: Error) => {
    message = error.message;
  });
  assert.match(message, /gave 1 bytes where 100/);
  short = false;
  assert.is((await cache.load(file, 512, 1, 1)).length, 1);
});

test.run();
