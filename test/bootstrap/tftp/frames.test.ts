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
