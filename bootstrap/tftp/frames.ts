// DATA packets ready to send, headers included, in segments of about 64 KiB kept in one bounded cache. A boot storm asks
// for one file with one blksize: every transfer then sends from the same memory, without a copy and without a read.
// Packets are never changed once made, so one still queued in a socket is always whole.
import type { TftpFile } from "./files.ts";
import { writeDataHeader } from "./packet.ts";

const SEGMENT_BYTES = 64 * 1024;
const HEADER_BYTES = 4;

export interface Segment {
  readonly firstBlock: number;
  readonly lastBlock: number;
  /** Packets lie `stride` bytes apart; only the file's last is shorter. */
  readonly packets: Buffer;
  readonly stride: number;
}

export interface FrameCache {
  /** The segments holding blocks `from` to `to`, counted from 1: at once when cached or when the file reads at once. */
  load(file: TftpFile, blksize: number, from: number, to: number): Segment[] | Promise<Segment[]>;
  readonly bytes: number;
}

export function frameCache(maxBytes: number): FrameCache {
  const segments = new Map<string, Segment>(); // least recently used first
  const loading = new Map<string, Promise<Segment>>();
  const idByFile = new WeakMap<TftpFile, number>();
  let nextId = 0;
  let bytes = 0;

  function keep(key: string, segment: Segment): Segment {
    segments.set(key, segment);
    bytes += segment.packets.length;
    for (const [oldest, old] of segments) {
      if (bytes <= maxBytes) break;
      segments.delete(oldest);
      bytes -= old.packets.length;
    }
    return segment;
  }

  function segment(file: TftpFile, blksize: number, index: number): Segment | Promise<Segment> {
    let id = idByFile.get(file);
    if (id === undefined) {
      id = nextId++;
      idByFile.set(file, id);
    }
    const key = `${id}/${blksize}/${index}`;
    const cached = segments.get(key);
    if (cached !== undefined) {
      segments.delete(key);
      segments.set(key, cached);
      return cached;
    }
    const waiting = loading.get(key);
    if (waiting !== undefined) return waiting;
    const perSegment = blocksPerSegment(blksize);
    const firstBlock = index * perSegment + 1;
    const offset = (firstBlock - 1) * blksize;
    const length = Math.min(perSegment * blksize, file.sizeBytes - offset);
    const content = file.read(offset, length);
    if (content instanceof Uint8Array) return keep(key, frame(content, length, blksize, firstBlock, file.sizeBytes));
    const promise = content
      .then((read) => keep(key, frame(read, length, blksize, firstBlock, file.sizeBytes)))
      .finally(() => loading.delete(key));
    loading.set(key, promise);
    return promise;
  }

  return {
    get bytes() {
      return bytes;
    },
    load(file, blksize, from, to) {
      const perSegment = blocksPerSegment(blksize);
      const found: (Segment | Promise<Segment>)[] = [];
      for (let index = Math.floor((from - 1) / perSegment); index * perSegment < to; index++)
        found.push(segment(file, blksize, index));
      return found.some((one) => one instanceof Promise) ? Promise.all(found) : (found as Segment[]);
    },
  };
}

function blocksPerSegment(blksize: number): number {
  return Math.max(1, Math.floor(SEGMENT_BYTES / blksize));
}

function frame(content: Uint8Array, length: number, blksize: number, firstBlock: number, sizeBytes: number): Segment {
  if (content.length !== length) throw new Error(`the file gave ${content.length} bytes where ${length} were asked`);
  const lastBlock = Math.min(firstBlock + blocksPerSegment(blksize) - 1, Math.floor(sizeBytes / blksize) + 1);
  const stride = HEADER_BYTES + blksize;
  const packets = Buffer.allocUnsafeSlow(length + HEADER_BYTES * (lastBlock - firstBlock + 1));
  for (let block = firstBlock, at = 0, from = 0; block <= lastBlock; block++, at += stride, from += blksize) {
    writeDataHeader(packets, at, block);
    packets.set(content.subarray(from, from + blksize), at + HEADER_BYTES);
  }
  return { firstBlock, lastBlock, packets, stride };
}
